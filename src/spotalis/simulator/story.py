"""The demo's story: the real operator on an embedded cluster, told from what is measured.

Nothing is scripted but what the owner and the cloud do; every figure is read back through the API,
and the story fails where the end is not what the arithmetic says.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spotalis.kube.client import Client, PatchType
from spotalis.kube.resources import DEPLOYMENTS, PODS
from spotalis.model.configuration import ENABLED
from spotalis.model.decision import Reason
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PREFIX
from spotalis.model.replicas import desired_spot
from spotalis.simulator.stage import Stage

NAMESPACE = "default"
NAME = "web"
REPLICAS = 10
FLOOR = 2
PATIENCE = "6s"
"""The story's ``spot-fallback``; 120 s would be long to watch, and within less a machine that
stands still for a moment would not see the spot node come before a replica gives up on it."""
POLL_SECONDS = 0.05
PATIENCE_SECONDS = 60.0
"""For one chapter; they take 1 to 8 s, and longer where the machine is busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The workload as the API tells it at one instant."""

    on_demand: int
    spot: int
    """Ready pods by the class of their node."""
    waiting: int
    """Pods that no node has room for."""
    starting: int
    """Pods that have a node, and are not Ready."""

    @property
    def split(self) -> tuple[int, int]:
        """(on-demand, spot)."""
        return self.on_demand, self.spot

    @property
    def pending(self) -> int:
        """Pods that are not Ready."""
        return self.waiting + self.starting


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the story."""

    seconds: float
    """Since it began."""
    what: str
    measured: Measured
    want: tuple[int, int]
    """(on-demand, spot) by the arithmetic."""
    reason: Reason | None
    """The operator's own word for the workload's state."""
    remark: str = ""


class WentWrong(Exception):
    """The cluster did not come to where the arithmetic says; the text says what was found."""


class Story:
    """Tells line by line; ends in order only if every chapter ended as it must."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._api: Client = stage.admin
        self._began = stage.clock.monotonic()
        self._percent = 70
        self.least_ready_on_demand = REPLICAS
        """Fewest Ready on-demand replicas seen since the first split stood."""

    async def tell(self) -> AsyncIterator[Line]:
        """The chapters, each when it has been seen.

        Raises:
            WentWrong: a chapter did not end as it must.
        """
        yield await self._burst()
        async for line in self._reclaim():
            yield line
        async for line in self._change():
            yield line

    # -- the chapters ------------------------------------------------------------------------

    async def _burst(self) -> Line:
        await self._api.create(DEPLOYMENTS, NAMESPACE, deployment(self._percent))
        await self._until(self._settled, "the burst is split")
        evicted = len(self._stage.evictions())
        if evicted:
            raise WentWrong(f"the burst needed {evicted} evictions; it must be split at birth")
        return await self._line(
            f"deploy/{NAME} created with {REPLICAS} replicas, {self._percent}% spot, floor {FLOOR}",
            "split right at birth, 0 evictions",
        )

    async def _reclaim(self) -> AsyncIterator[Line]:
        """Two of three spot nodes go: what finds no room there starts on on-demand, and returns."""
        stage = self._stage
        first, second = stage.spot_nodes()[:2]
        lost = await self._pods_on(first) + await self._pods_on(second)
        await stage.warn(first)
        await stage.warn(second)
        yield await self._line(
            f"the provider takes {first} and {second}, {lost} replicas run there", "notice seen"
        )
        await stage.take(first)
        await stage.take(second)

        async def replaced() -> bool:
            now = await self._measure()
            there = now.on_demand, now.spot + now.waiting
            return there == self._want() and now.starting == 0

        await self._until(replaced, "the lost replicas are placed anew")
        waiting = (await self._measure()).waiting
        yield await self._line(
            "both are gone; replacements are placed on spot again",
            f"{waiting} wait for a spot node",
        )

        async def serving() -> bool:
            # At once one of those that fell back goes to find out whether spot is back.
            return (await self._measure()).on_demand >= self._want()[0] + waiting - 1

        await self._until(serving, "replicas start on on-demand")
        yield await self._line(
            f"nobody adds a spot node: after {PATIENCE} they start on on-demand",
            "one at a time asks for spot again",
        )
        new = await stage.add_spot_node()
        await self._until(self._settled, "spot came back")
        moves = len(stage.evictions())
        if moves != 2 * waiting:
            raise WentWrong(f"{moves} evictions for {waiting} replicas that fall back and return")
        yield await self._line(
            f"spot node {new} joins", f"{waiting} went and came back, none waited twice"
        )

    async def _change(self) -> AsyncIterator[Line]:
        """30 % instead of 70 %, with a budget in the way."""
        before = len(self._stage.evictions())
        await self._api.raw("POST", _BUDGETS, budget(REPLICAS))
        await self._until(lambda: self._budget_seen(REPLICAS), "the budget counts")
        self._percent = 30
        body = {"metadata": {"annotations": {PREFIX + "spot-percentage": str(self._percent)}}}
        await self._api.patch(DEPLOYMENTS, NAMESPACE, NAME, body, patch_type=PatchType.MERGE)

        async def blocked() -> bool:
            return self._stage.reason(NAMESPACE, NAME) is Reason.BLOCKED_BY_PDB

        await self._until(blocked, "the budget blocks")
        yield await self._line(
            f"spot-percentage 70 -> 30, but pdb/{NAME} allows no disruption",
            "the operator waits and says why",
        )
        patch = {"spec": {"minAvailable": REPLICAS - 2}}
        await self._api.raw(
            "PATCH", f"{_BUDGETS}/{NAME}", patch, content_type=PatchType.MERGE.value
        )
        halfway = self._want()[1] + 2

        async def on_the_way() -> bool:
            return (await self._measure()).spot <= halfway

        await self._until(on_the_way, "moves begin")
        yield await self._line(f"pdb/{NAME} now allows 2 at a time", "moving to on-demand")
        await self._until(self._settled, "the new share stands")
        moves = len(self._stage.evictions()) - before
        least = desired_spot(REPLICAS, 70, FLOOR) - desired_spot(REPLICAS, 30, FLOOR)
        if moves != least:
            raise WentWrong(f"{moves} evictions for a change that needs {least}")
        yield await self._line(
            f"done: {moves} evictions, the fewest there can be",
            f"never under {self.least_ready_on_demand} on-demand (floor {FLOOR})",
        )

    # -- looking -----------------------------------------------------------------------------

    async def _measure(self) -> Measured:
        pods = [
            pod
            for pod in await self._api.list_all(PODS, NAMESPACE, quorum=True)
            if pod.deleting_at is None and not pod.finished
        ]
        types = self._stage.node_types()
        ready = [types.get(pod.node, NodeType.UNKNOWN) for pod in pods if pod.ready]
        waiting = sum(1 for pod in pods if not pod.node)
        return Measured(
            on_demand=ready.count(NodeType.ON_DEMAND),
            spot=ready.count(NodeType.SPOT),
            waiting=waiting,
            starting=len(pods) - len(ready) - waiting,
        )

    async def _pods_on(self, node: str) -> int:
        return sum(1 for pod in await self._api.list_all(PODS, NAMESPACE) if pod.node == node)

    async def _budget_seen(self, healthy: int) -> bool:
        answer = await self._api.raw("GET", f"{_BUDGETS}/{NAME}")
        status = json.loads(answer.body).get("status") or {}
        return bool(status.get("currentHealthy", 0) == healthy)

    def _want(self) -> tuple[int, int]:
        on_spot = desired_spot(REPLICAS, self._percent, FLOOR)
        return REPLICAS - on_spot, on_spot

    async def _settled(self) -> bool:
        now = await self._measure()
        balanced = self._stage.reason(NAMESPACE, NAME) is Reason.BALANCED
        return now.split == self._want() and now.pending == 0 and balanced

    async def _until(self, condition: Callable[[], Any], what: str) -> None:
        watching = bool(self._stage.reason(NAMESPACE, NAME))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await condition():
                    if watching:
                        now = await self._measure()
                        least = min(self.least_ready_on_demand, now.on_demand)
                        self.least_ready_on_demand = least
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            found = await self._measure()
            reason = self._stage.reason(NAMESPACE, NAME)
            raise WentWrong(
                f"not within {PATIENCE_SECONDS:g} s: {what}; found {found.on_demand} on-demand, "
                f"{found.spot} spot, {found.pending} waiting, state {reason}; "
                f"wanted {self._want()[0]} + {self._want()[1]}"
            ) from None

    async def _line(self, what: str, remark: str) -> Line:
        return Line(
            seconds=self._stage.clock.monotonic() - self._began,
            what=what,
            measured=await self._measure(),
            want=self._want(),
            reason=self._stage.reason(NAMESPACE, NAME),
            remark=remark,
        )


_BUDGETS = f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets"


def deployment(percent: int) -> dict[str, Any]:
    """The workload of the story, as its owner would write it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": NAME,
            "labels": {ENABLED: "true"},
            "annotations": {
                PREFIX + "spot-percentage": str(percent),
                PREFIX + "min-on-demand": str(FLOOR),
                PREFIX + "max-moves-in-flight": "4",
                PREFIX + "spot-fallback": PATIENCE,
            },
        },
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {
                    "containers": [
                        {
                            "name": NAME,
                            "image": "registry.example/web:1",
                            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
                        }
                    ]
                },
            },
        },
    }


def budget(min_available: int) -> Mapping[str, Any]:
    """A PodDisruptionBudget over the workload."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": NAME},
        "spec": {
            "minAvailable": min_available,
            "selector": {"matchLabels": {"app": NAME}},
        },
    }
