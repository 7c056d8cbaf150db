"""Watches and lists that fall silent, lie, or come from the past (safety.md B.1: 1 to 13, 30)."""

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
    answered,
    count_evictions,
    get_reason,
    history,
    is_ledger_write,
    once,
    simulate,
    simulated,
    transport_of,
    wait_for_split,
)
from tests.simulation.planted import PLANTED_FAULTS
from tests.simulation.runner import run_script
from tests.simulation.world import World

ALL_PODS = "/api/v1/pods"


def follows(path: str) -> Callable[[Request], bool]:
    """The list or the watch of a kind, all namespaces; not the list that authorises."""
    return lambda request: request.method == "GET" and request.path == path


def refused_streamed_list(request: Request) -> bool:
    """WatchList, which an old server does not know: pages are asked for instead."""
    return request.path == ALL_PODS and ("sendInitialEvents", "true") in request.query


async def list_of(world: World, path: str = ALL_PODS) -> dict[str, object]:
    """A list as the server gives it now."""
    request = Request(method="GET", path=path, timeout_seconds=10)
    answer = await world.cluster.transport("admin").send(request)
    found: dict[str, object] = json.loads(answer.body)
    return found


def cut_everything(world: World) -> None:
    for stream in tuple(transport_of(world)._inner.streams):
        stream.cut()


def is_paged_list(request: Request) -> bool:
    return follows(ALL_PODS)(request) and ("watch", "true") not in request.query


@simulated()
@pytest.mark.parametrize(
    ("path", "number"),
    [(ALL_PODS, 0), ("/api/v1/nodes", 1), ("/apis/apps/v1/deployments", 2)],
)
async def test_row_1_once_a_watch_has_said_nothing_for_70_s_nothing_moves(
    world: World, path: str, number: int
) -> None:
    line = transport_of(world)
    for stream in line._inner.streams:
        if stream.request.path == path:
            stream.silence()
    line.fault_rule = always(follows(path), DROP)
    await asyncio.sleep(70.1)
    await world.apply("percent", value=100)
    await asyncio.sleep(65)
    assert get_reason(world) is Reason.CACHE_NOT_READY
    assert count_evictions(world) == 0
    line.fault_rule = lambda request: None
    await wait_for_split(world, 3, within=64 + 1 + 60 + 30)  # bookmark, resync


async def changed_everywhere(world: World) -> Callable[[], bool]:
    """Change an object of each kind that is followed; whether the operator's stores show it all."""
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
            int(one["metadata"]["resourceVersion"]) for one in world.cluster.store.list(plural)
        )
        for plural in (*names, "poddisruptionbudgets")
    }

    def seen() -> bool:
        return all(
            max((int(one.resource_version) for one in stores[plural]), default=0) >= version
            for plural, version in newest.items()
        )

    return seen


@simulated()
async def test_row_1_streams_that_died_without_a_word_are_replaced_within_70_s(
    world: World,
) -> None:
    """L4: the connections are gone, new ones can be made, and nobody says so."""

    for after in (0.0, 13.0, 47.0):  # wherever between two bookmarks
        await asyncio.sleep(after)
        for stream in transport_of(world)._inner.streams:
            stream.silence()
        seen = await changed_everywhere(world)
        await asyncio.sleep(1)
        assert not seen()
        await asyncio.sleep(69)
        assert seen()


@simulated()
@pytest.mark.parametrize("seconds", [5.0, 67.0, 100.0, 131.0, 200.0, 600.0])
async def test_row_1_within_70_s_of_restored_connectivity_the_view_is_as_new_as_it_was_then(
    world: World,
    seconds: float,
) -> None:
    """L4, however long nothing got through, and whatever hung in that moment."""

    line = transport_of(world)
    line.isolated = True
    for stream in line._inner.streams:
        stream.silence()
    await asyncio.sleep(seconds)
    seen = await changed_everywhere(world)
    assert not seen()
    line.isolated = False
    await asyncio.sleep(70)
    assert seen()


def test_a_pod_that_only_a_silent_watch_still_shows_is_meant_once() -> None:
    """Its lack in the list that authorises is learned, or ledger writes would go on and on."""
    writes = []

    async def script(world: World) -> None:
        line = transport_of(world)
        for stream in line._inner.streams:
            if stream.request.path == ALL_PODS:
                stream.silence()

        def order(request: Request) -> NetworkFault | None:
            if is_ledger_write(request):
                writes.append(request.method)
            return DROP if follows(ALL_PODS)(request) else None

        line.fault_rule = order
        for number in range(5):
            await world.apply("delete-pod", index=number)
        await asyncio.sleep(10)
        await world.apply("percent", value=100)
        await asyncio.sleep(60)
        assert count_evictions(world) == 0
        line.fault_rule = lambda request: None

    simulate(script, moves=2)
    assert writes == ["POST", "DELETE"]


@simulated(operators=2)
async def test_row_2_a_frozen_api_server_costs_the_lead_before_the_lease_and_nobody_leads_twice(
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
async def test_row_3_a_list_from_the_past_is_not_believed(world: World) -> None:
    before = json.dumps(await list_of(world)).encode()
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)
    old = once(is_paged_list, NetworkFault(response=Response(status=200, body=before)), times=4)
    transport_of(world).fault_rule = lambda request: (
        answered(422, "no") if refused_streamed_list(request) else old(request)
    )
    cut_everything(world)
    world.cluster.store.compact()
    await asyncio.sleep(60)
    assert count_evictions(world) == 3
    await wait_for_split(world, 3)


@simulated()
@pytest.mark.parametrize("status", [403, 410, 504, 429, 500])
async def test_rows_4_6_13_16_17_a_watch_that_is_refused_comes_back(
    world: World, status: int
) -> None:
    transport_of(world).fault_rule = once(follows(ALL_PODS), answered(status, "no"), times=5)
    cut_everything(world)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3, within=200)


@simulated()
async def test_row_13_while_pods_may_not_be_read_nothing_moves(world: World) -> None:
    line = transport_of(world)
    line.fault_rule = always(lambda request: "pods" in request.path, answered(403, "forbidden"))
    cut_everything(world)
    await asyncio.sleep(95)
    await world.apply("percent", value=100)
    await asyncio.sleep(35)
    assert (count_evictions(world), get_reason(world)) == (0, Reason.CACHE_NOT_READY)
    line.fault_rule = lambda request: None
    await wait_for_split(world, 3)


@simulated()
async def test_row_5_after_a_410_within_the_stream_what_went_meanwhile_is_gone(
    world: World,
) -> None:
    transport_of(world).fault_rule = always(follows(ALL_PODS), REFUSE)
    cut_everything(world)
    await world.apply("delete-pod", index=0)
    await world.apply("delete-pod", index=1)
    await asyncio.sleep(5)
    world.cluster.store.compact()
    transport_of(world).fault_rule = lambda request: None
    await asyncio.sleep(40)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


@simulated()
async def test_row_8_a_lost_deletion_makes_nobody_bolder(world: World) -> None:
    transport_of(world).alter_chunk = lambda chunk: b"".join(
        line for line in chunk.splitlines(keepends=True) if b'"DELETED"' not in line[:40]
    )
    await world.apply("percent", value=100)
    await asyncio.sleep(60)
    assert 1 <= count_evictions(world) <= 3
    transport_of(world).alter_chunk = lambda chunk: chunk
    cut_everything(world)
    world.cluster.store.compact()
    await wait_for_split(world, 3, within=400)


def bookmarks_instead(chunk: bytes) -> bytes:
    """A bookmark for each event of a pod, of the same version, and the event never."""

    def instead(line: bytes) -> bytes:
        event = json.loads(line)
        if event["type"] in ("BOOKMARK", "ERROR") or event["object"].get("kind") != "Pod":
            return line
        version = {"resourceVersion": event["object"]["metadata"]["resourceVersion"]}
        shown = {"kind": "Pod", "apiVersion": "v1", "metadata": version}
        return json.dumps({"type": "BOOKMARK", "object": shown}).encode() + b"\n"

    return b"".join(instead(line) for line in chunk.splitlines(keepends=True))


async def behind_its_bookmarks(world: World) -> None:
    """Two of five replicas become unready and the cache, by its version up to date, shows five."""
    transport_of(world).alter_chunk = bookmarks_instead
    for pod in world.oracle.pods_of("w0"):
        if pod["metadata"]["annotations"][POD_SLOT] in "01":
            world.set_readiness(pod["metadata"]["name"], "never")
    await asyncio.sleep(2)
    (process,) = world.processes
    shown = list(process.operator.cluster.pods)
    assert [pod.ready for pod in shown] == [True] * 5
    await world.apply("percent", value=100)
    await asyncio.sleep(40)


@simulated(moves=5)
async def test_row_9_a_bookmark_that_is_ahead_of_its_events_authorises_nothing(
    world: World,
) -> None:
    await behind_its_bookmarks(world)
    assert count_evictions(world) == 1  # three are ready, and the floor is two
    transport_of(world).alter_chunk = lambda chunk: chunk
    cut_everything(world)  # and what was left out is never sent: the bookmarks were past it
    await asyncio.sleep(40)
    world.cluster.store.compact()
    cut_everything(world)
    for pod in world.oracle.pods_of("w0"):
        world.heal(pod["metadata"]["name"])
    await wait_for_split(world, 3, within=400)


def test_row_9_a_cache_that_authorised_by_its_version_would_break_the_floor() -> None:
    """The planted fault: the list that authorises comes from the cache."""
    (planted,) = [one for one in PLANTED_FAULTS if one.name == "the cache authorises"]
    outcome = run_script(history(moves=5), behind_its_bookmarks, planted.operator)
    assert [words for words in outcome.violations if words.startswith("S1")]


@simulated()
async def test_row_10_events_that_come_twice_count_once(world: World) -> None:
    transport_of(world).alter_chunk = lambda chunk: chunk + chunk
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


@simulated()
@pytest.mark.parametrize(
    "garbage", [b"{]\n", b"\xff\xfe\n", b'{"type":"MODIFIED","object":{"a":\n', b"\n\n"]
)
async def test_row_11_garbage_on_a_stream_ends_the_stream_and_nothing_else(
    world: World, garbage: bytes
) -> None:
    transport_of(world).alter_chunk = lambda chunk: chunk + garbage
    await world.apply("percent", value=100)
    await asyncio.sleep(20)
    transport_of(world).alter_chunk = lambda chunk: chunk
    await wait_for_split(world, 3, within=200)


@simulated()
async def test_row_12_half_a_world_is_not_acted_on_until_a_list_agrees(world: World) -> None:
    await world.apply("scale", value=10)
    await asyncio.sleep(5)
    half = await list_of(world)
    items = half["items"]
    assert isinstance(items, list)
    assert len(items) == 10
    half["items"] = items[:5]
    body = json.dumps(half).encode()
    shown = once(is_paged_list, NetworkFault(response=Response(status=200, body=body)))
    transport_of(world).fault_rule = lambda request: (
        answered(422, "no") if refused_streamed_list(request) else shown(request)
    )
    world.cluster.store.compact()
    cut_everything(world)
    await asyncio.sleep(20)
    await world.apply("percent", value=100)
    await asyncio.sleep(40)
    assert (count_evictions(world), get_reason(world)) == (0, Reason.IMPLAUSIBLE_VIEW)
    world.cluster.store.compact()
    cut_everything(world)  # the next list shows all of them
    await wait_for_split(world, 8, within=200)


@simulated()
async def test_row_12_a_loss_that_nothing_contradicts_is_believed_after_five_minutes(
    world: World,
) -> None:
    await world.apply("scale", value=10)
    await asyncio.sleep(5)
    transport_of(world).fault_rule = always(follows(ALL_PODS), REFUSE)
    cut_everything(world)
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
async def test_row_30_a_first_list_that_is_slow_is_no_empty_world(world: World) -> None:
    await world.kill(0)
    await world.apply("percent", value=100)
    world.start(0)
    transport_of(world).fault_rule = once(follows(ALL_PODS), NetworkFault(delay_seconds=30))
    await asyncio.sleep(29)
    assert count_evictions(world) == 0
    await wait_for_split(world, 3)
