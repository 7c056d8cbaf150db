"""Writes docs/images/outage.svg (`make docs`): a workload while spot is missing, and afterwards.

What it shows happens in virtual time on the embedded cluster, so it is the same on every machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from scripts.svg import COLORS, IMAGES, box, legend, line, picture, text
from spotalis.model.nodes import NodeType
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster, run_scenario

PICTURE = IMAGES / "outage.svg"
REPLICAS, PERCENT, FLOOR = 10, 70, 2
AWAY_AT, BACK_AT, END = 120, 720, 1200
"""Seconds."""
STEP = 5
_LEFT, _TOP, _WIDTH, _HEIGHT = 60, 76, 640, 200


class Sample(NamedTuple):
    """The ready replicas at a time."""

    seconds: int
    on_demand: int
    spot: int


def simulate() -> list[Sample]:
    """Ten minutes without spot nodes."""
    samples: list[Sample] = []

    async def scenario(cluster: TestCluster) -> None:
        assert isinstance(cluster, EmbeddedTestCluster)
        await cluster.add_nodes(spot=3, on_demand=3)
        async with cluster.operator():
            await cluster.create_deployment("web", REPLICAS, policy(PERCENT, FLOOR))
            await cluster.wait_for_status("web", "Balanced")
            for seconds in range(0, END, STEP):
                if seconds == AWAY_AT:
                    await cluster.reclaim(*cluster.embedded.fleet.names(NodeType.SPOT))
                if seconds == BACK_AT:
                    await cluster.add_nodes(spot=3)
                samples.append(Sample(seconds, *await cluster.split("web")))
                await asyncio.sleep(STEP)

    run_scenario(scenario)
    return samples


def outage_picture(samples: Sequence[Sample]) -> str:
    """The picture as SVG."""
    per_second, per_replica = _WIDTH / END, _HEIGHT / REPLICAS
    bottom = _TOP + _HEIGHT
    parts = [text(10, 24, f"{REPLICAS} replicas, {PERCENT} % on spot", bold=True), *legend(330)]
    for (on_demand, spot), same in groupby(samples, key=lambda one: one[1:]):
        times = [one.seconds for one in same]
        x = _LEFT + times[0] * per_second
        width = (times[-1] - times[0] + STEP) * per_second
        top = bottom - on_demand * per_replica
        parts.append(box(x, top, width, bottom - top, COLORS[NodeType.ON_DEMAND], radius=0))
        height = spot * per_replica
        parts.append(box(x, top - height, width, height, COLORS[NodeType.SPOT], radius=0))
    for ready in range(0, REPLICAS + 1, 5):
        y = bottom - ready * per_replica
        parts += [line(_LEFT - 5, y, _LEFT, y), text(_LEFT - 28, y + 4, str(ready))]
    parts += [line(_LEFT, _TOP, _LEFT, bottom), line(_LEFT, bottom, _LEFT + _WIDTH, bottom)]
    for minute in range(0, END // 60 + 1, 4):
        x = _LEFT + minute * 60 * per_second
        parts += [line(x, bottom, x, bottom + 5), text(x - 6, bottom + 20, f"{minute}")]
    parts.append(text(_LEFT + _WIDTH - 50, bottom + 38, "minutes"))
    for seconds, height, words in (
        (AWAY_AT, 24, "spot nodes end"),
        (AWAY_AT + 120, 8, "spot-fallback is over"),
        (BACK_AT, 8, "spot nodes return"),
    ):
        x, y = _LEFT + seconds * per_second, _TOP - height
        parts += [line(x, y, x, bottom, dashed=True), text(x + 3, y + 4, words)]
    title = "Ready replicas while spot nodes are missing and after their return"
    return picture(title, _LEFT + _WIDTH + 30, bottom + 50, parts)


if __name__ == "__main__":
    PICTURE.write_text(outage_picture(simulate()))
