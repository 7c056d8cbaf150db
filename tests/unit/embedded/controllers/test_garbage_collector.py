"""Deletion of dependents, of pods on missing nodes, and of namespaces."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from spotalis.embedded.cluster import EmbeddedCluster, Timing
from spotalis.embedded.objects.resources import Object
from tests.support.eventually import until
from tests.support.virtual_time import in_virtual_time
from tests.unit.embedded.controllers.builders import a_workload
from tests.unit.embedded.controllers.helpers import (
    a_cluster,
    names,
    pods,
    ready,
)


async def config_map(
    cluster: EmbeddedCluster, name: str, *owners: Object, **metadata: Any
) -> Object:
    """Create a ConfigMap with owners."""
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
async def test_dependents_are_deleted_after_their_last_owner() -> None:
    async with a_cluster() as cluster:
        one, two = await config_map(cluster, "one"), await config_map(cluster, "two")
        await config_map(cluster, "of-one", one)
        await config_map(cluster, "of-both", one, two)
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
async def test_an_object_created_for_a_deleted_owner_is_deleted() -> None:
    async with a_cluster() as cluster:
        one = await config_map(cluster, "one")
        await cluster.api.delete("configmaps", "default", "one")
        await config_map(cluster, "late", one)
        await asyncio.sleep(0.1)
        assert left(cluster) == []


@in_virtual_time
async def test_a_new_owner_with_the_same_name_does_not_keep_dependents() -> None:
    async with a_cluster() as cluster:
        one = await config_map(cluster, "one")
        await cluster.stop_controller("garbage-collector")
        await config_map(cluster, "of-one", one)
        await cluster.api.delete("configmaps", "default", "one")
        await config_map(cluster, "one")
        await cluster.start_controller("garbage-collector")
        await asyncio.sleep(0.1)
        assert left(cluster) == ["one"]


@in_virtual_time
async def test_an_owner_of_an_unknown_kind_counts_as_existing() -> None:
    async with a_cluster() as cluster:
        await config_map(cluster, "odd", {"kind": "Thing", "metadata": {"name": "x", "uid": "x"}})
        await asyncio.sleep(10)
        assert left(cluster) == ["odd"]


@in_virtual_time
async def test_pods_of_a_missing_node_are_deleted_after_the_quarantine() -> None:
    async with a_cluster(timing=Timing(pod_gc_quarantine=timedelta(seconds=40))) as cluster:
        await cluster.fleet.add(spot=1)
        await cluster.api.create("deployments", a_workload("Deployment", "web", 2))
        await until(lambda: len(ready(cluster)) == 2)
        await cluster.fleet.reclaim("spot-1")
        await asyncio.sleep(39)
        assert len(ready(cluster)) == 2
        await asyncio.sleep(2)
        assert ready(cluster) == []
        assert len(pods(cluster)) == 2, "the replacements, which are pending"


@in_virtual_time
async def test_deleting_a_namespace_deletes_its_objects() -> None:
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
