"""What goes with its owner, its node, its namespace."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from spotalis.embedded.cluster import EmbeddedCluster, Timing
from spotalis.embedded.objects.resources import Object
from tests.unit.embedded.controllers.builders import a_workload
from tests.unit.embedded.controllers.helpers import (
    a_cluster,
    in_virtual_time,
    names,
    pods,
    ready,
    until,
)


async def keep(cluster: EmbeddedCluster, name: str, *owners: Object, **metadata: Any) -> Object:
    """A ConfigMap that belongs to others."""
    references = [
        {
            "apiVersion": "v1",
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        for owner in owners
    ]
    obj: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": "default",
            "ownerReferences": references,
            **metadata,
        },
    }
    return await cluster.api.create("configmaps", obj)


def left(cluster: EmbeddedCluster) -> list[str]:
    return names(cluster.store.list("configmaps", "default"))


@in_virtual_time
async def test_dependents_go_when_their_last_owner_is_gone() -> None:
    async with a_cluster() as cluster:
        one, two = await keep(cluster, "one"), await keep(cluster, "two")
        await keep(cluster, "of-one", one)
        await keep(cluster, "of-both", one, two)
        await cluster.api.delete("configmaps", "default", "one")
        await asyncio.sleep(0.1)
        assert left(cluster) == ["of-both", "two"]
        both = cluster.store.get("configmaps", "default", "of-both")
        assert both is not None
        assert [r["name"] for r in both["metadata"]["ownerReferences"]] == ["two"]
        await cluster.api.delete("configmaps", "default", "two")
        await asyncio.sleep(0.1)
        assert left(cluster) == []


@in_virtual_time
async def test_what_is_made_for_an_owner_that_is_gone_goes_too() -> None:
    async with a_cluster() as cluster:
        one = await keep(cluster, "one")
        await cluster.api.delete("configmaps", "default", "one")
        await keep(cluster, "late", one)
        await asyncio.sleep(0.1)
        assert left(cluster) == []


@in_virtual_time
async def test_an_owner_of_the_same_name_is_not_the_same_owner() -> None:
    async with a_cluster() as cluster:
        one = await keep(cluster, "one")
        await cluster.stop_controller("garbage-collector")
        await keep(cluster, "of-one", one)
        await cluster.api.delete("configmaps", "default", "one")
        await keep(cluster, "one")
        await cluster.start_controller("garbage-collector")
        await asyncio.sleep(0.1)
        assert left(cluster) == ["one"]


@in_virtual_time
async def test_an_owner_of_an_unknown_kind_counts_as_alive() -> None:
    async with a_cluster() as cluster:
        await keep(cluster, "odd", {"kind": "Thing", "metadata": {"name": "x", "uid": "x"}})
        await asyncio.sleep(10)
        assert left(cluster) == ["odd"]


@in_virtual_time
async def test_foreground_deletion_waits_for_the_dependents() -> None:
    async with a_cluster() as cluster:
        one = await keep(cluster, "one", finalizers=["foregroundDeletion"])
        await keep(cluster, "slow", one, finalizers=["example.com/wait"])
        await cluster.api.delete("configmaps", "default", "one")
        await asyncio.sleep(5)
        assert left(cluster) == ["one", "slow"]
        slow = cluster.store.get("configmaps", "default", "slow")
        assert slow is not None
        assert slow["metadata"]["deletionTimestamp"]
        await cluster.api.update(
            "configmaps", {**slow, "metadata": {**slow["metadata"], "finalizers": []}}
        )
        await asyncio.sleep(0.1)
        assert left(cluster) == []


@in_virtual_time
async def test_orphaning_leaves_the_dependents_without_owner() -> None:
    async with a_cluster() as cluster:
        one = await keep(cluster, "one", finalizers=["orphan"])
        await keep(cluster, "child", one)
        await cluster.api.delete("configmaps", "default", "one")
        await asyncio.sleep(0.1)
        assert left(cluster) == ["child"]
        child = cluster.store.get("configmaps", "default", "child")
        assert child is not None
        assert not child["metadata"].get("ownerReferences")


@in_virtual_time
async def test_pods_of_a_vanished_node_stay_for_the_quarantine() -> None:
    async with a_cluster(timing=Timing(pod_gc_quarantine=timedelta(seconds=40))) as cluster:
        await cluster.fleet.add(spot=1)
        await cluster.api.create("deployments", a_workload("Deployment", "web", 2))
        await until(lambda: len(ready(cluster)) == 2)
        await cluster.fleet.reclaim("spot-1")
        await asyncio.sleep(39)
        assert len(ready(cluster)) == 2
        await asyncio.sleep(2)
        assert ready(cluster) == []
        assert len(pods(cluster)) == 2, "their replacements, for which there is no node"


@in_virtual_time
async def test_a_namespace_takes_its_content_along() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        space: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
        await cluster.api.create("namespaces", space)
        workload = a_workload("Deployment", "web", 2)
        workload["metadata"]["namespace"] = "shop"
        await cluster.api.create("deployments", workload)
        await until(lambda: len(cluster.store.list("pods", "shop")) == 2)
        await asyncio.sleep(2)
        await cluster.api.delete("namespaces", "", "shop")
        await asyncio.sleep(5)
        assert cluster.store.get("namespaces", "", "shop") is None
        for plural in ("deployments", "replicasets", "pods"):
            assert cluster.store.list(plural, "shop") == []
