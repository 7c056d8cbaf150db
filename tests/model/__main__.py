"""``python -m tests.model [--long] [--traces] [NAME ...]``: the designs, and what comes of them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial

from tests.model import elector_designs, elector_world, ledger_designs, ledger_world
from tests.model.explorer import Explored


def main() -> None:
    """Search each design, or those that are named, and say what was found."""
    arguments = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME", help="only these designs")
    arguments.add_argument("--long", action="store_true", help="larger worlds: minutes to hours")
    arguments.add_argument("--traces", action="store_true", help="how it is broken")
    chosen = arguments.parse_args()
    for name, says, search in _searches(
        short=not chosen.long, long=chosen.long or bool(chosen.names)
    ):
        if chosen.names and name not in chosen.names:
            continue
        began = time.process_time()
        explored = search()
        seconds = time.process_time() - began
        found = "clean" if explored.clean else f"broken in {len(explored.trace)} steps"
        print(
            f"{name:<11}{found:<19}{explored.states:>11,} states "
            f"{explored.steps:>12,} transitions {seconds:>7.1f} s CPU  {says}",
            flush=True,
        )
        if chosen.traces:
            print("\n".join(f"    {step}" for step in explored.trace))


def _searches(*, short: bool, long: bool) -> Iterator[tuple[str, str, Callable[[], Explored]]]:
    """Name, meaning and search of each design: of the ledger, then of the elector."""
    ledgers = (*(ledger_designs.CASES * short), *(ledger_designs.LONG * long))
    for ledger in ledgers:
        search = partial(ledger_world.search, ledger.design, ledger.bounds)
        yield ledger.name, f"ledger: {ledger.says}", search
    electors = (*(elector_designs.CASES * short), *(elector_designs.LONG * long))
    for elector in electors:
        search = partial(elector_world.search, elector.design, elector.bounds)
        yield elector.name, f"elector: {elector.says}", search


if __name__ == "__main__":
    main()
