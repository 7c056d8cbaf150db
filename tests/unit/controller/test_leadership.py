"""Leader election: the decision as a table, and electors against an API server with faults."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # seeded
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from spotalis.controller.leadership import (
    Acquire,
    Action,
    LeaderElector,
    Renew,
    Wait,
    next_action,
    observe_lease,
)
from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.transport import DELIVER, DROP, LOSE_RESPONSE, InProcessTransport
from spotalis.embedded.virtual_time import VirtualClock, run
from spotalis.kube.client import Client
from spotalis.kube.resources import LEASES
from spotalis.model.controller_configuration import LeaderElection
from spotalis.model.leadership import ADDRESS_ANNOTATION, LeadershipState
from spotalis.model.objects import Lease
from spotalis.model.transport import Request
from tests.support.eventually import until

HOME = "spotalis-system"
SELF, OTHER = "pod-a_1", "pod-b_2"


def a_lease(holder: str, version: str = "7", **other: object) -> Lease:
    return Lease(
        namespace=HOME,
        name="spotalis",
        uid="u",
        resource_version=version,
        holder=holder,
        duration_seconds=15,
        transitions=4,
        **other,  # type: ignore[arg-type]
    )


def seen(seconds_ago: float, holder: str = OTHER) -> LeadershipState:
    """The state at second 100 of an instance that saw the Lease change some seconds ago."""
    return observe_lease(a_lease(holder), LeadershipState(identity=SELF), 100 - seconds_ago)


@pytest.mark.parametrize(
    ("lease", "state", "action"),
    [
        pytest.param(None, LeadershipState(identity=SELF), Acquire(0), id="no lease exists"),
        pytest.param(a_lease(SELF), seen(1, SELF), Renew(), id="the holder renews its lease"),
        pytest.param(
            a_lease(OTHER), seen(15), Wait(), id="the lease of another holder is valid for 15 s"
        ),
        pytest.param(a_lease(OTHER), seen(15.1), Acquire(5), id="after 15 s a standby acquires it"),
        pytest.param(a_lease(""), seen(0, ""), Acquire(5), id="a released lease is acquired"),
        pytest.param(None, seen(15), Wait(), id="a deleted lease stays reserved for its holder"),
        pytest.param(
            None, seen(15.1), Acquire(5), id="a deleted lease is acquired after its duration"
        ),
        pytest.param(None, seen(1, SELF), Acquire(4), id="the holder recreates a deleted lease"),
        pytest.param(
            a_lease("pod-a_0"),
            seen(1, "pod-a_0"),
            Wait(),
            id="another holder of the same pod name",
        ),
    ],
)
def test_the_next_action(lease: Lease | None, state: LeadershipState, action: Action) -> None:
    assert next_action(lease, observe_lease(lease, state, 100.0), 100.0) == action


def test_every_write_of_the_lease_extends_the_time_of_its_holder() -> None:
    state = observe_lease(a_lease(OTHER, "8"), seen(14), 100.0)
    assert state.held_by_other(115.0)
    assert not state.held_by_other(115.1)
    assert observe_lease(a_lease(OTHER, "8"), state, 110.0) == state, (
        "an unchanged lease does not extend the time"
    )


class Candidate:
    """An elector, its transport, and the leadership changes that it reported."""

    def __init__(self, cluster: EmbeddedCluster, clock: VirtualClock, identity: str) -> None:
        self.transport: InProcessTransport = cluster.transport(identity)
        rng = random.Random(identity)
        self.changes: list[tuple[float, bool]] = []
        self._clock = clock
        self.elector = LeaderElector(
            Client(self.transport, clock=clock, rng=rng),
            settings=LeaderElection(),
            namespace=HOME,
            identity=identity,
            clock=clock,
            rng=rng,
            on_change=lambda leads: self.changes.append((round(clock.monotonic(), 2), leads)),
        )
        self.elector.address = f"{identity}:9443"
        self.running = asyncio.create_task(self.elector.run())

    async def kill(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    def cut_off(self) -> None:
        """Drop requests and silence watches from now on."""
        self.transport.on_request = lambda request: DROP
        for stream in self.transport.streams:
            stream.silence()


class Election:
    """Two candidates, the first of which leads."""

    def __init__(self, cluster: EmbeddedCluster, clock: VirtualClock) -> None:
        self.cluster = cluster
        self.clock = clock
        self.admin = Client(cluster.transport("admin"), clock=clock, rng=random.Random(0))
        self.first = Candidate(cluster, clock, SELF)

    async def begin(self) -> None:
        await self.until(lambda: self.first.elector.leads)
        self.second = Candidate(self.cluster, self.clock, OTHER)
        await asyncio.sleep(5)
        assert not self.second.elector.leads

    async def until(self, condition: Callable[[], bool], *, within: float = 60) -> float:
        """Wait in steps of 10 ms, assert that there is one leader at most; return the duration."""

        def holds() -> bool:
            leading = [one for one in (self.first, getattr(self, "second", None)) if one]
            assert sum(one.elector.leads for one in leading) <= 1, "two leaders"
            return condition()

        return await until(holds, within=within, every=0.01)

    async def lease(self) -> Lease:
        found = await self.admin.get(LEASES, HOME, "spotalis")
        assert found is not None
        return found

    def requests(self, user: str) -> list[str]:
        return [entry.verb for entry in self.cluster.audit.find(user=user)]


def election(scenario: Callable[[Election], Awaitable[None]]) -> None:
    """Run ``scenario`` in virtual time, with a leader and a standby."""

    async def main(clock: VirtualClock) -> None:
        cluster = EmbeddedCluster(clock=clock, rng=random.Random(0))
        async with cluster:
            await cluster.api.create("namespaces", {"metadata": {"name": HOME}})
            it = Election(cluster, clock)
            await it.begin()
            try:
                await scenario(it)
            finally:
                await it.first.kill()
                await it.second.kill()

    run(main)


def with_leader_and_standby(test: Callable[[Election], Awaitable[None]]) -> Callable[[], None]:
    """Decorate a test that takes an :class:`Election`. Its parameter is not a fixture."""

    def run_test() -> None:
        election(test)

    run_test.__name__, run_test.__doc__ = test.__name__, test.__doc__
    return run_test


@with_leader_and_standby
async def test_an_idle_standby_sends_no_requests(it: Election) -> None:
    before = len(it.requests(OTHER))
    await asyncio.sleep(60)
    assert it.requests(OTHER)[before:] == []
    assert it.first.changes == [(it.first.changes[0][0], True)]


@with_leader_and_standby
async def test_the_leader_publishes_its_address_and_removes_it(it: Election) -> None:
    assert (await it.lease()).annotations[ADDRESS_ANNOTATION] == f"{SELF}:9443"
    assert it.second.elector.leader_address == f"{SELF}:9443"
    assert it.first.elector.leader_address == ""
    it.second.elector.address = ""
    await it.first.elector.release()
    await it.until(lambda: it.second.elector.leads)
    assert ADDRESS_ANNOTATION not in (await it.lease()).annotations
    await asyncio.sleep(0.01)
    assert it.first.elector.leader_address == ""


@with_leader_and_standby
async def test_a_released_lease_is_acquired_at_once(it: Election) -> None:
    await it.first.elector.release()
    assert await it.until(lambda: it.second.elector.leads) < 0.1
    assert [leads for _, leads in it.first.changes] == [True, False]
    assert (await it.lease()).transitions == 1
    await asyncio.sleep(30)
    assert not it.first.elector.leads, "an instance that released the lease must not compete"


@with_leader_and_standby
async def test_a_crashed_leader_is_replaced_when_its_lease_expires(it: Election) -> None:
    await it.first.kill()
    took = await it.until(lambda: it.second.elector.leads and not it.first.elector.leads)
    assert 12.5 < took < 18


@with_leader_and_standby
async def test_an_isolated_leader_steps_down_before_its_lease_expires(it: Election) -> None:
    it.first.cut_off()
    down = await it.until(lambda: not it.first.elector.leads)
    up = await it.until(lambda: it.second.elector.leads)
    assert down < 10.1
    assert down + up < 18
    assert [leads for _, leads in it.first.changes] == [True, False]
    assert it.first.elector.leader_address == ""


@with_leader_and_standby
async def test_a_leader_that_was_frozen_for_20_s_resumes_as_a_standby(it: Election) -> None:
    state = it.first.elector.state
    await it.first.kill()
    await asyncio.sleep(20)
    # A process that was frozen has its old state, and nothing has run since.
    assert state.leading
    it.first.elector.state = state
    assert not it.first.elector.leads
    it.first.running = asyncio.create_task(it.first.elector.run())
    await asyncio.sleep(5)
    assert it.second.elector.leads
    assert (it.first.elector.leads, it.first.elector.state.leading) == (False, False)


@with_leader_and_standby
async def test_a_resumed_leader_that_shuts_down_leaves_the_new_lease_alone(it: Election) -> None:
    state = it.first.elector.state
    await it.first.kill()
    await it.until(lambda: it.second.elector.leads)
    it.first.elector.state = state
    await it.first.elector.release()
    assert (await it.lease()).holder == OTHER


@with_leader_and_standby
async def test_a_deleted_lease_is_recreated_by_its_holder(it: Election) -> None:
    for _ in range(5):
        await asyncio.sleep(1.3)
        await it.admin.raw("DELETE", LEASES.path(HOME, "spotalis"))
        await it.until(lambda: True)
        await asyncio.sleep(0.1)
        assert (await it.lease()).holder == SELF
    assert [leads for _, leads in it.first.changes] == [True]
    assert it.second.changes == []


@with_leader_and_standby
async def test_a_leader_steps_down_at_once_if_a_user_changes_the_holder(it: Election) -> None:
    lease = await it.lease()
    body = {
        "metadata": {"name": "spotalis", "resourceVersion": lease.resource_version},
        "spec": {"holderIdentity": "another", "leaseDurationSeconds": 15},
    }
    await it.admin.replace(LEASES, HOME, "spotalis", body)
    assert await it.until(lambda: not it.first.elector.leads) < 0.1
    took = await it.until(lambda: it.first.elector.leads or it.second.elector.leads)
    assert 15 <= took < 18


@with_leader_and_standby
async def test_a_renewal_without_a_response_does_not_lose_the_lead(it: Election) -> None:
    lost = 0

    def on_request(request: Request) -> object:
        nonlocal lost
        if request.method == "PUT" and lost == 0:
            lost += 1
            return LOSE_RESPONSE
        return DELIVER

    it.first.transport.on_request = on_request  # type: ignore[assignment]
    await asyncio.sleep(30)
    assert lost == 1
    assert [leads for _, leads in it.first.changes] == [True]
    assert it.first.elector.leads


@with_leader_and_standby
async def test_a_silent_watch_is_replaced_by_reads(it: Election) -> None:
    for stream in it.second.transport.streams:
        stream.silence()
    await asyncio.sleep(40)
    assert it.second.changes == []
    await it.first.elector.release()
    assert await it.until(lambda: it.second.elector.leads) < 5.5


def test_another_process_of_the_same_name_counts_as_another_holder(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(it: Election) -> None:
        await it.second.kill()
        it.second = Candidate(it.cluster, it.clock, "pod-a_9")
        await asyncio.sleep(60)
        assert it.second.changes == []
        assert it.first.elector.leads

    election(scenario)
    said = [r.message for r in caplog.records if "of the same name" in r.message]
    assert len(said) == 1, "logged once"


@asynccontextmanager
async def without_election() -> AsyncIterator[tuple[LeaderElector, list[bool]]]:
    said: list[bool] = []
    yield (
        LeaderElector(
            None,  # type: ignore[arg-type]  # not used
            settings=LeaderElection(enabled=False),
            namespace=HOME,
            identity=SELF,
            clock=None,  # type: ignore[arg-type]
            rng=random.Random(0),
            on_change=said.append,
        ),
        said,
    )


async def test_without_election_an_instance_leads_without_requests() -> None:
    async with without_election() as (elector, said):
        await elector.run()
        assert (elector.leads, said) == (True, [True])
        await elector.release()
