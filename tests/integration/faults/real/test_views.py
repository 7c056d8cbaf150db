"""Faults of watches and lists on the real control plane (docs/contributing/faults.md: 1, 3, 12)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from spotalis.model.decision import Reason
from spotalis.model.transport import Request, Response
from tests.integration.faults.real.cluster import (
    SPOT,
    FaultTestCluster,
    ProxiedOperator,
    ReadyMinimum,
)
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


@pytest.mark.long  # takes 90 s, and has a twin on the embedded cluster
async def test_row_1_after_70_s_of_silence_on_a_watch_nothing_moves(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    """One operator for each resource, concurrently, so that all wait for the same 70 s."""
    await asyncio.gather(*(silence_watch(control_plane, tmp_path, kind) for kind in SILENCED))


async def silence_watch(control_plane: ControlPlane, folder: Path, kind: str) -> None:
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
        await cluster.wait_for_reason(process, Reason.CACHE_NOT_READY, within=180)
        await cluster.set_spot_percentage(SPOT)
        if kind != "deployments":
            await cluster.wait_for_policy(process, spot=3)
        await cluster.assert_quiet(8)
        assert await process.reason() is Reason.CACHE_NOT_READY
        assert cluster.evictions() == []
        lists.open()
        process.proxy.mend()
        await cluster.touch(kind)
        await cluster.wait_for_moves(SPOT, 3, within=120)


def relist_order(fate: Fate | None, times: int) -> Order:
    """Expire the watch of pods and reject WatchList; apply the fault to the first paged lists."""
    expired, left = [False], [times]

    def order(request: Request) -> Fate | None:
        parameters = dict(request.query)
        if request.path != ALL_PODS:
            return None
        if parameters.get("sendInitialEvents") == "true":
            return answered(422, "WatchList is not supported")
        if parameters.get("watch") == "true" and not expired[0]:
            expired[0] = True
            return answered(410, "too old resource version")
        if "watch" not in parameters and left[0]:
            left[0] -= 1
            return fate
        return None

    return order


def relist(process: ProxiedOperator, fate: Fate | None, times: int = 1) -> None:
    process.proxy.order = relist_order(fate, times)
    process.proxy.cut_watches(lambda request: request.path == ALL_PODS)


def with_items(keep: Callable[[list[object]], list[object]]) -> Fate:
    def change(body: bytes) -> bytes:
        listed = json.loads(body)
        return json.dumps({**listed, "items": keep(listed["items"] or [])}).encode()

    return forged(change)


async def test_row_3_old_lists_are_not_used(cluster: FaultTestCluster) -> None:
    """The proxy replays old lists, because current API servers never return them."""
    process = await cluster.start()
    await cluster.set_up()
    before = (await cluster.api.raw("GET", ALL_PODS)).body
    await cluster.set_spot_percentage(SPOT)
    await cluster.wait_for_moves(SPOT, 3)
    relist(process, forged(lambda body: before), times=2)

    async def current() -> bool:
        return process.log.read_text().count('"problem":"outdated-list"') >= 2 and any(
            watch.request.path == ALL_PODS for watch in process.proxy.watches
        )

    await cluster.wait_until(current, "two old lists, then a current one")
    await cluster.assert_quiet()
    assert await process.reason() is Reason.BALANCED
    assert len(cluster.evictions()) == 3
    assert sum(map(is_eviction, process.proxy.heard)) == 3


async def test_row_3_requests_that_a_lagging_api_server_performs_late_cause_no_extra_eviction(
    cluster: FaultTestCluster,
) -> None:
    """A second API server takes over during a rebalance, and its connection to etcd stops.

    The operator returns to the first API server and finishes; then the second one catches up.
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
        async with ReadyMinimum(cluster) as ready:
            await cluster.set_spot_percentage(SPOT)
            await cluster.wait_until(given_up, "the second eviction has no response")
            assert len(cluster.evictions()) == 1
            process.proxy.upstream = cluster.plane.server
            process.proxy.cut_watches()
            process.proxy.cut_requests()
            await cluster.wait_for_split("web", 2, 3)
            link.go_on()  # before the API server gives the request up, after 34 s
            await cluster.wait_until(carried_out, "the second server performs the request")
            await cluster.assert_quiet()
            assert [e.code for e in late.events() if e.kind == "pods/eviction"] in ([404], [409])
            assert len(cluster.evictions()) == 3
            assert ready.minimum == 2


@pytest.mark.parametrize(
    "keep", [lambda items: items[::2], lambda items: []], ids=["half", "nothing"]
)
async def test_row_12_an_incomplete_list_stops_moves_until_a_list_is_complete(
    cluster: FaultTestCluster, keep: Callable[[list[object]], list[object]]
) -> None:
    process = await cluster.start("--resync", "5s")
    await cluster.set_up(replicas=10, moves=4)
    relist(process, with_items(keep))
    await cluster.wait_for_reason(process, Reason.IMPLAUSIBLE_VIEW)
    await cluster.set_spot_percentage(SPOT)
    await cluster.wait_for_policy(process, spot=8)
    await cluster.assert_quiet()
    assert await process.reason() is Reason.IMPLAUSIBLE_VIEW
    assert cluster.evictions() == []
    relist(process, None)
    await cluster.wait_for_split("web", 2, 8, within=90)
    assert len(cluster.evictions()) == 8
