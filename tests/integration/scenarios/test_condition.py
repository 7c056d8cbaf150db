"""The condition ``spotalis.io/Balanced`` of Deployments."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import on_both_beds

CONDITION_WRITE = ("patch", "deployments/status")


async def condition(cluster: TestCluster, name: str = "web") -> dict[str, Any] | None:
    status = (await cluster.get_object("Deployment", name)).get("status") or {}
    found = [c for c in status.get("conditions") or () if c["type"] == "spotalis.io/Balanced"]
    return found[0] if found else None


def written(cluster: TestCluster, times: int) -> bool:
    """Expected transitions. If pods start slowly, a state that lasts 10 s is written, too."""
    more = 0 if isinstance(cluster, EmbeddedTestCluster) else 2
    return times <= cluster.writes().count(CONDITION_WRITE) <= times + more


async def wait_for_condition(cluster: TestCluster, status: str, reason: str) -> None:
    async def is_reached() -> bool:
        found = await condition(cluster)
        return found is not None and (found["status"], found["reason"]) == (status, reason)

    async def instead() -> str:
        return str(await condition(cluster))

    await cluster.wait_until(is_reached, f"the condition is {status}, {reason}", instead=instead)


@pytest.mark.both
@on_both_beds
async def test_the_condition_follows_a_deployment_until_it_is_disabled(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, policy(70, max_moves_in_flight="2"))
        await cluster.wait_for_split("web", 3, 7)
        await wait_for_condition(cluster, "True", "Balanced")
        assert written(cluster, 1)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "30"})
        await cluster.wait_for_split("web", 7, 3)
        await wait_for_condition(cluster, "True", "Balanced")
        # One transition and back, whatever happened between the moves.
        assert written(cluster, 3)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "3O"})
        await wait_for_condition(cluster, "Unknown", "InvalidPolicy")
        found = await condition(cluster)
        assert found is not None
        assert "spotalis.io/spot-percentage '3O' must be a whole number" in found["message"]
        await cluster.annotate("Deployment", "web", {"enabled": None})

        async def gone() -> bool:
            return await condition(cluster) is None

        await cluster.wait_until(gone, "the condition is removed")
        # The other conditions of the Deployment are unchanged.
        status = (await cluster.get_object("Deployment", "web"))["status"]
        assert {c["type"] for c in status["conditions"]} == {"Available", "Progressing"}


@pytest.mark.check
@on_both_beds
async def test_conditions_that_are_turned_off_are_removed(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50))
        await wait_for_condition(cluster, "True", "Balanced")
    async with cluster.operator("--status-conditions=false"):

        async def gone() -> bool:
            return await condition(cluster) is None

        await cluster.wait_until(gone, "the condition is removed")
        assert written(cluster, 2)
    assert cluster.evictions() == []


@pytest.mark.check
@on_both_beds
async def test_a_stateful_set_has_no_condition(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        await cluster.create_stateful_set("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
        await cluster.assert_unchanged("web")
        assert ("patch", "statefulsets/status") not in cluster.writes()
        assert CONDITION_WRITE not in cluster.writes()
