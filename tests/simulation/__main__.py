"""``python -m tests.simulation [--histories N] [--seed S] [--calm]``: as many as you like.

One seed alone (``--histories 1``) tells its whole trace.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.simulation.search import report, search, shrunk
from tests.simulation.story import calm, chaos
from tests.simulation.world import play


def main() -> int:
    """Search, and say what was found; 1 if anything broke."""
    arguments = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    arguments.add_argument("--histories", type=int, default=1000)
    arguments.add_argument("--seed", type=int, default=0, help="of the first history")
    arguments.add_argument("--calm", action="store_true", help="nothing disturbs the operator")
    chosen = arguments.parse_args()
    logging.getLogger("spotalis").propagate = False
    tell = calm if chosen.calm else chaos
    if chosen.histories == 1:
        outcome = play(tell(chosen.seed))
        print(report(outcome))
        return bool(outcome.broken)
    began = time.process_time()
    tally, failed = search(tell, range(chosen.seed, chosen.seed + chosen.histories))
    print(f"{tally}; {time.process_time() - began:.0f} s CPU")
    if failed is None:
        return 0
    print(f"seed {failed.story.seed} broke: {failed.broken[0]}; making it smaller")
    print(report(shrunk(failed)))
    return 1


if __name__ == "__main__":
    sys.exit(main())
