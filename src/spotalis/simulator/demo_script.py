"""The script of the demo: events in a cluster, and what the operator does about them.

Only the actions of the workload's owner and of the cloud provider are scripted. Every figure is
read back through the API, and the demo fails if a step does not end with the expected split.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from spotalis.kube.client import Client, PatchType
from spotalis.kube.resources import DEPLOYMENTS, DISRUPTION_BUDGETS, PODS
from spotalis.model.configuration import ENABLED
from spotalis.model.decision import Reason
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PREFIX
from spotalis.model.replicas import desired_spot
from spotalis.simulator.demo_cluster import DemoCluster

NAMESPACE = "default"
NAME = "web"
REPLICAS = 10
FLOOR = 2
SPOT_FALLBACK = "6s"
"""The default of 120 s is too long for a demo. With less than 6 s, a brief stall of the machine
lets replicas fall back although their spot node has joined."""
POLL_SECONDS = 0.05
STEP_TIMEOUT_SECONDS = 60.0
"""A step takes 1 to 8 s, and longer on a busy machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The pods of the workload at one instant, as the API reports them."""

    on_demand: int
    spot: int
    """Ready pods, by the capacity type of their node."""
    waiting: int
    """Pods without a node."""
    starting: int
    """Pods that have a node but are not ready."""

    @property
    def split(self) -> tuple[int, int]:
        """(on-demand, spot)."""
        return self.on_demand, self.spot

    @property
    def pending(self) -> int:
        """Pods that are not ready."""
        return self.waiting + self.starting


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the demo, and the state of the workload after it."""

    seconds: float
    """Since the start of the demo."""
    event: str
    measured: Measured
    want: tuple[int, int]
    """The wanted split: (on-demand, spot)."""
    reason: Reason | None
    """The status reason that the operator reports."""
    remark: str = ""


class DemoFailed(Exception):
    """A step did not end with the expected state; the message says what was found."""


class DemoScript:
    """Plays the steps of the demo and checks the outcome of each."""

    def __init__(self, cluster: DemoCluster) -> None:
        self._cluster = cluster
        self._api: Client = cluster.admin
        self._started_at = cluster.clock.monotonic()
        self._percent = 70
        self._minimum_on_demand = REPLICAS
        """The fewest ready on-demand replicas since the workload was first balanced."""

    async def play(self) -> AsyncIterator[Step]:
        """Yield each step once its outcome has been observed.

        Raises:
            DemoFailed: a step did not end with the expected state.
        """
        yield await self._create_workload()
        async for step in self._reclaim_nodes():
            yield step
        async for step in self._change_percentage():
            yield step

    async def _create_workload(self) -> Step:
        await self._api.create(DEPLOYMENTS, NAMESPACE, deployment(self._percent))
        await self._wait_until(self._is_balanced, "the new workload is balanced")
        evictions = len(self._cluster.embedded.evictions())
        if evictions:
            raise DemoFailed(f"{evictions} evictions; pods must be placed correctly at creation")
        return await self._step(
            f"deploy/{NAME} created: {REPLICAS} replicas, {self._percent}% spot, "
            f"at least {FLOOR} on-demand",
            "balanced at creation, 0 evictions",
        )

    async def _reclaim_nodes(self) -> AsyncIterator[Step]:
        """Reclaim two of three spot nodes: some replicas fall back to on-demand, then return."""
        embedded, fleet = self._cluster.embedded, self._cluster.embedded.fleet
        first, second = fleet.names(NodeType.SPOT)[:2]
        lost = await self._count_pods_on(first) + await self._count_pods_on(second)
        await fleet.announce_reclaim(first)
        await fleet.announce_reclaim(second)
        yield await self._step(
            f"interruption notices for {first} and {second}, which run {lost} replicas",
            "notices seen",
        )
        await fleet.reclaim(first)
        await fleet.reclaim(second)

        async def are_replaced() -> bool:
            now = await self._measure()
            placed = now.on_demand, now.spot + now.waiting
            return placed == self._wanted() and now.starting == 0

        await self._wait_until(are_replaced, "the lost replicas are replaced")
        waiting = (await self._measure()).waiting
        yield await self._step(
            "both nodes are gone; their replicas are placed on spot again",
            f"{waiting} wait for a spot node",
        )

        async def have_fallen_back() -> bool:
            # One replica leaves on-demand at once, to probe spot capacity.
            return (await self._measure()).on_demand >= self._wanted()[0] + waiting - 1

        await self._wait_until(have_fallen_back, "replicas start on on-demand")
        yield await self._step(
            f"no spot node within spot-fallback ({SPOT_FALLBACK}): they start on on-demand",
            "one replica at a time probes spot capacity",
        )
        [new] = await fleet.add(spot=1)
        await self._wait_until(self._is_balanced, "the replicas return to spot")
        moves = len(embedded.evictions())
        if moves != 2 * waiting:
            raise DemoFailed(f"{moves} evictions for {waiting} replicas that fall back and return")
        yield await self._step(f"spot node {new} joins", f"all {waiting} replicas return to spot")

    async def _change_percentage(self) -> AsyncIterator[Step]:
        """Change the spot percentage from 70 to 30 under a PodDisruptionBudget."""
        before = len(self._cluster.embedded.evictions())
        await self._api.create(DISRUPTION_BUDGETS, NAMESPACE, _BUDGET)
        await self._wait_until(self._is_budget_counted, "the budget counts the replicas")
        self._percent = 30
        body = {"metadata": {"annotations": {PREFIX + "spot-percentage": str(self._percent)}}}
        await self._api.patch(DEPLOYMENTS, NAMESPACE, NAME, body, patch_type=PatchType.MERGE)

        async def is_blocked() -> bool:
            return self._cluster.reason(NAMESPACE, NAME) is Reason.BLOCKED_BY_PDB

        await self._wait_until(is_blocked, "the budget blocks the moves")
        yield await self._step(
            f"spot-percentage 70 -> 30, but pdb/{NAME} allows no disruption",
            "waiting for the budget",
        )
        patch = {"spec": {"minAvailable": REPLICAS - 2}}
        await self._api.patch(
            DISRUPTION_BUDGETS, NAMESPACE, NAME, patch, patch_type=PatchType.MERGE
        )
        halfway = self._wanted()[1] + 2

        async def is_moving() -> bool:
            return (await self._measure()).spot <= halfway

        await self._wait_until(is_moving, "the first replicas move")
        yield await self._step(f"pdb/{NAME} now allows 2 disruptions", "moving to on-demand")
        await self._wait_until(self._is_balanced, "the workload is balanced at 30%")
        moves = len(self._cluster.embedded.evictions()) - before
        minimum = desired_spot(REPLICAS, 70, FLOOR) - desired_spot(REPLICAS, 30, FLOOR)
        if moves != minimum:
            raise DemoFailed(f"{moves} evictions for a change that requires {minimum}")
        yield await self._step(
            f"balanced after {moves} evictions, the minimum",
            f"always at least {self._minimum_on_demand} on-demand (floor {FLOOR})",
        )

    async def _measure(self) -> Measured:
        pods = [
            pod
            for pod in await self._api.list_all(PODS, NAMESPACE, quorum=True)
            if pod.deleting_at is None and not pod.finished
        ]
        fleet = self._cluster.embedded.fleet
        ready = [pod.node for pod in pods if pod.ready]
        waiting = sum(1 for pod in pods if not pod.node)
        return Measured(
            on_demand=sum(map(ready.count, fleet.names(NodeType.ON_DEMAND))),
            spot=sum(map(ready.count, fleet.names(NodeType.SPOT))),
            waiting=waiting,
            starting=len(pods) - len(ready) - waiting,
        )

    async def _count_pods_on(self, node: str) -> int:
        return sum(1 for pod in await self._api.list_all(PODS, NAMESPACE) if pod.node == node)

    async def _is_budget_counted(self) -> bool:
        found = await self._api.get(DISRUPTION_BUDGETS, NAMESPACE, NAME)
        return found is not None and found.current_healthy == REPLICAS

    def _wanted(self) -> tuple[int, int]:
        on_spot = desired_spot(REPLICAS, self._percent, FLOOR)
        return REPLICAS - on_spot, on_spot

    async def _is_balanced(self) -> bool:
        now = await self._measure()
        reported = self._cluster.reason(NAMESPACE, NAME) is Reason.BALANCED
        return now.split == self._wanted() and now.pending == 0 and reported

    async def _wait_until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        is_created = self._cluster.reason(NAMESPACE, NAME) is not None
        try:
            async with asyncio.timeout(STEP_TIMEOUT_SECONDS):
                while not await condition():
                    if is_created:
                        on_demand = (await self._measure()).on_demand
                        self._minimum_on_demand = min(self._minimum_on_demand, on_demand)
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            found = await self._measure()
            on_demand, on_spot = self._wanted()
            raise DemoFailed(
                f"not within {STEP_TIMEOUT_SECONDS:g} s: {what}; found {found.on_demand} "
                f"on-demand, {found.spot} spot, {found.pending} pending, status "
                f"{self._cluster.reason(NAMESPACE, NAME)}; want {on_demand} + {on_spot}"
            ) from None

    async def _step(self, event: str, remark: str) -> Step:
        return Step(
            seconds=self._cluster.clock.monotonic() - self._started_at,
            event=event,
            measured=await self._measure(),
            want=self._wanted(),
            reason=self._cluster.reason(NAMESPACE, NAME),
            remark=remark,
        )


_BUDGET = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {"name": NAME},
    "spec": {"minAvailable": REPLICAS, "selector": {"matchLabels": {"app": NAME}}},
}


def deployment(percent: int) -> dict[str, Any]:
    """The workload of the demo."""
    container = {
        "name": NAME,
        "image": "registry.example/web:1",
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
    }
    annotations = {
        "spot-percentage": str(percent),
        "min-on-demand": str(FLOOR),
        "max-moves-in-flight": "4",
        "spot-fallback": SPOT_FALLBACK,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": NAME,
            "labels": {ENABLED: "true"},
            "annotations": {PREFIX + key: value for key, value in annotations.items()},
        },
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {"containers": [container]},
            },
        },
    }
