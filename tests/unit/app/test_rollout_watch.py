"""Rollouts are watched only while their API is served and may be read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from spotalis.app.rollout_watch import DISCOVERY_SECONDS, RETRY_SECONDS, RolloutWatch
from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.owners import NoWorkload
from spotalis.controller.reservations import Reservations
from spotalis.kube.client import Client
from spotalis.kube.store import Event, EventType, StoreWriter
from spotalis.model.controller_configuration import ControllerConfiguration, NamespaceFilter
from spotalis.model.objects import Owner, PodShape, ReplicaSet, Workload
from spotalis.model.rollouts import RolloutState
from spotalis.model.transport import Response, TransportError
from tests.support.api_objects import a_status, text
from tests.support.builders import a_namespace, annotated, workload_named_api
from tests.support.loaded_rng import LoadedRandom
from tests.support.scripted_transport import ScriptedTransport
from tests.support.virtual_time import in_virtual_time, virtual_clock

API = "/apis/argoproj.io/v1alpha1"
YES = Response(status=200, body=b"{}")
NOT_SERVED = Response(status=404, body=text(a_status(404)))
FORBIDDEN = Response(status=403, body=text(a_status(403)))
NO_ANSWER = TransportError("no answer", maybe_sent=True)
ROLLOUT = Owner(group="argoproj.io", kind="Rollout", name="api", uid="api-uid")
SET = ReplicaSet(namespace="shop", name="api-1", uid="api-1-uid", owner=ROLLOUT, replicas=3)
POD_OWNER = Owner(group="apps", kind="ReplicaSet", name="api-1", uid="api-1-uid")


class Watched:
    """A watch of Rollouts, and the times at which its streams run."""

    def __init__(self, answers: Sequence[Response | Exception], *namespaces: str) -> None:
        clock = virtual_clock()
        filters = NamespaceFilter(watched=frozenset(namespaces))
        settings = ControllerConfiguration(namespace="spotalis-system", namespaces=filters)
        self.enqueued: list[WorkloadKey] = []
        self.cluster = Cluster(settings, Reservations(clock), self.enqueued.append, clock)
        self.transport = ScriptedTransport([*answers])
        self.streams = 0
        client = Client(self.transport, clock=clock, rng=LoadedRandom())
        self._watch = RolloutWatch(client, self.cluster, self._start)
        self._clock = clock

    def _start(self, group: asyncio.TaskGroup) -> None:
        async def stream() -> None:
            self.streams += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.streams -= 1

        group.create_task(stream())

    def add(self, rollout: Workload) -> None:
        change = StoreWriter(self.cluster.rollouts).apply(Event(EventType.ADDED, rollout))
        assert change is not None
        self.cluster.on_workload_change(change)

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.transport.requests]

    async def run(self, seconds: float) -> None:
        """Run the watch for this long; it goes on afterwards."""
        if not hasattr(self, "_task"):
            await self._watch.discover()
            self._task = asyncio.create_task(self._watch.run())
        await asyncio.sleep(seconds)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@in_virtual_time
async def test_without_an_answer_the_question_is_repeated_after_five_seconds() -> None:
    watched = Watched([NO_ANSWER, YES, YES])
    await watched.run(RETRY_SECONDS - 1)
    assert (watched.streams, watched.paths) == (0, [API])
    await watched.run(2)
    assert watched.streams == 1
    await watched.stop()


@in_virtual_time
async def test_rollouts_are_watched_from_the_minute_in_which_their_api_appears() -> None:
    watched = Watched([NOT_SERVED, YES, YES])
    await watched.run(DISCOVERY_SECONDS - 1)
    assert (watched.streams, watched.paths) == (0, [API])
    await watched.run(2)
    assert (watched.streams, watched.paths) == (1, [API, API, f"{API}/rollouts"])
    assert "rollouts" in watched.cluster.health.missing_lists()  # until the first one
    await watched.stop()


@in_virtual_time
async def test_rollouts_that_may_not_be_read_are_not_watched(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched([YES, FORBIDDEN, YES, FORBIDDEN])
    await watched.run(2 * DISCOVERY_SECONDS - 1)
    assert watched.streams == 0
    assert "rollouts" not in watched.cluster.health.missing_lists()
    said = [record for record in caplog.records if "not managed" in record.getMessage()]
    assert len(said) == 1
    await watched.stop()


@in_virtual_time
@pytest.mark.parametrize(("second", "streams"), [(YES, 1), (FORBIDDEN, 0), (NO_ANSWER, 0)])
async def test_one_readable_namespace_is_enough(second: Response | Exception, streams: int) -> None:
    watched = Watched([YES, FORBIDDEN, second], "one", "two")
    await watched.run(1)
    assert watched.streams == streams
    lists = [f"{API}/namespaces/{name}/rollouts" for name in ("one", "two")]
    assert watched.paths == [API, *lists]
    await watched.stop()


@in_virtual_time
async def test_rollouts_are_forgotten_when_their_api_is_removed() -> None:
    watched = Watched([YES, YES, NOT_SERVED, NOT_SERVED])
    namespaces = StoreWriter(watched.cluster.namespaces)
    namespaces.apply(Event(EventType.ADDED, a_namespace("shop")))
    key = WorkloadKey("Rollout", "shop", "api")
    watched.add(workload_named_api(kind="Rollout", annotations=annotated(enabled="true")))
    watched.cluster.rollouts.fresh_at_by_scope[""] = 0.0  # the last news
    await watched.run(1)
    assert watched.cluster.managed_keys() == (key,)
    await watched.run(DISCOVERY_SECONDS)
    assert watched.streams == 0
    assert watched.cluster.managed_keys() == ()
    assert watched.cluster.find_workload(key) is None
    assert "rollouts" not in watched.cluster.stores()
    await watched.stop()


@in_virtual_time
async def test_while_a_watch_delivers_nothing_is_asked() -> None:
    watched = Watched([YES, YES])
    watched.cluster.rollouts.fresh_at_by_scope[""] = 0.0
    await watched.run(1)
    for _ in range(3):
        watched.cluster.rollouts.fresh_at_by_scope[""] = asyncio.get_running_loop().time()
        await watched.run(DISCOVERY_SECONDS)
    assert len(watched.paths) == 2
    await watched.stop()


@in_virtual_time
async def test_a_replica_set_of_a_rollout_is_recognized_whether_or_not_rollouts_are_watched() -> (
    None
):
    watched = Watched([])
    sets = StoreWriter(watched.cluster.replica_sets)
    sets.apply(Event(EventType.ADDED, SET))
    assert watched.cluster.find_owner("shop", POD_OWNER) == NoWorkload()
    watched.cluster.on_rollouts_discovered(True)
    assert watched.cluster.find_owner("shop", POD_OWNER) is None  # the Rollout is not known yet
    watched.add(workload_named_api(kind="Rollout"))
    found = watched.cluster.find_owner("shop", POD_OWNER)
    assert not isinstance(found, NoWorkload)
    assert found is not None
    assert (found.workload.kind, found.owner_uid, found.owner_replicas) == (
        "Rollout", "api-1-uid", 3,
    )  # fmt: skip


@in_virtual_time
async def test_a_rollout_with_workload_ref_has_the_template_of_its_deployment() -> None:

    watched = Watched([])
    deployments = StoreWriter(watched.cluster.deployments)
    shape = PodShape(cpu_millis=700)
    source = workload_named_api(shape=shape, template_labels={"app": "base"})
    deployments.apply(Event(EventType.ADDED, source))
    watched.add(workload_named_api(kind="Rollout", rollout=RolloutState(template_of="api")))
    found = watched.cluster.find_workload(WorkloadKey("Rollout", "shop", "api"))
    assert found is not None
    assert (found.kind, found.shape, found.template_labels) == ("Rollout", shape, {"app": "base"})
