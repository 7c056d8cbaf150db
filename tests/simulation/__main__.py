"""``python -m tests.simulation``: run random histories and report the first violation.

python -m tests.simulation                            1,000 histories with faults, from seed 0
python -m tests.simulation --minutes 60 --seed 12345  as many as fit into an hour
python -m tests.simulation --histories 1 --seed 42    one history, with its whole trace
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time
from collections.abc import Iterable, Iterator

from spotalis.app.clock import SystemClock
from tests.simulation.history import chaos, spot_loss, undisturbed
from tests.simulation.runner import run_history
from tests.simulation.search import report, search, shrink

GENERATORS = {"chaos": chaos, "undisturbed": undisturbed, "spot_loss": spot_loss}


def main() -> int:
    """Run the command line; return 1 if a history has a violation."""
    arguments = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("--histories", type=int, default=1000, help="number of histories")
    arguments.add_argument("--minutes", type=float, help="run time, instead of a number")
    arguments.add_argument("--seed", type=int, default=0, help="seed of the first history")
    arguments.add_argument("--kind", choices=GENERATORS, default="chaos", help="kind of histories")
    chosen = arguments.parse_args()
    logging.getLogger("spotalis").propagate = False
    generate = GENERATORS[chosen.kind]
    if chosen.histories == 1:
        outcome = run_history(generate(chosen.seed))
        print(report(outcome))
        return bool(outcome.violations)
    began = time.process_time()
    seeds: Iterable[int] = range(chosen.seed, chosen.seed + chosen.histories)
    if chosen.minutes is not None:
        seeds = _for_minutes(chosen.minutes, itertools.count(chosen.seed))
    statistics, failed = search(generate, seeds)
    print(f"from seed {chosen.seed}: {statistics}; {time.process_time() - began:.0f} s CPU")
    if failed is None:
        return 0
    print(f"seed {failed.history.seed} has a violation: {failed.violations[0]}; simplifying")
    print(report(shrink(failed)))
    return 1


def _for_minutes(minutes: float, seeds: Iterable[int]) -> Iterator[int]:
    clock = SystemClock()
    end = clock.monotonic() + 60 * minutes
    return itertools.takewhile(lambda seed: clock.monotonic() < end, seeds)


if __name__ == "__main__":
    sys.exit(main())
