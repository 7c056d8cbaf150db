"""Read-only: whatever the other scenarios do to a cluster, it is told and never changed."""

from __future__ import annotations

import asyncio

from spotalis.kube.client import PatchType
from tests.support import incidents
from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.incidents import AKS_PREEMPT, KARPENTER, READY_NEVER
from tests.support.stage import Play, on_both_beds

ALLOWED = {
    ("create", "events"),
    ("patch", "mutatingwebhookconfigurations"),
    ("update", "secrets"),
}
"""The writes of behaviour.md 7 besides the Lease's."""
PATIENCE = {"spot-fallback": "4s", "max-moves-in-flight": "4"}


async def set_the_stage(bed: Bed) -> list[str]:
    """By an operator that may write: replicas with slots and pins; the spot nodes' names."""
    spot = await bed.add_nodes(spot=6)
    await bed.add_nodes(on_demand=3)
    async with bed.operator():
        for name in ("changed", "scaled", "held", "rolled", "off", "broken", "paused", "closed"):
            await bed.deployment(name, 4, Wishes(50, 1, PATIENCE))
        await bed.stateful_set("db", 4, Wishes(50, 1, PATIENCE))
        for name in ("changed", "scaled", "held", "rolled", "off", "broken", "paused", "closed"):
            await bed.settled(name, 2, 2)
        await bed.settled("db", 2, 2)
        # Away from the split in both directions, with nobody to mend it.
        for name, percent in (("changed", "0"), ("held", "100"), ("closed", "100")):
            await bed.annotate("Deployment", name, {"paused-until": "forever"})
            await bed.annotate("Deployment", name, {"spot-percentage": percent})
    assert bed.evictions() == []
    return spot


async def everything_happens(bed: Bed, spot: list[str]) -> None:
    """One thing after the other of those that the rows of scenarios are about."""
    for name in ("changed", "held", "closed"):  # T012: to move at once
        await bed.annotate("Deployment", name, {"paused-until": None})
    await bed.annotate("StatefulSet", "db", {"spot-percentage": "0"})
    await bed.deployment("born", 10, Wishes(70, 1))  # T010, bursts
    await bed.stateful_set("adopted", 3)
    await bed.budget("held", "held", minAvailable=4)  # PDB
    never = {"disruption-schedule": "0 0 29 2 *", "disruption-duration": "1m"}
    await bed.annotate("Deployment", "closed", never)  # windows
    await bed.annotate("Deployment", "off", {"enabled": None, "spot-percentage": "0"})  # T012c
    await bed.annotate("Deployment", "broken", {"spot-percentage": "7O", "min-ondemand": "1"})
    wishes = {"paused-until": "forever", "spot-percentage": "0"}
    await bed.annotate("Deployment", "paused", wishes)
    await bed.annotate("StatefulSet", "adopted", {"enabled": "true", "spot-percentage": "100"})
    await bed.scale("Deployment", "scaled", 7)  # T013, and back
    await incidents.scale_as_an_autoscaler(bed, "Deployment", "scaled", 2)
    await incidents.roll_out(bed, "Deployment", "rolled", "registry.example/main:2", READY_NEVER)
    await incidents.warn(bed, spot[0], KARPENTER)  # T011, and a storm
    await incidents.warn(bed, spot[1], AKS_PREEMPT)
    await bed.reclaim(*spot[1:])  # T011b: those with a pin to spot wait in vain
    labels = {"spotalis.io/enabled": "true", "team": "a"}  # T015
    answer = await bed.api.raw(
        "PATCH",
        f"/api/v1/namespaces/{bed.namespace}",
        {"metadata": {"labels": labels}},
        content_type=PatchType.MERGE.value,
    )
    assert answer.status == 200


@on_both_beds
def test_whatever_happens_a_read_only_operator_writes_what_it_must_and_no_more(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        spot = await set_the_stage(bed)
        earlier = len(bed.writes())
        async with bed.crew(2, "--read-only", "--interruption-evict-early") as crew:
            leader = await crew.leader()
            await everything_happens(bed, spot)

            async def born() -> bool:
                return sum(await bed.split("born")) == 10

            await bed.until(born, "new pods run, wherever")
            assert {(pod.rule, pod.slot) for pod in await bed.pods("born")} == {("", None)}
            await incidents.told(bed, "broken", "InvalidSplitPolicy")
            await bed.says("held", "ReadOnly")
            await leader.terminate()  # T014
            await crew.leader(other_than=leader)
            # Longer than fallbacks' patience, on the embedded bed than any rest and resync.
            await asyncio.sleep(900 if isinstance(bed, OnEmbeddedCluster) else 10)
        assert bed.evictions() == []
        assert set(bed.writes()[earlier:]) <= ALLOWED, bed.writes()[earlier:]

    play(scenario)


@on_both_beds
def test_it_says_what_it_would_move(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=2)
        await bed.deployment("web", 4, Wishes(50))
        async with bed.operator("--read-only"):
            await bed.settled("web", 2, 2)  # the scheduler's own spread
            await bed.says("web", "Balanced")
            await bed.annotate("Deployment", "web", {"spot-percentage": "0"})
            await bed.says("web", "ReadOnly")
            await bed.stands_still("web", seconds=5)
        assert bed.evictions() == []
        assert set(bed.writes()) <= ALLOWED, bed.writes()

    play(scenario)
