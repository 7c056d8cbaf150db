"""The stories that each approach plays, and what is measured in each of them."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from benchmarks.compare.approaches import CONSOLIDATION, Approach
from benchmarks.compare.meter import LOOK_SECONDS, Meter, WorkloadView
from tests.support.cluster import NeverHappened
from tests.support.karpenter import Karpenter, karpenter_beside
from tests.support.real_cluster import RealTestCluster

SMALL, LARGE = "small", "large"
"""The workloads: 10 replicas and 40."""
REST_SECONDS = 10.0
"""Replicas are at rest when all serve and none has changed for this time."""
PATIENCE_SECONDS = 180.0
"""A story without rest ends after this time."""
CONSOLIDATION_SECONDS = 180.0
DROUGHT_SECONDS = 600.0
RETURN_SECONDS = 300.0
NEW_IMAGE = [
    {
        "op": "replace",
        "path": "/spec/template/spec/containers/0/image",
        "value": "registry.example/main:2",
    }
]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one story has cost, and how it ended."""

    story: str
    splits: dict[str, tuple[int, int]]
    """(on-demand, spot) Ready replicas of each workload at the end."""
    errors: dict[str, int]
    """Replicas on the wrong capacity type at the end."""
    at_rest: bool
    """Whether all replicas served at the end and nothing changed."""
    seconds: float
    """Duration without the wait for changes at the end."""
    evictions: dict[str, int]
    """Evicted pods by user."""
    below_floor: float
    """Seconds with fewer than two Ready on-demand replicas, of both workloads."""
    missing: float
    """Seconds in which replicas were not Ready, of all replicas."""
    pending: float
    """Seconds in which pods had no node, of all pods."""
    launched: dict[str, int]
    """Nodes by capacity type."""
    node_seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    """The operator's reason for each workload at the end."""
    largest: dict[str, int] = field(default_factory=dict)
    """The most replicas of a workload on one node at the end."""


class Player:
    """Plays the stories of one approach on a cluster of its own."""

    def __init__(
        self,
        cluster: RealTestCluster,
        approach: Approach,
        report: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._approach = approach
        self._report = report
        self._meter = Meter(cluster)
        self.measurements: list[Measurement] = []

    async def play(self) -> None:
        """Play all stories, one after the other."""
        async with AsyncExitStack() as stack:
            pools = self._approach.pools()
            karpenter = await stack.enter_async_context(karpenter_beside(self._cluster, *pools))
            if self._approach.has_operator:
                await stack.enter_async_context(self._cluster.operator())
            await stack.enter_async_context(self._meter.running())
            await self._measure("birth of 10", lambda: self._create(SMALL, 10))
            await self._measure("birth of 40", lambda: self._create(LARGE, 40))
            for large, small in ((20, 7), (10, 10), (40, 10)):
                await self._measure(f"scaled to {large} and {small}", self._scaling(large, small))
            await self._measure("rollout of both", self._roll_out)
            await self._measure("scaled to 15 and 7", self._scaling(15, 7))
            await self._measure("consolidation", lambda: self._consolidate(karpenter))
            await self._measure("scaled back to 40 and 10", self._scaling(40, 10))
            await self._measure("spot ends", lambda: self._end_spot(karpenter), at=DROUGHT_SECONDS)
            await self._measure("spot returns", lambda: self._return_spot(karpenter))

    async def _measure(
        self, story: str, act: Callable[[], Awaitable[None]], *, at: float = 0.0
    ) -> None:
        """Play a story and record what it has cost.

        Args:
            at: the story ends after this many seconds, not when the replicas are at rest.
        """
        loop, meter = asyncio.get_running_loop(), self._meter
        await meter.look()
        totals, launched = copy.deepcopy(meter.totals), set(meter.launched)
        evicted = self._evictions()
        began = loop.time()
        await act()
        at_rest, ended = await self._until_rest()
        if (left := began + at - loop.time()) > 0:
            await asyncio.sleep(left)
        await meter.look()
        after, views = meter.totals, meter.views
        reasons = {}
        if self._approach.has_operator:
            reasons = {name: await self._cluster.get_status_reason(name) for name in views}
        new = Counter(kind for name, kind in meter.launched.items() if name not in launched)
        self.measurements.append(
            Measurement(
                story=story,
                splits={name: (view.on_demand, view.spot) for name, view in views.items()},
                errors={name: view.error for name, view in views.items()},
                at_rest=at_rest,
                seconds=round(ended - began, 1),
                evictions=dict(self._evictions() - evicted),
                below_floor=round(after.below_floor - totals.below_floor, 1),
                missing=round(after.missing - totals.missing),
                pending=round(after.pending - totals.pending),
                launched=dict(new),
                node_seconds=_difference(after.nodes, totals.nodes),
                cpu_seconds=_difference(after.cpus, totals.cpus),
                reasons=reasons,
                largest={name: view.largest for name, view in views.items()},
            )
        )
        self._report(f"{self._approach.name}: {self.measurements[-1]}")

    async def _until_rest(self) -> tuple[bool, float]:
        """Wait until the replicas are at rest. Return whether they are, and since when."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        seen: dict[str, WorkloadView] = {}
        since = loop.time()
        while loop.time() < deadline:
            views = dict(self._meter.views)
            if views != seen or not all(view.serves for view in views.values()):
                seen, since = views, loop.time()
            elif loop.time() - since >= REST_SECONDS:
                return True, since
            await asyncio.sleep(LOOK_SECONDS)
        return False, loop.time()

    def _evictions(self) -> Counter[str]:
        """Count the evicted pods of each user. Karpenter repeats requests for the same pod."""
        names = {self._cluster.plane.user_name("spotalis"): "spotalis"}
        evicted = {(event.user, event.name) for event in self._cluster.plane.evictions()}
        return Counter(names.get(user, user) for user, _ in evicted)

    async def _create(self, name: str, replicas: int) -> None:
        self._meter.desired[name] = replicas
        await self._cluster.create_deployment(
            name,
            replicas,
            self._approach.policy,
            spec={"template": self._approach.template(name)},
        )
        await self._meter.look()

    def _scaling(self, large: int, small: int) -> Callable[[], Awaitable[None]]:
        async def scale() -> None:
            for name, replicas in ((LARGE, large), (SMALL, small)):
                self._meter.desired[name] = replicas
                await self._cluster.scale("Deployment", name, replicas)
            await self._meter.look()

        return scale

    async def _roll_out(self) -> None:
        for name in (LARGE, SMALL):
            path = f"/apis/apps/v1/namespaces/{self._cluster.namespace}/deployments/{name}"
            response = await self._cluster.api.raw(
                "PATCH", path, NEW_IMAGE, content_type="application/json-patch+json"
            )
            assert response.status == 200, response.body
        await asyncio.sleep(2)  # the Deployment controller begins
        await self._meter.look()

    async def _consolidate(self, karpenter: Karpenter) -> None:
        for pool in self._approach.pools():
            await karpenter.change(pool.name, **CONSOLIDATION)
        await asyncio.sleep(CONSOLIDATION_SECONDS)

    async def _end_spot(self, karpenter: Karpenter) -> None:
        """As in a shortage at the provider, the NodePool exists and can add no node."""
        await karpenter.change("spot", cpu_limit=0)
        await karpenter.disrupt("spot")
        await asyncio.sleep(2)
        await self._meter.look()

    async def _return_spot(self, karpenter: Karpenter) -> None:
        """Wait until the split is exact, at most for RETURN_SECONDS."""
        await karpenter.change("spot", cpu_limit=None)

        async def is_exact() -> bool:
            views = self._meter.views.values()
            return all(view.serves and not view.error for view in views)

        with contextlib.suppress(NeverHappened):
            await self._cluster.wait_until(is_exact, "the split is exact", within=RETURN_SECONDS)


def _difference(after: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    return {key: round(value - before.get(key, 0.0)) for key, value in after.items() if key}
