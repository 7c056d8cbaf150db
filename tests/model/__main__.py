"""``python -m tests.model [NAME ...]``: run the model checkers and print the result of each design.

The models and the designs are described in docs/contributing/models.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial

from tests.model import elector_designs, elector_world, ledger_designs, ledger_world
from tests.model.explorer import SearchResult


def main() -> None:
    """Search the designs that the command line names, or all of them."""
    arguments = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME", help="only these designs")
    arguments.add_argument("--long", action="store_true", help="larger models: minutes to hours")
    arguments.add_argument(
        "--traces", action="store_true", help="print the steps to each violation"
    )
    chosen = arguments.parse_args()
    for name, about, search in _searches(
        short=not chosen.long, long=chosen.long or bool(chosen.names)
    ):
        if chosen.names and name not in chosen.names:
            continue
        began = time.process_time()
        result = search()
        seconds = time.process_time() - began
        found = "no violation" if result.clean else f"violation in {len(result.trace)} steps"
        print(
            f"{name:<11}{found:<22}{result.states:>11,} states "
            f"{result.steps:>12,} transitions {seconds:>7.1f} s CPU  {about}",
            flush=True,
        )
        if chosen.traces:
            print("\n".join(f"    {step}" for step in result.trace))


def _searches(*, short: bool, long: bool) -> Iterator[tuple[str, str, Callable[[], SearchResult]]]:
    """Name, description and search of each design, first of the ledger, then of the elector."""
    ledgers = (*(ledger_designs.CASES * short), *(ledger_designs.LONG * long))
    for ledger in ledgers:
        search = partial(ledger_world.search, ledger.design, ledger.bounds)
        yield ledger.name, f"ledger: {ledger.about}", search
    electors = (*(elector_designs.CASES * short), *(elector_designs.LONG * long))
    for elector in electors:
        search = partial(elector_world.search, elector.design, elector.bounds)
        yield elector.name, f"elector: {elector.about}", search


if __name__ == "__main__":
    main()
