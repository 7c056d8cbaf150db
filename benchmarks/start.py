"""How long commands and the operator take to start, and the CPU of `spotalis status`."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from benchmarks.figure import Figure
from benchmarks.served import cpu_seconds, running_operator, synthetic_server, wait_until_ready

COMMANDS = {
    "`spotalis version`": ("-m", "spotalis", "version"),
    "`spotalis status --help`": ("-m", "spotalis", "status", "--help"),
    "import of the operator": ("-c", "import spotalis.app.process"),
}
STARTS = 5
"""The fastest counts."""
WORKLOADS, NODES, PODS_EACH = 5_000, 500, 2
"""Of the cluster that `spotalis status` reads."""


def measure() -> list[Figure]:
    """Start commands, and an operator beside an empty cluster."""
    figures = [
        Figure(name=name, value=min(_run(*command) for _ in range(STARTS)), unit="s")
        for name, command in COMMANDS.items()
    ]
    starts = [_start_operator() for _ in range(STARTS)]
    seconds, cpu = min(starts)
    return [
        *figures,
        Figure(
            name=f"`spotalis status -A` of {WORKLOADS:,} workloads: CPU",
            value=_status(),
            unit="s",
            at_most=2.0,
            how=f"{WORKLOADS * PODS_EACH:,} pods of 6 kB",
        ),
        Figure(
            name="operator: start to ready on an empty cluster",
            value=seconds,
            unit="s",
            at_most=1.0,
            how=f"with a certificate from files; {cpu:.2f} s of CPU; fastest of {STARTS}",
        ),
    ]


def _run(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _start_operator() -> tuple[float, float]:
    with running_operator(0, 0) as operator:
        wait_until_ready(operator)
        return operator.age_seconds(), cpu_seconds(operator.pid)


def _status() -> float:
    """The CPU seconds of the command, without the API server's."""
    with synthetic_server(WORKLOADS, NODES, PODS_EACH, PODS_EACH) as (folder, _):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = ("-m", "spotalis", "status", "-A", "--kubeconfig", str(folder / "kubeconfig"))
        _run(*command)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
