"""T016: a process with another setting behaves differently, on a real API server as well.

Every setting there is: tests/integration/test_every_setting.py, processes against the embedded API
server. Here are those that decide how workloads are treated; a namespace's are in test_policies.py,
those of storms and notices in test_interruptions.py, ``pdbOverride`` in test_budgets.py.
"""

from __future__ import annotations

import itertools
from datetime import timedelta

from tests.support.bed import Bed, Wishes
from tests.support.stage import Play, on_both_beds

TO_50 = {"spot-percentage": "50"}
ENABLED = Wishes(other={"enabled": "true"})


async def runs_on_on_demand(bed: Bed, *names: str) -> None:
    for name in names:
        await bed.deployment(name, 4, Wishes(0))
    for name in names:
        await bed.settled(name, 4, 0)


async def one_move_at_a_time(bed: Bed) -> None:
    """Two workloads that may have one replica each in flight share the cluster's one."""
    async with bed.operator("--max-moves-in-flight=1"):
        await runs_on_on_demand(bed, "one", "two")
        async with bed.fewest("one") as one, bed.fewest("two") as two:
            await bed.annotate("Deployment", "one", TO_50)
            await bed.annotate("Deployment", "two", TO_50)
            await bed.settled("one", 2, 2)
            await bed.settled("two", 2, 2)
        assert (one(), two()) == (3, 3)
    gaps = [after - before for before, after in itertools.pairwise(bed.evicted_at())]
    # The next goes when the last one's replacement serves, for which a pod needs a second.
    assert len(gaps) == 3
    assert min(gaps) >= timedelta(seconds=1)


async def a_rest_after_each_move(bed: Bed) -> None:
    async with bed.operator("--cooldown=1h"):
        await runs_on_on_demand(bed, "rests")
        before = len(bed.evictions())
        await bed.annotate("Deployment", "rests", TO_50)
        await bed.settled("rests", 3, 1)
        await bed.says("rests", "Cooldown")
        await bed.stands_still("rests", seconds=5)
        assert len(bed.evictions()) == before + 1


async def defaults_for_who_does_not_say(bed: Bed) -> None:
    flags = ("--default-spot-percentage=50", "--default-min-on-demand=3")
    async with bed.operator(*flags, "--default-paused-until=forever"):
        await bed.deployment("silent", 5, ENABLED)
        await bed.settled("silent", 3, 2)
        before = len(bed.evictions())
        await bed.annotate("Deployment", "silent", {"min-on-demand": "5"})
        await bed.says("silent", "Paused")
        await bed.stands_still("silent", seconds=5)
        assert len(bed.evictions()) == before


async def several_moves_at_once(bed: Bed) -> None:
    async with bed.operator("--default-max-moves-in-flight=4", "--status-conditions=false"):
        await runs_on_on_demand(bed, "fast")
        before = len(bed.writes())
        async with bed.fewest("fast") as fewest:
            await bed.annotate("Deployment", "fast", {"spot-percentage": "100"})
            await bed.settled("fast", 0, 4)
        assert fewest() <= 2  # at most one at a time would leave 3
        assert ("patch", "deployments/status") not in bed.writes()[before:]


@on_both_beds
def test_processes_with_other_settings_behave_differently_one_after_the_other(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        await one_move_at_a_time(bed)
        await a_rest_after_each_move(bed)
        await defaults_for_who_does_not_say(bed)
        await several_moves_at_once(bed)

    play(scenario)
