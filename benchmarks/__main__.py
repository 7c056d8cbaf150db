"""``python -m benchmarks``: run them, print a table, write JSON."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import events, outage, process
from benchmarks.figure import Figure

BENCHMARKS: dict[str, Callable[[], list[Figure]]] = {
    "events": events.measure,
    "outage": outage.measure,
    "process": process.measure,
}


def main() -> int:
    """Measure what the command line names, or everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], default=[])
    parser.add_argument("--json", type=Path, default=None, help="also write the figures there")
    wanted = parser.parse_args()
    figures: list[Figure] = []
    for name in wanted.names or BENCHMARKS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        figures += BENCHMARKS[name]()
    conditions = f"Python {platform.python_version()}, {platform.machine()}, one run, loopback"
    print(f"\n{conditions}")
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        met = "" if figure.met is None else ("  met" if figure.met else "  MISSED")
        print(f"  {figure.name:<{width}}  {figure.shown:>14}  {figure.goal}{met}")
        if figure.how:
            print(f"  {'':<{width}}  {figure.how}")
    if wanted.json is not None:
        document = {"conditions": conditions, "figures": [figure.as_json() for figure in figures]}
        wanted.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
