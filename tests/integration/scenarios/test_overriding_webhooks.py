"""Another webhook, called after that of Spotalis, chooses the capacity type or rejects the pod."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from spotalis.model.configuration import POD_SLOT
from tests.integration.scenarios.test_neighbours import AFFINITY, SELECTOR, respond
from tests.support import incidents
from tests.support.cluster import CAPACITY_TYPE_LABEL, TestCluster, policy
from tests.support.scenarios import on_both_beds, only_embedded


def set_once(field: str, value: Any) -> Any:
    """Return a webhook that replaces a field of the pod spec."""

    def answer(review: Mapping[str, Any]) -> dict[str, Any]:
        if review["request"]["object"]["spec"].get(field) == value:
            return respond(review, [])
        return respond(review, [{"op": "add", "path": f"/spec/{field}", "value": value}])

    return answer


@pytest.mark.both
@on_both_beds
@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("nodeSelector", SELECTOR["nodeSelector"], id="selector replaced"),
        pytest.param("affinity", AFFINITY["affinity"], id="affinity added"),
    ],
)
async def test_the_choice_of_a_later_webhook_is_respected_and_reported(
    cluster: TestCluster, field: str, value: Any
) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    async with (
        cluster.operator(),
        incidents.injecting(cluster, "z-webhook", set_once(field, value)),
    ):
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 4, 0)
        await cluster.wait_for_status("web", "Pinned")
        await incidents.told(cluster, "web", "SplitUnreachable")
        (note,) = await incidents.notes(cluster, "web", "SplitUnreachable")
        assert "another admission webhook has sent" in note
        await cluster.assert_unchanged("web")
        pods = await cluster.pods("web")
        assert {pod.labels["spotalis.io/capacity-type"] for pod in pods} == {"on-demand"}
        assert "overridden" in {pod.rule for pod in pods}
    assert cluster.evictions() == []


@only_embedded
async def test_any_instance_tells_the_leader_what_a_later_webhook_has_chosen(
    cluster: TestCluster,
) -> None:
    """The API server calls another instance the second time."""
    await cluster.add_nodes(spot=2, on_demand=2)
    later = set_once("nodeSelector", SELECTOR["nodeSelector"])
    async with (
        cluster.operators(3) as operators,
        incidents.injecting(cluster, "z-webhook", later),
    ):
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 4, 0)
        await cluster.wait_for_status("web", "Pinned")
        await cluster.assert_unchanged("web")
        pods = await cluster.pods("web")
        assert {pod.labels["spotalis.io/capacity-type"] for pod in pods} == {"on-demand"}
        assert sorted(pod.rule for pod in pods).count("overridden") == 2
        assert (await operators.forward_results())["leader"] > 0
    assert cluster.evictions() == []


@on_both_beds
async def test_a_pin_that_a_later_webhook_removes_is_restored(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    removed: set[str] = set()

    def remove_selector(review: Mapping[str, Any]) -> dict[str, Any]:
        pod = review["request"]["object"]
        key = pod["metadata"].get("annotations", {}).get("spotalis.io/decision", "")
        if key in removed or CAPACITY_TYPE_LABEL not in pod["spec"].get("nodeSelector", {}):
            return respond(review, [])
        removed.add(key)
        return respond(review, [{"op": "remove", "path": "/spec/nodeSelector"}])

    async with (
        cluster.operator(),
        incidents.injecting(cluster, "z-webhook", remove_selector),
    ):
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
        await cluster.assert_unchanged("web")
        assert len(removed) == 2  # The pin to on-demand is an affinity.
        selected = [dict(p.shape.node_selector) for p in await cluster.pods("web")]
        assert [one.get(CAPACITY_TYPE_LABEL) for one in selected].count("spot") == 2
    assert cluster.evictions() == []


@only_embedded  # The ReplicaSet controller waits up to 16 minutes between two attempts.
async def test_the_slot_of_a_pod_that_another_webhook_rejects_is_free_again_after_30_s(
    cluster: TestCluster,
) -> None:
    rejects = False
    attempts: list[tuple[float, str]] = []

    def reject(review: Mapping[str, Any]) -> dict[str, Any]:
        slot = review["request"]["object"]["metadata"].get("annotations", {}).get(POD_SLOT)
        answer = respond(review, [])
        if rejects and slot is not None:
            attempts.append((asyncio.get_running_loop().time(), slot))
            response = {"uid": review["request"]["uid"], "allowed": False}
            answer["response"] = {**response, "status": {"message": "no quota left"}}
        return answer

    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator(), incidents.injecting(cluster, "z-webhook", reject):
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
        rejects = True
        await cluster.scale("Deployment", "web", 6)
        await asyncio.sleep(600)
        at_once = {slot for (before, _), (at, slot) in pairwise(attempts) if at - before < 30}
        later = [slot for (before, _), (at, slot) in pairwise(attempts) if at - before > 30]
        assert at_once == {"4", "5"}
        assert later == ["4"] * len(later)
        assert len(later) > 2
