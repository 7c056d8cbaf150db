"""``python -m benchmarks.compare.returns``: nodes that Karpenter launches when spot returns.

Replicas that were born together get the fewest nodes that hold them. After a drought they return a
few at a time (``max-moves-in-flight``), and Karpenter launches nodes for each few of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.compare.approaches import REQUESTS, Approach
from benchmarks.compare.meter import Meter
from benchmarks.compare.report import markdown
from tests.support.cluster import CAPACITY_TYPE_LABEL, TestCluster, policy
from tests.support.karpenter import karpenter_beside
from tests.support.real_cluster import RealTestCluster, scenario_runner

PERCENTAGE = 80
CASES = ((40, "10%"), (40, "25%"), (40, "50%"), (10, "10%"))
"""Replicas and ``max-moves-in-flight``."""
FULL_NODE = {"cpu": "1800m", "memory": "1Gi"}
CPUS_OF_FULL_NODE = 2
"""Requests that leave no room for a replica on a node of 2 CPUs, of which 1.9 are allocatable. The
pod may share a larger node in the end; a node of this size is launched for it in any case."""
WITHOUT_STORMS = ("--storm-min-nodes", "1000")
"""The loss of three spot nodes or more would delay the return by ten minutes."""
RETURN_SECONDS = 600.0
AT_ONCE = 2
"""Cases that are played at the same time: more would slow each other down on two cores."""


@dataclass(frozen=True, kw_only=True)
class Return:
    """The return of one workload.

    at_birth, on_return: the spot nodes that were launched, by their number of CPUs.
    seconds:             from the first spot node, which another workload gets, to the exact split.
    """

    replicas: int
    limit: str
    at_birth: dict[int, int]
    on_return: dict[int, int]
    evictions: int
    seconds: float


async def play(cluster: RealTestCluster, replicas: int, limit: str) -> Return:
    """Create a workload, let spot end and return, and count the nodes."""
    approach = Approach(name="Spotalis", policy=policy(PERCENTAGE, 2, max_moves_in_flight=limit))
    template = approach.template("web")
    spot = replicas * PERCENTAGE // 100
    split = (replicas - spot, spot)
    meter, loop = Meter(cluster), asyncio.get_running_loop()

    def spot_nodes(since: set[str]) -> dict[int, int]:
        new = meter.launched.keys() - since
        sizes = (meter.sizes[name] for name in new if meter.launched[name] == "spot")
        return dict(sorted(Counter(sizes).items()))

    async with (
        karpenter_beside(cluster, *approach.pools()) as karpenter,
        cluster.operator(*WITHOUT_STORMS),
        meter.running(),
    ):
        await cluster.create_deployment(
            "web", replicas, approach.policy, spec={"template": template}
        )
        await cluster.wait_for_split("web", *split)
        await meter.look()
        at_birth = spot_nodes(set())
        await karpenter.change("spot", cpu_limit=0)
        await karpenter.disrupt("spot")
        await cluster.wait_for_split("web", replicas, 0)
        await karpenter.change("spot", cpu_limit=None)
        # Another workload shows that there is spot capacity; its node has no room for more.
        before, known = len(cluster.evictions()), set(meter.launched)
        other = approach.template("other")
        other["spec"]["nodeSelector"] = {CAPACITY_TYPE_LABEL: "spot"}
        other["spec"]["containers"][0]["resources"] = {"requests": FULL_NODE}
        await cluster.create_deployment("other", 1, spec={"template": other})
        await cluster.wait_for_split("other", 0, 1)
        began = loop.time()
        await cluster.wait_for_split("web", *split, within=RETURN_SECONDS)
        seconds = loop.time() - began
        await meter.look()
        return Return(
            replicas=replicas,
            limit=limit,
            at_birth=at_birth,
            on_return=_without_one(spot_nodes(known), CPUS_OF_FULL_NODE),
            evictions=len(cluster.evictions()) - before,
            seconds=round(seconds, 1),
        )


def main() -> int:
    """Play all cases and print a table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as threads:
        folders = [Path(folder) / str(number) for number in range(len(CASES))]
        found = list(threads.map(_run, CASES, folders))
    rows = [
        [
            str(one.replicas),
            one.limit,
            _nodes(one.at_birth),
            _nodes(one.on_return),
            str(one.evictions),
            f"{one.seconds:.0f}",
        ]
        for one in found
    ]
    head = ["replicas", "max-moves-in-flight", "spot nodes at birth", "spot nodes on return"]
    print(f"requests per replica: {REQUESTS}\n")
    print(markdown([*head, "evictions", "seconds"], rows))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")
    return 0


def _run(case: tuple[int, str], folder: Path) -> Return:
    folder.mkdir()
    found: list[Return] = []

    async def scenario(cluster: TestCluster) -> None:
        assert isinstance(cluster, RealTestCluster)
        found.append(await play(cluster, *case))
        print(found[-1], file=sys.stderr, flush=True)

    scenario_runner(folder)(scenario)
    return found[0]


def _without_one(sizes: dict[int, int], cpus: int) -> dict[int, int]:
    """The nodes without one of this size."""
    left = Counter(sizes) - Counter([cpus])
    return dict(sorted(left.items()))


def _nodes(sizes: dict[int, int]) -> str:
    """Such as ``3 (2 x 4, 1 x 16 CPUs)``."""
    parts = ", ".join(f"{count} x {cpus}" for cpus, count in sizes.items())
    return f"{sum(sizes.values())} ({parts} CPUs)"


if __name__ == "__main__":
    sys.exit(main())
