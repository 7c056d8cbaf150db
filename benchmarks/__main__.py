"""``python -m benchmarks [NAME ...]``: run benchmarks and print a table of the figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import (
    admissions,
    attacks,
    decisions,
    events,
    incidents,
    outage,
    process,
    rollouts,
    scale,
    scenarios,
    start,
)
from benchmarks.figure import Figure
from benchmarks.operators import SPOTALIS, Operator, read


class Benchmark(NamedTuple):
    """A benchmark and its line in ``--help``."""

    measure: Callable[[Sequence[Operator]], list[Figure]]
    about: str


def _alone(measure: Callable[[], list[Figure]]) -> Callable[[Sequence[Operator]], list[Figure]]:
    """A benchmark of Spotalis alone."""
    return lambda operators: measure()


BENCHMARKS = {
    "admissions": Benchmark(
        _alone(admissions.measure),
        "admissions per second, their CPU and latency (synthetic API server, 1 min)",
    ),
    "attacks": Benchmark(
        _alone(attacks.measure),
        "webhook latency of others during attacks (embedded cluster, 4 min)",
    ),
    "decisions": Benchmark(
        _alone(decisions.measure), "CPU of admissions, reconciles and the resync (in memory, 20 s)"
    ),
    "events": Benchmark(
        _alone(events.measure), "watch events applied per second (in memory, 10 s)"
    ),
    "incidents": Benchmark(
        _alone(incidents.measure),
        "a day with interruptions, and a storm (embedded cluster, virtual time, 1 min)",
    ),
    "outage": Benchmark(
        _alone(outage.measure),
        "loss and return of all spot nodes (embedded cluster, virtual time, 30 s)",
    ),
    "process": Benchmark(
        process.measure,
        "memory and webhook latency beside 10,000 pods (real control plane, 5 min; compares)",
    ),
    "rollouts": Benchmark(
        _alone(rollouts.measure),
        "webhook latency for pods of Rollouts that did not opt in (real control plane, 30 s)",
    ),
    "scale": Benchmark(
        _alone(scale.measure),
        "start, memory and CPU at rest with 10,000 to 150,000 pods (synthetic API server, 7 min)",
    ),
    "scenarios": Benchmark(
        scenarios.measure,
        "adoption, changed policy, bursts, failover (real control plane, 5 min; compares)",
    ),
    "start": Benchmark(_alone(start.measure), "start of commands and of the operator (20 s)"),
}
_EXAMPLES = """
examples:
  python -m benchmarks                    run all benchmarks
  python -m benchmarks events             run one benchmark only
  python -m benchmarks events outage --json figures.json
  python -m benchmarks scenarios process --baseline FILE
                                          beside another operator; benchmarks/baseline.example.yaml
"""


def main() -> int:
    """Run the benchmarks that the command line names, or all of them."""
    arguments = _parse(None)
    conditions = (
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs, "
        f"load average {os.getloadavg()[0]:.1f} before, loopback; minimum, median and maximum of "
        f"{arguments.repeat}"
    )
    operators = [SPOTALIS] if arguments.baseline is None else [SPOTALIS, arguments.baseline]
    series: dict[str, list[Figure]] = {}
    for name in arguments.names or BENCHMARKS:
        for number in range(arguments.repeat):
            print(f"running benchmark: {name} ({number + 1})", file=sys.stderr, flush=True)
            for figure in BENCHMARKS[name].measure(operators):
                series.setdefault(figure.name, []).append(figure)
    ordered = [sorted(runs, key=lambda run: run.value) for runs in series.values()]
    _print_table(conditions, ordered)
    if arguments.json is not None:
        figures = [
            _median(runs).as_json() | {"runs": [run.value for run in runs]} for runs in ordered
        ]
        document = {"conditions": conditions, "figures": figures}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    listed = "\n".join(f"  {name:<10} {each.about}" for name, each in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run benchmarks and print their figures. Without a name, all of them run.",
        epilog=f"benchmarks:\n{listed}\n{_EXAMPLES}",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmark to run; see below")
    parser.add_argument(
        "--repeat", type=int, default=1, metavar="N", help="run each benchmark N times"
    )
    parser.add_argument(
        "--baseline",
        type=_operator,
        metavar="FILE",
        help="also run the operator that this file describes, in the benchmarks that compare",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parsed = parser.parse_args(arguments)
    if unknown := [name for name in parsed.names if name not in BENCHMARKS]:
        parser.error(f"unknown benchmark {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")
    return parsed


def _operator(path: str) -> Operator:
    try:
        return read(Path(path))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _median(runs: Sequence[Figure]) -> Figure:
    """The middle of some figures in order; of two the larger one."""
    return runs[len(runs) // 2]


def _print_table(conditions: str, series: Sequence[Sequence[Figure]]) -> None:
    print(f"\n{conditions}")
    width = max(len(runs[0].name) for runs in series)
    for runs in series:
        figure = _median(runs)
        met = "" if figure.met is None else ("  met" if figure.met else "  MISSED")
        values = [runs[0], figure, runs[-1]] if len(runs) > 1 else [figure]
        shown = " ".join(f"{each.shown:>14}" for each in values)
        print(f"  {figure.name:<{width}}  {shown}  {figure.goal}{met}")
        if figure.how:
            print(f"  {'':<{width}}  {figure.how}")


if __name__ == "__main__":
    sys.exit(main())
