"""Watches and lists that fall silent, lie, or come from the past (safety.md B.1: 1, 3, 12)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from spotalis.model.decision import Reason
from spotalis.model.transport import Request, Response
from tests.integration.faults.real.cluster import SPOT, FaultTestCluster, Floor, ProxiedOperator
from tests.integration.faults.simulated import is_eviction
from tests.support.audit_log import AuditLog
from tests.support.control_plane import ControlPlane
from tests.support.fault_proxy import Call, Fate, Gate, Order, always, answered, forged, once
from tests.support.stoppable_link import stoppable_link

pytestmark = pytest.mark.real

ALL_PODS = "/api/v1/pods"


SILENCED = {
    "pods": ALL_PODS,
    "nodes": "/api/v1/nodes",
    "deployments": "/apis/apps/v1/deployments",
}


async def test_row_1_once_a_watch_has_said_nothing_for_70_s_nothing_moves(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    """One operator for each kind, all at the same time: they wait for the same 70 s."""
    await asyncio.gather(*(falls_silent(control_plane, tmp_path, kind) for kind in SILENCED))


async def falls_silent(control_plane: ControlPlane, folder: Path, kind: str) -> None:
    async with FaultTestCluster(control_plane, folder, f"silent-{kind}") as cluster:
        process = await cluster.start("--resync", "5s")
        await cluster.set_up()
        lists = Gate()
        process.proxy.silent = lambda request: request.path == SILENCED[kind]
        process.proxy.order = always(
            lambda request: (
                request.path == SILENCED[kind] and ("watch", "true") not in request.query
            ),
            lists,
        )
        await cluster.gives(process, Reason.CACHE_NOT_READY, within=180)
        await cluster.want(SPOT)
        if kind != "deployments":
            await cluster.hears(process, spot=3)
        await cluster.is_quiet(8)
        assert await process.reason() is Reason.CACHE_NOT_READY
        assert cluster.evictions() == []
        lists.open()
        process.proxy.mend()
        await cluster.touch(kind)
        await cluster.turned(SPOT, 3, within=120)


def relisting(fate: Fate | None, times: int) -> Order:
    """The watch of pods has expired and lists come in pages; the first ones have this fate."""
    expired, left = [False], [times]

    def order(request: Request) -> Fate | None:
        asked = dict(request.query)
        if request.path != ALL_PODS:
            return None
        if asked.get("sendInitialEvents") == "true":
            return answered(422, "no streamed lists here")
        if asked.get("watch") == "true" and not expired[0]:
            expired[0] = True
            return answered(410, "too old resource version")
        if "watch" not in asked and left[0]:
            left[0] -= 1
            return fate
        return None

    return order


def relist(process: ProxiedOperator, fate: Fate | None, times: int = 1) -> None:
    process.proxy.order = relisting(fate, times)
    process.proxy.cut_watches(lambda request: request.path == ALL_PODS)


def with_items(keep: Callable[[list[object]], list[object]]) -> Fate:
    def change(body: bytes) -> bytes:
        listed = json.loads(body)
        return json.dumps({**listed, "items": keep(listed["items"] or [])}).encode()

    return forged(change)


async def test_row_3_lists_from_the_past_are_not_believed(cluster: FaultTestCluster) -> None:
    """No API server of today gives such lists to who asks for the newest: the proxy does."""
    process = await cluster.start()
    await cluster.set_up()
    before = (await cluster.api.raw("GET", ALL_PODS)).body
    await cluster.want(SPOT)
    await cluster.turned(SPOT, 3)
    relist(process, forged(lambda body: before), times=2)

    async def current() -> bool:
        return process.log.read_text().count('"sign":"back-in-time"') >= 2 and any(
            watch.request.path == ALL_PODS for watch in process.proxy.watches
        )

    await cluster.wait_until(current, "two old lists, then a true one")
    await cluster.is_quiet()
    assert await process.reason() is Reason.BALANCED
    assert len(cluster.evictions()) == 3
    assert sum(map(is_eviction, process.proxy.heard)) == 3


async def test_row_3_what_a_lagging_api_server_carries_out_at_last_costs_no_eviction(
    cluster: FaultTestCluster,
) -> None:
    """A second API server on one etcd takes over in mid-rebalance, and its link to it stops.

    The process comes back to the first one, finishes, and only then the second one catches up.
    """
    process = await cluster.start()
    await cluster.set_up()
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(stoppable_link(cluster.plane.etcd_port))
        other, audit_file = await asyncio.to_thread(
            stack.enter_context, cluster.plane.another_api_server(link.port)
        )
        late = AuditLog(audit_file)

        async def move(call: Call) -> Response:
            answer = await call.forward()
            link.stop()
            process.proxy.upstream = other
            process.proxy.cut_watches()
            return answer

        async def given_up() -> bool:
            return '"outcome":"unknown"' in process.log.read_text()

        async def carried_out() -> bool:
            return any(event.kind == "pods/eviction" for event in late.events())

        process.proxy.order = once(is_eviction, move)
        async with Floor(cluster) as floor:
            await cluster.want(SPOT)
            await cluster.wait_until(given_up, "the second eviction is not answered")
            assert len(cluster.evictions()) == 1
            process.proxy.upstream = cluster.plane.server
            process.proxy.cut_watches()
            await cluster.wait_for_split("web", 2, 3)
            link.go_on()
            await cluster.wait_until(carried_out, "what the second API server held is carried out")
            await cluster.is_quiet()
            assert [e.code for e in late.events() if e.kind == "pods/eviction"] in ([404], [409])
            assert len(cluster.evictions()) == 3
            assert floor.least == 2


@pytest.mark.parametrize(
    "keep", [lambda items: items[::2], lambda items: []], ids=["half", "nothing"]
)
async def test_row_12_half_a_world_or_none_is_not_acted_on_until_a_list_agrees(
    cluster: FaultTestCluster, keep: Callable[[list[object]], list[object]]
) -> None:
    process = await cluster.start("--resync", "5s")
    await cluster.set_up(replicas=10, moves=4)
    relist(process, with_items(keep))
    await cluster.gives(process, Reason.IMPLAUSIBLE_VIEW)
    await cluster.want(SPOT)
    await cluster.hears(process, spot=8)
    await cluster.is_quiet()
    assert await process.reason() is Reason.IMPLAUSIBLE_VIEW
    assert cluster.evictions() == []
    relist(process, None)
    await cluster.wait_for_split("web", 2, 8, within=90)
    assert len(cluster.evictions()) == 8
