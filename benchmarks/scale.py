"""An operator process beside clusters of 10,000 to 150,000 pods that an API server invents."""

from __future__ import annotations

import json
import re
import time

from benchmarks.figure import Figure
from benchmarks.served import cpu_seconds, get, memory_mib, running_operator, wait_until_ready
from benchmarks.synthetic import PODS_EACH

SIZES = ((1_000, 200), (5_000, 700), (15_000, 2_000))
"""Workloads of ten pods, and nodes."""
SETTLE_SECONDS = 50
"""The first reconciles, and one resync after them."""
REST_SECONDS = 60


def measure() -> list[Figure]:
    """Measure start, memory and CPU at rest for each size."""
    return [figure for workloads, nodes in SIZES for figure in _measure(workloads, nodes)]


def _measure(workloads: int, nodes: int) -> list[Figure]:
    with running_operator(workloads, nodes) as operator:
        wait_until_ready(operator)
        ready = operator.age_seconds(), cpu_seconds(operator.pid)
        lag = _lag(operator.metrics_port)
        time.sleep(SETTLE_SECONDS)
        before = cpu_seconds(operator.pid)
        time.sleep(REST_SECONDS)
        at_rest = (cpu_seconds(operator.pid) - before) * 60 / REST_SECONDS
        memory = memory_mib(operator.pid)
        lag = max(lag, _lag(operator.metrics_port))
        written = sum(json.loads(get(operator.api_port, "/writes")).values())
        return _figures(workloads, nodes, ready, memory, at_rest, lag, written)


def _figures(
    workloads: int,
    nodes: int,
    ready: tuple[float, float],
    memory: float,
    at_rest: float,
    lag: float,
    written: int,
) -> list[Figure]:
    pods = f"{workloads * PODS_EACH:,} pods"
    is_small, is_large = workloads == SIZES[0][0], workloads == SIZES[-1][0]
    return [
        Figure(
            name=f"{pods}: start to ready",
            value=ready[0],
            unit="s",
            at_most=12.0 if is_large else None,
            how=f"{workloads:,} Deployments, {nodes:,} nodes; {ready[1]:.1f} s of CPU",
        ),
        Figure(
            name=f"{pods}: memory (RSS)",
            value=memory,
            unit="MiB",
            at_most=180.0 if is_large else 80.0 if is_small else None,
            how="at rest, after one scrape of the metrics",
        ),
        Figure(
            name=f"{pods}: CPU at rest",
            value=at_rest,
            unit="s per minute",
            at_most=0.2 if is_small else None,
            how="nothing changes; leader, two resyncs per minute",
        ),
        Figure(
            name=f"{pods}: longest lag of the event loop",
            value=1000 * lag,
            unit="ms",
            at_most=100.0,
            how="of each minute; the first reconcile of each workload included",
        ),
        Figure(
            name=f"{pods}: writes after the start",
            value=written,
            unit="requests",
            at_most=2,
            how="an earlier leader has written the conditions",
        ),
    ]


def _lag(metrics_port: int) -> float:
    """The longest lag of the event loop within the last minute, in seconds."""
    text = get(metrics_port, "/metrics")
    found = re.search(r"^spotalis_event_loop_lag_seconds (\S+)$", text, re.MULTILINE)
    assert found is not None
    return float(found[1])
