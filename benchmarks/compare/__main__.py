"""``python -m benchmarks.compare``: compare ways to split replicas beside real Karpenter.

Each approach has a control plane and a Karpenter of its own. All play the same stories at the same
time on this machine, in about 30 minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.compare.approaches import APPROACHES, Approach
from benchmarks.compare.report import tables
from benchmarks.compare.stories import Measurement, Player
from testbed.programs import KARPENTER
from tests.support.cluster import TestCluster
from tests.support.control_plane import binaries_or_skip
from tests.support.real_cluster import RealTestCluster, scenario_runner


def main() -> int:
    """Play, then print the tables as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument(
        "--only", choices=[one.name for one in APPROACHES], help="play one approach only"
    )
    arguments = parser.parse_args()
    chosen = [one for one in APPROACHES if arguments.only in (None, one.name)]
    binaries_or_skip()
    binaries_or_skip(KARPENTER)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(chosen)) as threads:
        folders = [Path(folder) / str(number) for number in range(len(chosen))]
        found = list(threads.map(_play, chosen, folders))
    results = {one.name: measured for one, measured in zip(chosen, found, strict=True)}
    conditions = f"Python {platform.python_version()}, {platform.machine()}, one run, loopback"
    print(f"{conditions}\n\n{tables(results)}")
    if arguments.json is not None:
        document = {
            "conditions": conditions,
            "approaches": {
                name: [dataclasses.asdict(one) for one in measured]
                for name, measured in results.items()
            },
        }
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _play(approach: Approach, folder: Path) -> list[Measurement]:
    folder.mkdir()
    measured: list[Measurement] = []

    async def scenario(cluster: TestCluster) -> None:
        assert isinstance(cluster, RealTestCluster)
        player = Player(cluster, approach, _report)
        await player.play()
        measured.extend(player.measurements)

    scenario_runner(folder)(scenario)
    return measured


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
