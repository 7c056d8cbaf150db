"""Memory and webhook latency of operators on the real control plane."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from benchmarks.client import milliseconds, send_load
from benchmarks.figure import Figure
from benchmarks.objects import NODES, deployment, node, pod
from benchmarks.operators import NAMESPACE, SPOTALIS, Bench, Operator, booted
from benchmarks.served import memory_mib
from tests.support.control_plane import CAPACITY_TYPE_LABEL
from tests.support.eventually import eventually

WORKLOADS = 1_000
PODS_EACH = 10
PERCENT = 70
SCALED_TO = 50
"""Replicas of each workload during the load, more than the load has requests per workload.

Every request is then for a pod that its owner lacks. The webhook delays a request for a surplus pod
until its cache shows why the pod exists; that delay is not what this benchmark measures.
"""
SETTLE_SECONDS = 30
RATE = 1_000
SECONDS = 10
STANDBY_RATE, STANDBY_CONNECTIONS = 100, 20


def measure(operators: Sequence[Operator]) -> list[Figure]:
    """Measure with 1,000 workloads and 10,000 pods, at 1,000 admission requests per second."""
    figures = []
    for operator in operators:
        with booted(operator) as bench:
            owners = _fill(bench)
            bench.register()
            figures += _measure(bench, owners)
    return figures


def _measure(bench: Bench, owners: list[dict[str, str]]) -> list[Figure]:
    name = bench.operator.name
    began = time.perf_counter()
    with bench.running() as process:
        figures = [
            Figure(
                name=f"{name}: start to ready",
                value=time.perf_counter() - began,
                unit="s",
                how="process start, initial lists, certificate creation",
            )
        ]
        time.sleep(SETTLE_SECONDS)
        goal = 80.0 if bench.operator is SPOTALIS else None
        figures += _memory(name, process.pid, "at rest", goal)
        if not bench.operator.webhook_path:
            return figures
        _scale_up(bench, owners)
        for connections in (1, 8, 32):
            figures += _latency(bench, connections, owners)
        figures += _memory(name, process.pid, "after the load", None)
        with bench.running(1):
            figures += _through_a_standby(bench, owners)
    return figures


def _fill(bench: Bench) -> list[dict[str, str]]:
    """Create nodes, Deployments and running pods; return the ReplicaSets that own the pods."""
    print("filling the cluster (about two minutes)", file=sys.stderr, flush=True)
    control_plane = bench.control_plane
    apps, core = f"/apis/apps/v1/namespaces/{NAMESPACE}", f"/api/v1/namespaces/{NAMESPACE}"
    sets = f"{apps}/replicasets"
    with ThreadPoolExecutor(8) as pool:

        def post(path: str, body: dict[str, Any]) -> Future[Any]:
            return pool.submit(control_plane.request, "POST", path, body)

        _wait([post("/api/v1/nodes", _node(bench.operator, number)) for number in range(NODES)])
        workloads = [_workload(bench.operator, f"web-{number}") for number in range(WORKLOADS)]
        _wait([post(f"{apps}/deployments", workload) for workload in workloads])
        eventually(
            lambda: len(control_plane.request("GET", sets)["items"]) == WORKLOADS,
            within=120,
            what="every Deployment has its ReplicaSet",
        )
        # Its controllers would delete the pods created below; the figures need stored objects only.
        control_plane.stop_process("kube-controller-manager")
        owners = [
            {"name": item["metadata"]["name"], "uid": item["metadata"]["uid"]}
            for item in control_plane.request("GET", sets)["items"]
        ]
        pods = []
        for index, owner in enumerate(owners):
            for nth in range(PODS_EACH):
                body = pod(index * PODS_EACH + nth, owner["name"], owner["uid"])
                for key in (
                    *("uid", "resourceVersion", "managedFields", "creationTimestamp"),
                    "namespace",
                ):
                    body["metadata"].pop(key)
                pods.append(post(f"{core}/pods", body))
        _wait(pods)
    return owners


def _node(operator: Operator, number: int) -> dict[str, Any]:
    """A node with the label that the operator reads."""
    body, label = node(number), operator.node_label
    is_spot = body["metadata"]["labels"].pop(CAPACITY_TYPE_LABEL) == "spot"
    body["metadata"]["labels"][label.key] = label.spot if is_spot else label.on_demand
    return body


def _workload(operator: Operator, name: str) -> dict[str, Any]:
    body = deployment(name, 0)
    body["metadata"] |= operator.opt_in(PERCENT, 1)
    return body


def _scale_up(bench: Bench, owners: list[dict[str, str]]) -> None:
    base = f"/apis/apps/v1/namespaces/{NAMESPACE}"
    scale = {"spec": {"replicas": SCALED_TO}}
    paths = [f"{base}/deployments/web-{number}" for number in range(WORKLOADS)]
    paths += [f"{base}/replicasets/{owner['name']}" for owner in owners]
    with ThreadPoolExecutor(8) as pool:
        _wait([pool.submit(bench.control_plane.request, "PATCH", path, scale) for path in paths])


def _wait(futures: list[Any]) -> None:
    for future in futures:
        future.result()


def _memory(name: str, pid: int, when: str, goal: float | None) -> list[Figure]:
    how = f"{WORKLOADS:,} Deployments, {WORKLOADS * PODS_EACH:,} pods, {NODES} nodes"
    return [
        Figure(
            name=f"{name}: memory (RSS) {when}",
            value=memory_mib(pid),
            unit="MiB",
            at_most=goal,
            how=how,
        ),
        Figure(
            name=f"{name}: most memory so far, {when}", value=memory_mib(pid, "VmHWM"), unit="MiB"
        ),
    ]


def _latency(bench: Bench, connections: int, owners: list[dict[str, str]]) -> list[Figure]:
    latencies = _send(bench, 0, connections, owners, RATE)
    how = f"open loop, {RATE:,}/s for {SECONDS} s, TLS, client on the other core"
    return [
        Figure(
            name=f"{bench.operator.name}: webhook {word} at {connections} connections",
            value=milliseconds(latencies, share),
            unit="ms",
            at_most=10.0 if (word, connections) == ("p99", 32) else None,
            how=how if word == "p50" else "",
        )
        for word, share in (("p50", 0.5), ("p99", 0.99), ("maximum", 1.0))
    ]


def _through_a_standby(bench: Bench, owners: list[dict[str, str]]) -> list[Figure]:
    """The second process has started later, so it does not lead."""
    p99 = [
        milliseconds(_send(bench, number, STANDBY_CONNECTIONS, owners, STANDBY_RATE), 0.99)
        for number in (0, 1)
    ]
    return [
        Figure(
            name=f"{bench.operator.name}: webhook p99 through a standby",
            value=p99[1] / p99[0],
            unit="times",
            at_most=2.0,
            how=f"{p99[1]:.1f} ms; {p99[0]:.1f} ms at the leader; {STANDBY_RATE}/s over "
            f"{STANDBY_CONNECTIONS} connections",
        )
    ]


def _send(
    bench: Bench, number: int, connections: int, owners: list[dict[str, str]], rate: int
) -> list[float]:
    return send_load(
        bench.ports(number)[0],
        connections,
        owners,
        rate=rate,
        seconds=SECONDS,
        namespace=NAMESPACE,
        path=bench.operator.webhook_path,
    )
