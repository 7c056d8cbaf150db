"""T010: workloads are split at birth, with no eviction; what is not ours is left alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from spotalis.kube.client import PatchType
from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.stage import Play, on_both_beds

BURSTS = [
    pytest.param(3, Wishes(70, 1), (1, 2), id="3 at 70 % floor 1 stand 1 + 2"),
    pytest.param(10, Wishes(70), (3, 7), id="10 at 70 % stand 3 + 7"),
    pytest.param(20, Wishes(80, 2), (4, 16), id="20 at 80 % floor 2 stand 4 + 16"),
    pytest.param(5, Wishes(None, 2), (5, 0), id="5 with only a floor stand 5 + 0"),
]


@on_both_beds
@pytest.mark.parametrize(("replicas", "wishes", "split"), BURSTS)
def test_a_deployment_created_in_one_go_is_split_at_birth(
    play: Play, replicas: int, wishes: Wishes, split: tuple[int, int]
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", replicas, wishes)
            await bed.settled("web", *split)
            born = {pod.uid for pod in await bed.pods("web")}
            await bed.stands_still("web")
            assert {pod.uid for pod in await bed.pods("web")} == born
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_a_stateful_set_created_in_one_go_is_split_at_birth(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=3)
        async with bed.operator():
            await bed.stateful_set("db", 20, Wishes(80, 2))
            await bed.settled("db", 4, 16)
            await bed.stands_still("db")
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_scale_ups_and_downs_five_seconds_apart_stay_split_with_no_eviction(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=3)
        async with bed.operator():
            await bed.deployment("one", 1, Wishes(70))
            await bed.deployment("two", 5, Wishes(70))
            await bed.settled("one", 1, 0)
            await bed.settled("two", 2, 3)
            await bed.scale("Deployment", "one", 10)
            await bed.scale("Deployment", "two", 15)
            await asyncio.sleep(5)
            await bed.settled("two", 5, 10)  # who is not ready would be the first to go
            await bed.scale("Deployment", "two", 8)
            await bed.settled("one", 3, 7)
            await bed.settled("two", 3, 5)
            await bed.stands_still("two")
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_what_is_not_opted_in_is_untouched(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator():
            await bed.deployment("plain", 4)
            await bed.deployment("idle", 4, Wishes(other={"enabled": "false"}))
            metadata = {"name": "bare", "labels": {"app": "bare"}}
            await start(bed, {"metadata": metadata, "spec": {"containers": CONTAINERS}})

            async def all_ready() -> bool:
                return all(
                    [
                        len([p for p in await bed.pods(name) if p.ready]) == count
                        for name, count in (("plain", 4), ("idle", 4), ("bare", 1))
                    ]
                )

            await bed.until(all_ready, "everything is Ready")
            for name in ("plain", "idle", "bare"):
                for pod in await bed.pods(name):
                    assert (pod.rule, pod.slot) == ("", None)
                    assert not [key for key in pod.labels if key.startswith("spotalis.io/")]
        assert bed.evictions() == []

    play(scenario)


CONTAINERS = [{"name": "main", "image": "registry.example/main:1"}]


async def create(bed: Bed, kind: str, name: str) -> None:
    """A Job or a DaemonSet with a pod; the embedded cluster has no controller that makes it."""
    group = "batch" if kind == "Job" else "apps"
    labels = {"app": name}
    spec: dict[str, Any] = {"containers": CONTAINERS}
    if kind == "Job":
        spec["restartPolicy"] = "Never"
    wanted: dict[str, Any] = {"template": {"metadata": {"labels": labels}, "spec": spec}}
    if kind == "DaemonSet":
        wanted["selector"] = {"matchLabels": labels}
    owner = {"apiVersion": f"{group}/v1", "kind": kind}
    path = f"/apis/{group}/v1/namespaces/{bed.namespace}/{kind.lower()}s"
    answer = await bed.api.raw("POST", path, {**owner, "metadata": {"name": name}, "spec": wanted})
    assert answer.status == 201, answer.body
    if isinstance(bed, OnEmbeddedCluster):
        uid = json.loads(answer.body)["metadata"]["uid"]
        reference = {**owner, "name": name, "uid": uid, "controller": True}
        metadata = {"name": f"{name}-1", "labels": labels, "ownerReferences": [reference]}
        await start(bed, {"metadata": metadata, "spec": spec})


async def start(bed: Bed, pod: Mapping[str, Any]) -> None:
    answer = await bed.api.raw("POST", f"/api/v1/namespaces/{bed.namespace}/pods", pod)
    assert answer.status == 201, answer.body


@on_both_beds
def test_in_an_opted_in_namespace_bare_pods_jobs_and_daemon_sets_are_untouched(play: Play) -> None:
    """They run on spot, where the namespace wants none of its replicas."""

    async def scenario(bed: Bed) -> None:
        opted_in = {
            "labels": {"spotalis.io/enabled": "true"},
            "annotations": {"spotalis.io/spot-percentage": "0"},
        }
        answer = await bed.api.raw(
            "PATCH",
            f"/api/v1/namespaces/{bed.namespace}",
            {"metadata": opted_in},
            content_type=PatchType.MERGE.value,
        )
        assert answer.status == 200, answer.body
        await bed.add_nodes(spot=1)
        async with bed.operator():
            metadata = {"name": "bare", "labels": {"app": "bare"}}
            await start(bed, {"metadata": metadata, "spec": {"containers": CONTAINERS}})
            await create(bed, "Job", "once")
            await create(bed, "DaemonSet", "each")
            names = ("bare", "once", "each")
            for name in names:
                await bed.settled(name, 0, 1)
            before = {pod.uid for name in names for pod in await bed.pods(name)}
            # One that the namespace's wishes are for shows that the operator heeds them.
            await bed.deployment("web", 2)
            await bed.add_nodes(on_demand=1)
            await bed.settled("web", 2, 0)
            await bed.stands_still("once")
            now = [pod for name in names for pod in await bed.pods(name)]
            assert {pod.uid for pod in now} >= before  # a DaemonSet has one more on the new node
            assert [key for pod in now for key in pod.labels if "spotalis" in key] == []
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_other_keys_of_a_template_node_selector_are_kept(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator():
            selector = {"kubernetes.io/os": "linux"}
            await bed.deployment("web", 4, Wishes(50), node_selector=selector)
            await bed.settled("web", 2, 2)
            for pod in await bed.pods("web"):
                assert ("kubernetes.io/os", "linux") in pod.shape.node_selector
                assert pod.slot is not None

    play(scenario)
