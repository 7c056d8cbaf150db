"""Adoption, a changed policy, bursts and failover of operators on the real control plane."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

from benchmarks.figure import Figure
from benchmarks.operators import NAMESPACE, USER, Bench, Operator, booted, named
from tests.support.cluster import NO_POLICY, workload_body
from tests.support.control_plane import AuditEvent
from tests.support.eventually import NeverHappenedError, eventually

SETTLE_SECONDS = 300
"""An operator that needs longer has not settled."""
QUIET_SECONDS = 10
"""For so long nothing may move after the split is exact."""
BURSTS = (20, 100, 1_000)
PODS_PER_NODE = 100
START_SECONDS = 1.0
"""From the binding of a pod to Ready in adoption, change and failover; and from deletion to end."""
MOVES_BEFORE_FAILURE = 3


def measure(operators: Sequence[Operator]) -> list[Figure]:
    """Play each scenario with each operator, on a control plane of its own."""
    scenarios: tuple[Callable[[Operator], list[Figure]], ...] = (
        _adopt,
        _change,
        *(lambda operator, pods=pods: _burst(operator, pods) for pods in BURSTS),
        lambda operator: _failover(operator, signal.SIGTERM, 3.0),
        lambda operator: _failover(operator, signal.SIGKILL, 18.0),
    )
    figures = []
    for scenario in scenarios:
        for operator in operators:
            figures += scenario(operator)
            print(f"  {operator.name}: {figures[-1].name}", file=sys.stderr, flush=True)
    return figures


def _adopt(operator: Operator) -> list[Figure]:
    """20 pods run on spot before 70 % is asked for."""
    with booted(operator, ready_after=START_SECONDS) as bench:
        bench.add_nodes(spot=4)
        _create(bench, "web", 20)
        _wait_until_ready(bench, "web", 20)
        bench.add_nodes(on_demand=3)
        bench.register()
        with bench.running():
            began = _change_policy(bench, "web", 70)
            return _settled(bench, "adopt 20 spot pods at 70 %", "web", (6, 14), began, moves=6)


def _change(operator: Operator) -> list[Figure]:
    """From 0 to 70 % of 10 replicas that the operator has placed."""
    with booted(operator, ready_after=START_SECONDS) as bench:
        bench.add_nodes(spot=4, on_demand=4)
        bench.register()
        with bench.running():
            _create(bench, "web", 10, percent=0)
            _wait_for_split(bench, "web", (10, 0))
            began = _change_policy(bench, "web", 70)
            return _settled(bench, "10 replicas from 0 to 70 %", "web", (3, 7), began, moves=7)


def _burst(operator: Operator, pods: int) -> list[Figure]:
    """The same Deployment without an operator, then with one."""
    spot = pods * 8 // 10
    with booted(operator) as bench:
        bench.add_nodes(spot=spot // PODS_PER_NODE + 1, on_demand=pods // PODS_PER_NODE + 1)
        began = time.monotonic()
        _create(bench, "alone", pods)
        _wait_until_ready(bench, "alone", pods)
        alone = time.monotonic() - began
        bench.control_plane.request(
            "DELETE", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/alone"
        )
        eventually(lambda: not _pods(bench, "alone"), within=SETTLE_SECONDS, what="no pod is left")
        bench.register()
        with bench.running():
            created, began = _now(), time.monotonic()
            _create(bench, "web", pods, percent=80)
            _wait_until_ready(bench, "web", pods)
            seconds = time.monotonic() - began
            name = f"burst of {pods:,} pods at 80 %"
            moved = _settled(bench, name, "web", (pods - spot, spot), created, moves=0)[0]
            rate = Figure(
                name=named(operator, f"{name}: pods per second"),
                value=100 * alone / seconds,
                unit="%",
                at_least=95 if pods > BURSTS[0] else None,
                how=f"of those without a webhook: {seconds:.1f} s instead of {alone:.1f} s",
            )
            return [moved, rate]


def _failover(operator: Operator, how: signal.Signals, at_most: float) -> list[Figure]:
    """The process that moves ends between two moves. The other one serves the webhook."""
    with booted(operator, ready_after=START_SECONDS) as bench, ExitStack() as processes:
        bench.add_nodes(spot=4, on_demand=4)
        bench.register(0)
        leader = processes.enter_context(bench.running(0))
        _create(bench, "web", 20, percent=100)
        _wait_for_split(bench, "web", (0, 20))
        # From now on the other one places pods, also when the leader has ended.
        processes.enter_context(bench.running(1))
        bench.register(1)
        began = _change_policy(bench, "web", 0)
        name = named(operator, f"next move after {how.name} of the leader")
        try:
            moves = eventually(
                lambda: _enough(_removals(bench, began)),
                within=SETTLE_SECONDS,
                what=f"{operator.name} moves {MOVES_BEFORE_FAILURE} replicas",
            )
            agents = {move.user_agent for move in moves}
            ended = _now()
            leader.send_signal(how)
            leader.wait(SETTLE_SECONDS)
            exited = _now()
            following = eventually(
                lambda: [
                    move
                    for move in _removals(bench, ended)
                    if move.user_agent not in agents or move.received > exited
                ],
                within=SETTLE_SECONDS,
                what="the other process moves a replica",
            )
        except NeverHappenedError as error:
            seconds, details = float(SETTLE_SECONDS), str(error)
        else:
            seconds, details = (following[0].received - ended).total_seconds(), ""
        return [Figure(name=name, value=seconds, unit="s", at_most=at_most, how=details)]


def _settled(
    bench: Bench, name: str, workload: str, split: tuple[int, int], began: datetime, *, moves: int
) -> list[Figure]:
    """Wait until the split is exact; count the pods evicted or deleted since ``began``."""
    name = named(bench.operator, name)
    try:
        _wait_for_split(bench, workload, split)
        found = "exact"
    except NeverHappenedError:
        found = f"not settled within {SETTLE_SECONDS} s"
    seconds = (_now() - began).total_seconds()
    time.sleep(QUIET_SECONDS)
    on_demand, spot = _split(bench, workload)
    removed = len(_removals(bench, began))
    how = f"{found}; {on_demand} on-demand and {spot} spot {QUIET_SECONDS} s later"
    return [
        Figure(name=f"{name}: pods removed", value=removed, unit="pods", at_most=moves, how=how),
        Figure(name=f"{name}: until the split is exact", value=seconds, unit="s"),
    ]


def _create(bench: Bench, name: str, pods: int, *, percent: int | None = None) -> None:
    body = workload_body("Deployment", name, pods, NO_POLICY)
    if percent is not None:
        body["metadata"] |= bench.operator.opt_in(percent, 0)
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    bench.control_plane.request("POST", path, body)


def _change_policy(bench: Bench, name: str, percent: int) -> datetime:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}"
    body = {"metadata": bench.operator.opt_in(percent, 0)}
    began = _now()
    bench.control_plane.request("PATCH", path, body)
    return began


def _wait_until_ready(bench: Bench, name: str, pods: int) -> None:
    eventually(
        lambda: sum(_split(bench, name)) == pods,
        within=SETTLE_SECONDS,
        what=f"{pods} pods of {name} are ready",
    )


def _wait_for_split(bench: Bench, name: str, split: tuple[int, int]) -> None:
    eventually(
        lambda: _split(bench, name) == split and len(_pods(bench, name)) == sum(split),
        within=SETTLE_SECONDS,
        what=f"{name} is {split[0]} + {split[1]}",
    )


def _split(bench: Bench, name: str) -> tuple[int, int]:
    """The ready pods on (on-demand, spot) nodes, whose names begin with their type."""
    ready = bench.control_plane.ready_pods(NAMESPACE, f"app={name}")
    spot = sum(pod["spec"]["nodeName"].startswith("spot") for pod in ready)
    return len(ready) - spot, spot


def _pods(bench: Bench, name: str) -> Sequence[object]:
    return bench.control_plane.pods(NAMESPACE, f"app={name}")


def _removals(bench: Bench, since: datetime) -> list[AuditEvent]:
    """The pods that the operator evicted or deleted, in the order of the requests."""
    plane = bench.control_plane
    deleted = plane.audit(user=USER, verb="delete", kind="pods")
    found = [event for event in deleted if 200 <= event.code < 300 and not event.is_dry_run]
    found += plane.evictions(USER)
    since_then = (event for event in found if event.received >= since)
    return sorted(since_then, key=lambda event: event.received)


def _enough(moves: list[AuditEvent]) -> list[AuditEvent]:
    return moves if len(moves) >= MOVES_BEFORE_FAILURE else []


def _now() -> datetime:
    return datetime.now(UTC)
