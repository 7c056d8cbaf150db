"""Faults of watches and lists (docs/contributing/faults.md: 1 to 13, 30)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from spotalis.embedded.transport import DROP, REFUSE, NetworkFault
from spotalis.model.configuration import POD_SLOT
from spotalis.model.decision import Reason
from spotalis.model.transport import Request, Response
from tests.integration.faults.simulated import (
    always,
    count_evictions,
    get_reason,
    history,
    is_ledger_write,
    once,
    respond_with,
    simulate,
    simulated,
    transport_of,
    wait_for_split,
    workload_spec,
)
from tests.simulation.planted import PLANTED_FAULTS
from tests.simulation.runner import run_script
from tests.simulation.world import World

ALL_PODS = "/api/v1/pods"


def reads(path: str) -> Callable[[Request], bool]:
    """Matches lists and watches of a resource in all namespaces, but not authorizing lists."""
    return lambda request: request.method == "GET" and request.path == path


def is_watch_list(request: Request) -> bool:
    """Whether the request is a WatchList, which an old server rejects."""
    return request.path == ALL_PODS and ("sendInitialEvents", "true") in request.query


async def get_list(world: World, path: str = ALL_PODS) -> dict[str, object]:
    """A list as the server returns it now."""
    request = Request(method="GET", path=path, timeout_seconds=10)
    answer = await world.cluster.transport("admin").send(request)
    found: dict[str, object] = json.loads(answer.body)
    return found


def cut_all_watches(world: World) -> None:
    for stream in tuple(transport_of(world)._inner.streams):
        stream.cut()


def is_paged_list(request: Request) -> bool:
    return reads(ALL_PODS)(request) and ("watch", "true") not in request.query


@simulated()
@pytest.mark.parametrize(
    ("path", "number"),
    [(ALL_PODS, 0), ("/api/v1/nodes", 1), ("/apis/apps/v1/deployments", 2)],
)
async def test_row_1_after_70_s_of_silence_on_a_watch_nothing_moves(
    world: World, path: str, number: int
) -> None:
    line = transport_of(world)
    for stream in line._inner.streams:
        if stream.request.path == path:
            stream.silence()
    line.fault_rule = always(reads(path), DROP)
    await asyncio.sleep(70.1)
    await world.apply("percent", value=100)
    await asyncio.sleep(65)
    assert get_reason(world) is Reason.CACHE_NOT_READY
    assert count_evictions(world) == 0
    line.fault_rule = lambda request: None
    await wait_for_split(world, 3, within=64 + 1 + 60 + 30)  # bookmark, resync


async def change_all_resources(world: World) -> Callable[[], bool]:
    """Change an object of each watched resource. Returns whether the operator's caches show all."""
    names = ("nodes", "namespaces", "deployments", "replicasets", "pods")
    await world.apply("budget", value=3)
    for plural in names:
        held = world.cluster.store.list(plural)[0]
        labels = {**held["metadata"].get("labels", {}), "changed": "yes"}
        world.cluster.store.put(
            plural, {**held, "metadata": {**held["metadata"], "labels": labels}}
        )
    (process,) = world.processes
    stores = process.operator.cluster.stores()
    newest = {
        plural: max(
            int(each["metadata"]["resourceVersion"]) for each in world.cluster.store.list(plural)
        )
        for plural in (*names, "poddisruptionbudgets")
    }

    def is_current() -> bool:
        return all(
            max((int(each.resource_version) for each in stores[plural]), default=0) >= version
            for plural, version in newest.items()
        )

    return is_current


@simulated()
async def test_row_1_silently_dead_watches_are_replaced_within_70_s(
    world: World,
) -> None:
    """The connections are dead without an error; new ones work."""

    for after in (0.0, 13.0, 47.0):  # different times between two bookmarks
        await asyncio.sleep(after)
        for stream in transport_of(world)._inner.streams:
            stream.silence()
        is_current = await change_all_resources(world)
        await asyncio.sleep(1)
        assert not is_current()
        await asyncio.sleep(69)
        assert is_current()


@simulated()
@pytest.mark.parametrize("seconds", [5.0, 67.0, 100.0, 131.0, 200.0, 600.0])
async def test_row_1_within_70_s_of_restored_connectivity_the_caches_are_current(
    world: World,
    seconds: float,
) -> None:
    """After any time without connectivity, and with requests in progress."""

    line = transport_of(world)
    line.isolated = True
    for stream in line._inner.streams:
        stream.silence()
    await asyncio.sleep(seconds)
    is_current = await change_all_resources(world)
    assert not is_current()
    line.isolated = False
    await asyncio.sleep(70)
    assert is_current()


def test_a_deleted_pod_that_a_silent_watch_still_shows_gets_one_intent() -> None:
    """The authorizing list shows that the pod is gone; otherwise ledger writes would repeat."""
    writes = []

    async def script(world: World) -> None:
        line = transport_of(world)
        for stream in line._inner.streams:
            if stream.request.path == ALL_PODS:
                stream.silence()

        def order(request: Request) -> NetworkFault | None:
            if is_ledger_write(request):
                writes.append(request.method)
            return DROP if reads(ALL_PODS)(request) else None

        line.fault_rule = order
        for number in range(5):
            await world.apply("delete-pod", index=number)
        await asyncio.sleep(10)
        await world.apply("percent", value=100)
        await asyncio.sleep(60)
        assert count_evictions(world) == 0
        line.fault_rule = lambda request: None

    simulate(script, history())
    assert writes == ["POST", "DELETE"]


@simulated(operators=2)
async def test_row_2_with_a_frozen_api_server_the_leader_steps_down_before_its_lease_expires(
    world: World,
) -> None:
    leader = next(p for p in world.processes if p.operator.elector.leads)
    leader.transport.isolated = True
    changed = False
    for _ in range(40):
        await asyncio.sleep(1)
        leading = [p for p in world.processes if p.operator.elector.leads]
        assert len(leading) <= 1
        changed = changed or bool(leading and leading != [leader])
    assert changed
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)
    leader.transport.clear()
    await asyncio.sleep(60)
    assert count_evictions(world) == 3


@simulated()
async def test_row_3_an_old_list_is_not_used(world: World) -> None:
    before = json.dumps(await get_list(world)).encode()
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)
    old = once(is_paged_list, NetworkFault(response=Response(status=200, body=before)), times=4)
    transport_of(world).fault_rule = lambda request: (
        respond_with(422, "no") if is_watch_list(request) else old(request)
    )
    cut_all_watches(world)
    world.cluster.store.compact()
    await asyncio.sleep(60)
    assert count_evictions(world) == 3
    await wait_for_split(world, 3)


@simulated()
@pytest.mark.parametrize("status", [403, 410, 504, 429, 500])
async def test_rows_4_6_13_16_17_a_rejected_watch_is_repeated(world: World, status: int) -> None:
    transport_of(world).fault_rule = once(reads(ALL_PODS), respond_with(status, "no"), times=5)
    cut_all_watches(world)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3, within=200)


@simulated()
async def test_row_13_without_permission_to_list_pods_nothing_moves(world: World) -> None:
    line = transport_of(world)
    line.fault_rule = always(lambda request: "pods" in request.path, respond_with(403, "forbidden"))
    cut_all_watches(world)
    await asyncio.sleep(95)
    await world.apply("percent", value=100)
    await asyncio.sleep(35)
    assert (count_evictions(world), get_reason(world)) == (0, Reason.CACHE_NOT_READY)
    line.fault_rule = lambda request: None
    await wait_for_split(world, 3)


@simulated()
async def test_row_5_after_a_410_within_a_watch_deleted_pods_are_removed_from_the_cache(
    world: World,
) -> None:
    transport_of(world).fault_rule = always(reads(ALL_PODS), REFUSE)
    cut_all_watches(world)
    await world.apply("delete-pod", index=0)
    await world.apply("delete-pod", index=1)
    await asyncio.sleep(5)
    world.cluster.store.compact()
    transport_of(world).fault_rule = lambda request: None
    await asyncio.sleep(40)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


@simulated()
async def test_row_8_a_lost_deletion_event_causes_no_extra_eviction(world: World) -> None:
    transport_of(world).alter_chunk = lambda chunk: b"".join(
        line for line in chunk.splitlines(keepends=True) if b'"DELETED"' not in line[:40]
    )
    await world.apply("percent", value=100)
    await asyncio.sleep(60)
    assert 1 <= count_evictions(world) <= 3
    transport_of(world).alter_chunk = lambda chunk: chunk
    cut_all_watches(world)
    world.cluster.store.compact()
    await wait_for_split(world, 3, within=400)


def replace_events_by_bookmarks(chunk: bytes) -> bytes:
    """Replace each event of a pod by a bookmark of the same version."""

    def replace(line: bytes) -> bytes:
        event = json.loads(line)
        if event["type"] in ("BOOKMARK", "ERROR") or event["object"].get("kind") != "Pod":
            return line
        version = {"resourceVersion": event["object"]["metadata"]["resourceVersion"]}
        shown = {"kind": "Pod", "apiVersion": "v1", "metadata": version}
        return json.dumps({"type": "BOOKMARK", "object": shown}).encode() + b"\n"

    return b"".join(replace(line) for line in chunk.splitlines(keepends=True))


async def move_with_outdated_cache(world: World) -> None:
    """Two of five replicas become unready; the cache shows five ready and a current version."""
    transport_of(world).alter_chunk = replace_events_by_bookmarks
    for pod in world.oracle.pods_of("w0"):
        if pod["metadata"]["annotations"][POD_SLOT] in "01":
            world.set_readiness(pod["metadata"]["name"], "never")
    await asyncio.sleep(2)
    (process,) = world.processes
    cached = list(process.operator.cluster.pods)
    assert [pod.ready for pod in cached] == [True] * 5
    await world.apply("percent", value=100)
    await asyncio.sleep(40)


@simulated(workload_spec(moves=5))
async def test_row_9_a_bookmark_ahead_of_its_events_authorizes_nothing(
    world: World,
) -> None:
    await move_with_outdated_cache(world)
    assert count_evictions(world) == 1  # three are ready, the floor is two
    transport_of(world).alter_chunk = lambda chunk: chunk
    cut_all_watches(world)  # the omitted events are never sent: the bookmarks were newer
    await asyncio.sleep(40)
    world.cluster.store.compact()
    cut_all_watches(world)
    for pod in world.oracle.pods_of("w0"):
        world.heal(pod["metadata"]["name"])
    await wait_for_split(world, 3, within=400)


def test_row_9_evictions_authorized_by_the_cache_violate_the_floor() -> None:
    """A planted fault: the authorizing list comes from the cache."""
    (planted,) = [each for each in PLANTED_FAULTS if each.name == "the cache authorizes evictions"]
    chosen = history(workload_spec(moves=5))
    outcome = run_script(chosen, move_with_outdated_cache, planted.operator)
    assert any(violation.startswith("S1") for violation in outcome.violations)


@simulated()
async def test_row_10_repeated_events_count_once(world: World) -> None:
    transport_of(world).alter_chunk = lambda chunk: chunk + chunk
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


@simulated()
@pytest.mark.parametrize(
    "garbage", [b"{]\n", b"\xff\xfe\n", b'{"type":"MODIFIED","object":{"a":\n', b"\n\n"]
)
async def test_row_11_garbage_on_a_watch_only_ends_the_watch(world: World, garbage: bytes) -> None:
    transport_of(world).alter_chunk = lambda chunk: chunk + garbage
    await world.apply("percent", value=100)
    await asyncio.sleep(20)
    transport_of(world).alter_chunk = lambda chunk: chunk
    await wait_for_split(world, 3, within=200)


@simulated()
async def test_row_12_an_incomplete_list_stops_moves_until_a_list_is_complete(world: World) -> None:
    await world.apply("scale", value=10)
    await asyncio.sleep(5)
    half = await get_list(world)
    items = half["items"]
    assert isinstance(items, list)
    assert len(items) == 10
    half["items"] = items[:5]
    body = json.dumps(half).encode()
    shown = once(is_paged_list, NetworkFault(response=Response(status=200, body=body)))
    transport_of(world).fault_rule = lambda request: (
        respond_with(422, "no") if is_watch_list(request) else shown(request)
    )
    world.cluster.store.compact()
    cut_all_watches(world)
    await asyncio.sleep(20)
    await world.apply("percent", value=100)
    await asyncio.sleep(40)
    assert (count_evictions(world), get_reason(world)) == (0, Reason.IMPLAUSIBLE_VIEW)
    world.cluster.store.compact()
    cut_all_watches(world)  # the next list is complete
    await wait_for_split(world, 8, within=200)


@simulated()
async def test_row_12_a_consistent_loss_of_pods_is_accepted_after_five_minutes(
    world: World,
) -> None:
    await world.apply("scale", value=10)
    await asyncio.sleep(5)
    transport_of(world).fault_rule = always(reads(ALL_PODS), REFUSE)
    cut_all_watches(world)
    await world.apply("scale", value=5)
    await asyncio.sleep(20)
    world.cluster.store.compact()
    transport_of(world).fault_rule = lambda request: None
    await asyncio.sleep(60)
    await world.apply("percent", value=100)
    await asyncio.sleep(60)
    assert (count_evictions(world), get_reason(world)) == (0, Reason.IMPLAUSIBLE_VIEW)
    await wait_for_split(world, 3, within=300)


@simulated()
async def test_row_30_a_slow_first_list_does_not_count_as_an_empty_cluster(world: World) -> None:
    await world.kill(0)
    await world.apply("percent", value=100)
    world.start(0)
    transport_of(world).fault_rule = once(reads(ALL_PODS), NetworkFault(delay_seconds=30))
    await asyncio.sleep(29)
    assert count_evictions(world) == 0
    await wait_for_split(world, 3)
