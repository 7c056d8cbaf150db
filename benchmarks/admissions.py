"""Admissions of an operator process over TLS, beside a cluster of 10,000 pods."""

from __future__ import annotations

from benchmarks.client import milliseconds, send_load
from benchmarks.figure import Figure
from benchmarks.served import (
    RunningOperator,
    cpu_seconds,
    running_operator,
    wait_until_ready,
)

WORKLOADS, NODES = 1_000, 200
REPLICAS = 50_000
"""Desired: more than the load has requests, so that each request is for a pod that is lacking."""
RATE, SECONDS = 1_000, 10
REQUESTS = 10_000


def measure() -> list[Figure]:
    """Measure closed loops, then open loops with few and with many connections."""
    with running_operator(WORKLOADS, NODES, REPLICAS) as operator:
        wait_until_ready(operator)
        owners = [{"name": f"web-{n}", "uid": f"set-{n}"} for n in range(WORKLOADS)]
        figures = _closed(operator, "999 ReplicaSets", owners[1:])
        figures += _closed(operator, "one ReplicaSet", owners[:1])
        # The webhook accepts 128 connections; further clients replace those that are idle.
        for connections, at_most in ((32, 5.0), (120, 15.0)):
            latencies = send_load(
                operator.webhook_port, connections, owners[1:], rate=RATE, seconds=SECONDS
            )
            figures.append(
                Figure(
                    name=f"open loop, {RATE:,}/s, {connections} connections: p99",
                    value=milliseconds(latencies, 0.99),
                    unit="ms",
                    at_most=at_most,
                    how=f"p50 {milliseconds(latencies, 0.5):.1f} ms; none failed",
                )
            )
        return figures


def _closed(operator: RunningOperator, what: str, owners: list[dict[str, str]]) -> list[Figure]:
    before = cpu_seconds(operator.pid)
    latencies = send_load(operator.webhook_port, 32, owners, rate=0, requests=REQUESTS)
    cpu = cpu_seconds(operator.pid) - before
    p50, p99 = (milliseconds(latencies, share) for share in (0.5, 0.99))
    return [
        Figure(
            name=f"closed loop, 32 connections, pods of {what}",
            value=32 * len(latencies) / sum(latencies),
            unit="/s",
            at_least=2_400,
            how=f"p50 {p50:.1f} ms, p99 {p99:.1f} ms; the client needs a core of its own",
        ),
        Figure(
            name=f"CPU per admission, pods of {what}",
            value=1000 * cpu / len(latencies),
            unit="ms",
            at_most=0.4,
            how="TLS and HTTP included",
        ),
    ]
