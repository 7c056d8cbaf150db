"""T012, T012b: changing the share, and adopting what runs already, with the fewest moves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import incidents
from tests.support.bed import Bed, Wishes
from tests.support.stage import Play, on_both_beds

MOVES_AT_ONCE = "3"
REVISION = "deployment.kubernetes.io/revision"


@on_both_beds
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_0_to_70_to_30_percent_on_10_replicas_takes_7_then_4_evictions(
    play: Play, kind: str
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=4)
        wishes = Wishes(0, other={"max-moves-in-flight": MOVES_AT_ONCE})
        async with bed.operator():
            create = bed.deployment if kind == "Deployment" else bed.stateful_set
            await create("web", 10, wishes)
            await incidents.rolled_out(bed, kind, "web")
            before = owners_part(await bed.raw_object(kind, "web"))
            assert before["revision"] or REVISION in before["annotations"]
            first = {pod.uid for pod in await bed.pods("web")}

            await bed.annotate(kind, "web", {"spot-percentage": "70"})
            await bed.settled("web", 3, 7)
            assert len(bed.evictions()) == 7
            second = {pod.uid for pod in await bed.pods("web")}
            assert len(first & second) == 3

            await bed.annotate(kind, "web", {"spot-percentage": "30"})
            await bed.settled("web", 7, 3)
            await bed.stands_still("web")
            assert len(bed.evictions()) == 11
            assert len(second & {pod.uid for pod in await bed.pods("web")}) == 6

            await bed.annotate(kind, "web", {"spot-percentage": "0"})
            await bed.settled("web", 10, 0)
            assert owners_part(await bed.raw_object(kind, "web")) == before

    play(scenario)


@on_both_beds
def test_20_running_spot_pods_adopted_at_70_percent_need_exactly_6_evictions(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4)
        await bed.deployment("web", 20)
        await bed.settled("web", 0, 20)
        await bed.add_nodes(on_demand=3)
        async with bed.operator():
            await bed.annotate("Deployment", "web", ADOPTED)
            await bed.settled("web", 6, 14)
            await bed.stands_still("web")
        assert len(bed.evictions()) == 6

    play(scenario)


@on_both_beds
def test_adopting_a_stateful_set_evicts_the_ordinals_16_13_10_6_1_0_in_this_order(
    play: Play,
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4)
        await bed.stateful_set("db", 20)
        await bed.settled("db", 0, 20)
        before = await bed.raw_object("StatefulSet", "db")
        await bed.add_nodes(on_demand=3)
        async with bed.operator():
            await bed.annotate("StatefulSet", "db", ADOPTED)
            await bed.settled("db", 6, 14)
            await bed.stands_still("db")
        assert bed.evictions() == [f"db-{ordinal}" for ordinal in (16, 13, 10, 6, 1, 0)]
        after = await bed.raw_object("StatefulSet", "db")
        assert after["spec"] == before["spec"]
        assert after["status"]["updateRevision"] == before["status"]["updateRevision"]

    play(scenario)


ADOPTED = {"enabled": "true", "spot-percentage": "70", "min-on-demand": "2"}


def owners_part(document: dict[str, Any]) -> dict[str, Any]:
    """What must not change: what an owner wrote, and the revision of the template."""
    status = document["status"]
    return {
        "annotations": document["metadata"]["annotations"],  # a Deployment's revision among them
        "spec": document["spec"],
        "revision": status.get("updateRevision"),
    }
