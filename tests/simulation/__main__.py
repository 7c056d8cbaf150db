"""``python -m tests.simulation [--histories N | --minutes M] [--seed S] [--of STORIES]``.

One seed alone (``--histories 1``) tells its whole trace.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time
from collections.abc import Iterable, Iterator

from spotalis.app.clock import SystemClock
from tests.simulation.search import report, search, shrunk
from tests.simulation.story import calm, chaos, taken
from tests.simulation.world import play

STORIES = {"chaos": chaos, "calm": calm, "taken": taken}


def main() -> int:
    """Search, and say what was found; 1 if anything broke."""
    arguments = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    arguments.add_argument("--histories", type=int, default=1000)
    arguments.add_argument("--minutes", type=float, help="as many as fit, instead of a number")
    arguments.add_argument("--seed", type=int, default=0, help="of the first history")
    arguments.add_argument("--of", choices=STORIES, default="chaos", help="which stories")
    chosen = arguments.parse_args()
    logging.getLogger("spotalis").propagate = False
    tell = STORIES[chosen.of]
    if chosen.histories == 1:
        outcome = play(tell(chosen.seed))
        print(report(outcome))
        return bool(outcome.broken)
    began = time.process_time()
    seeds: Iterable[int] = range(chosen.seed, chosen.seed + chosen.histories)
    if chosen.minutes is not None:
        seeds = _for_minutes(chosen.minutes, itertools.count(chosen.seed))
    tally, failed = search(tell, seeds)
    print(f"from seed {chosen.seed}: {tally}; {time.process_time() - began:.0f} s CPU")
    if failed is None:
        return 0
    print(f"seed {failed.story.seed} broke: {failed.broken[0]}; making it smaller")
    print(report(shrunk(failed)))
    return 1


def _for_minutes(minutes: float, seeds: Iterable[int]) -> Iterator[int]:
    clock = SystemClock()
    end = clock.monotonic() + 60 * minutes
    return itertools.takewhile(lambda seed: clock.monotonic() < end, seeds)


if __name__ == "__main__":
    sys.exit(main())
