"""``python -m benchmarks [NAME ...]``: run benchmarks and print a table of the figures."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import attacks, events, outage, process, rollouts
from benchmarks.figure import Figure


class Benchmark(NamedTuple):
    """A benchmark and its line in ``--help``."""

    measure: Callable[[], list[Figure]]
    about: str


BENCHMARKS = {
    "attacks": Benchmark(
        attacks.measure, "webhook latency of others during attacks (embedded cluster, 4 min)"
    ),
    "events": Benchmark(events.measure, "watch events applied per second (in memory, 10 s)"),
    "outage": Benchmark(
        outage.measure, "loss and return of all spot nodes (embedded cluster, virtual time, 30 s)"
    ),
    "process": Benchmark(
        process.measure,
        "memory and webhook latency of an operator process (real control plane, 4 min;\n"
        "           builds the test bed's binaries first if they are missing)",
    ),
    "rollouts": Benchmark(
        rollouts.measure,
        "webhook latency for pods of Rollouts that did not opt in (real control plane, 30 s)",
    ),
}
_EXAMPLES = """
examples:
  python -m benchmarks                    run all benchmarks
  python -m benchmarks events             run one benchmark only
  python -m benchmarks events outage --json figures.json
"""


def main() -> int:
    """Run the benchmarks that the command line names, or all of them."""
    arguments = _parse(None)
    figures: list[Figure] = []
    for name in arguments.names or BENCHMARKS:
        print(f"running benchmark: {name}", file=sys.stderr, flush=True)
        figures += BENCHMARKS[name].measure()
    conditions = f"Python {platform.python_version()}, {platform.machine()}, one run, loopback"
    _print_table(conditions, figures)
    if arguments.json is not None:
        document = {"conditions": conditions, "figures": [figure.as_json() for figure in figures]}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    listed = "\n".join(f"  {name:<8} {each.about}" for name, each in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run benchmarks and print their figures. Without a name, all of them run.",
        epilog=f"benchmarks:\n{listed}\n{_EXAMPLES}",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmark to run; see below")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parsed = parser.parse_args(arguments)
    if unknown := [name for name in parsed.names if name not in BENCHMARKS]:
        parser.error(f"unknown benchmark {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")
    return parsed


def _print_table(conditions: str, figures: Sequence[Figure]) -> None:
    print(f"\n{conditions}")
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        met = "" if figure.met is None else ("  met" if figure.met else "  MISSED")
        print(f"  {figure.name:<{width}}  {figure.shown:>14}  {figure.goal}{met}")
        if figure.how:
            print(f"  {'':<{width}}  {figure.how}")


if __name__ == "__main__":
    sys.exit(main())
