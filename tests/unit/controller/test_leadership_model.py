"""The elector holds the promise of the model of leader election (tests/model/elector_world.py).

The model decides about all schedules, but it contains the decisions only. Here the elector itself
runs against an API server, under the assumptions of the model: clocks whose rates differ by up to
2:3, requests and responses that take any time or get lost, and processes that end at any moment.
At no instant do two instances lead. tests/mutants plants each deviation of the model's ``Design``.
"""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # seeded
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from spotalis.controller.leadership import LeaderElector
from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.transport import DROP, LOSE_RESPONSE, InProcessTransport, NetworkFault
from spotalis.embedded.virtual_time import VirtualClock, run
from spotalis.kube.client import Client
from spotalis.model.controller_configuration import LeaderElection
from spotalis.model.transport import Request, Response
from tests.simulation.world import SkewedClock

HOME = "spotalis-system"
SLOWEST = 2 / 3
"""The rate of the slowest clock that the promise allows, if the fastest has rate 1."""
STEP_SECONDS = 0.02


class LateResponses:
    """A transport whose responses take time."""

    def __init__(self, inner: InProcessTransport) -> None:
        self.inner = inner
        self.seconds: Callable[[], float] = lambda: 0.0

    async def send(self, request: Request) -> Response:
        """Send a request, and deliver the response late."""
        response = await self.inner.send(request)
        await asyncio.sleep(self.seconds())
        return response

    def stream(self, request: Request) -> AsyncIterator[bytes]:
        """Watch, without delay."""
        return self.inner.stream(request)

    async def close(self) -> None:
        """Close the connections."""
        await self.inner.close()


class Instance:
    """An elector with a clock of its own rate."""

    def __init__(
        self, cluster: EmbeddedCluster, clock: VirtualClock, name: str, rate: float
    ) -> None:
        self.transport = LateResponses(cluster.transport(name))
        skewed = SkewedClock(clock, 0.0, rate)
        rng = random.Random(name)
        self.elector = LeaderElector(
            Client(self.transport, clock=skewed, rng=rng),
            settings=LeaderElection(),
            namespace=HOME,
            identity=f"{name}_0",
            clock=skewed,
            rng=rng,
            on_change=lambda leads: None,
        )
        self.running = asyncio.create_task(self.elector.run())

    def cut_off(self) -> None:
        """Lose every message from now on."""
        self.transport.inner.on_request = lambda request: DROP
        for stream in self.transport.inner.streams:
            stream.silence()

    async def end(self) -> None:
        """End as in a crash."""
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


class Election:
    """Instances that compete for one Lease."""

    def __init__(self, cluster: EmbeddedCluster, clock: VirtualClock) -> None:
        self.instances: list[Instance] = []
        self._cluster = cluster
        self._clock = clock
        self._started = 0

    def start(self, rate: float) -> Instance:
        """Start an instance whose clock has this rate."""
        self._started += 1
        instance = Instance(self._cluster, self._clock, f"instance-{self._started}", rate)
        self.instances.append(instance)
        return instance

    async def watch(self, seconds: float) -> int:
        """Assert for a time that one instance leads at most; return how many led in turn."""
        last: Instance | None = None
        changes = 0
        for _ in range(round(seconds / STEP_SECONDS)):
            await asyncio.sleep(STEP_SECONDS)
            leading = [each for each in self.instances if each.elector.leads]
            assert len(leading) <= 1, "two instances lead"
            if leading and leading[0] is not last:
                last, changes = leading[0], changes + 1
        return changes

    async def until_leads(self, instance: Instance) -> None:
        """Wait until an instance leads."""
        while not instance.elector.leads:
            await self.watch(STEP_SECONDS)


def election(scenario: Callable[[Election], Awaitable[None]]) -> None:
    """Run a scenario in virtual time."""

    async def main(clock: VirtualClock) -> None:
        cluster = EmbeddedCluster(clock=clock, rng=random.Random(0))
        async with cluster:
            await cluster.api.create("namespaces", {"metadata": {"name": HOME}})
            it = Election(cluster, clock)
            try:
                await scenario(it)
            finally:
                for instance in it.instances:
                    await instance.end()

    run(main)


@pytest.mark.parametrize("late_seconds", [0.0, 4.0])
def test_the_lead_counts_from_the_moment_at_which_the_last_renewal_was_sent(
    late_seconds: float,
) -> None:
    """The trace of design ``counts-from-answer``: late responses, then none."""

    async def scenario(it: Election) -> None:
        leader = it.start(SLOWEST)
        await it.until_leads(leader)
        standby = it.start(1.0)
        leader.transport.seconds = lambda: late_seconds
        await it.watch(20)
        assert leader.elector.leads
        leader.cut_off()
        await it.watch(40)
        assert standby.elector.leads

    election(scenario)


def test_a_lease_is_released_after_the_lead_has_ended() -> None:
    """The trace of design ``releases-first``."""

    async def scenario(it: Election) -> None:
        leader = it.start(1.0)
        await it.until_leads(leader)
        standby = it.start(1.0)
        await it.watch(5)
        leader.transport.seconds = lambda: 2.0
        releasing = asyncio.create_task(leader.elector.release())
        await it.watch(5)
        await releasing
        assert standby.elector.leads

    election(scenario)


@pytest.mark.parametrize("seed", range(12))
def test_in_random_schedules_one_instance_leads_at_most(seed: int) -> None:
    rng = random.Random(f"election/{seed}")

    def fault(request: Request) -> NetworkFault:
        kind = rng.random()
        if kind < 0.1:
            return DROP if kind < 0.05 else LOSE_RESPONSE
        return NetworkFault(delay_seconds=rng.choice((0.0, 0.0, rng.uniform(0.0, 9.0))))

    def start(it: Election) -> None:
        instance = it.start(rng.choice((SLOWEST, 0.8, 1.0)))
        instance.transport.inner.on_request = fault
        instance.transport.seconds = lambda: rng.choice((0.0, rng.uniform(0.0, 4.9)))

    async def scenario(it: Election) -> None:
        changes = 0
        for _ in range(3):
            start(it)
        for _ in range(6):
            changes += await it.watch(rng.uniform(10, 60))
            victim = rng.choice(it.instances)
            if rng.random() < 0.5:
                victim.cut_off()
            else:
                await victim.end()
                it.instances.remove(victim)
                start(it)
        assert changes > 3, "the schedule tests nothing"

    election(scenario)
