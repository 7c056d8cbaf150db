"""The condition ``spotalis.io/Balanced``: on transitions, and gone with the opt-in."""

from __future__ import annotations

from typing import Any

from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.stage import Play, on_both_beds

CONDITION_WRITE = ("patch", "deployments/status")


async def condition(bed: Bed, name: str = "web") -> dict[str, Any] | None:
    status = (await bed.raw_object("Deployment", name)).get("status") or {}
    found = [c for c in status.get("conditions") or () if c["type"] == "spotalis.io/Balanced"]
    return found[0] if found else None


def written(bed: Bed, times: int) -> bool:
    """So often; where pods are slow to come, what has lasted 10 s is written as well."""
    more = 0 if isinstance(bed, OnEmbeddedCluster) else 2
    return times <= bed.writes().count(CONDITION_WRITE) <= times + more


async def says(bed: Bed, status: str, reason: str) -> None:
    async def so() -> bool:
        found = await condition(bed)
        return found is not None and (found["status"], found["reason"]) == (status, reason)

    async def instead() -> str:
        return str(await condition(bed))

    await bed.until(so, f"the condition is {status}, {reason}", instead=instead)


@on_both_beds
def test_the_condition_follows_a_workload_from_birth_to_opting_out(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator():
            await bed.deployment("web", 10, Wishes(70, other={"max-moves-in-flight": "2"}))
            await bed.settled("web", 3, 7)
            await says(bed, "True", "Balanced")
            assert written(bed, 1)
            await bed.annotate("Deployment", "web", {"spot-percentage": "30"})
            await bed.settled("web", 7, 3)
            await says(bed, "True", "Balanced")
            # There and back, whatever happened between the moves.
            assert written(bed, 3)
            await bed.annotate("Deployment", "web", {"spot-percentage": "3O"})
            await says(bed, "Unknown", "InvalidPolicy")
            found = await condition(bed)
            assert found is not None
            assert "spotalis.io/spot-percentage '3O' must be a whole number" in found["message"]
            await bed.annotate("Deployment", "web", {"enabled": None})

            async def gone() -> bool:
                return await condition(bed) is None

            await bed.until(gone, "the condition is gone")
            # Deployment's own conditions are as they were.
            status = (await bed.raw_object("Deployment", "web"))["status"]
            assert {c["type"] for c in status["conditions"]} == {"Available", "Progressing"}

    play(scenario)


@on_both_beds
def test_a_stateful_set_has_none(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator():
            await bed.stateful_set("web", 4, Wishes(50))
            await bed.settled("web", 2, 2)
            await bed.stands_still("web")
            assert ("patch", "statefulsets/status") not in bed.writes()
            assert CONDITION_WRITE not in bed.writes()

    play(scenario)
