"""``python -m tests.model [--long] [--traces] [NAME ...]``: the designs, and what comes of them."""

from __future__ import annotations

import argparse
import time

from tests.model.ledger_designs import CASES, LONG
from tests.model.ledger_world import search


def main() -> None:
    """Search each design, or those that are named, and say what was found."""
    arguments = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME", help="only these designs")
    arguments.add_argument("--long", action="store_true", help="larger worlds: minutes to hours")
    arguments.add_argument("--traces", action="store_true", help="how the floor is broken")
    chosen = arguments.parse_args()
    cases = [*CASES, *LONG] if chosen.names else LONG if chosen.long else CASES
    for case in cases:
        if chosen.names and case.name not in chosen.names:
            continue
        began = time.process_time()
        explored = search(case.design, case.bounds)
        seconds = time.process_time() - began
        found = "clean" if explored.clean else f"broken in {len(explored.trace)} steps"
        print(
            f"{case.name:<11}{found:<19}{explored.states:>11,} states "
            f"{explored.steps:>12,} transitions {seconds:>7.1f} s CPU  {case.says}",
            flush=True,
        )
        if chosen.traces:
            print("\n".join(f"    {step}" for step in explored.trace))


if __name__ == "__main__":
    main()
