"""Helpers for tests with an embedded cluster in virtual time."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # seeded
from typing import Any

from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.objects.pods import is_ready, node_of
from spotalis.embedded.server.errors import ApiError
from spotalis.embedded.virtual_time import VirtualClock, VirtualTimeLoop
from tests.unit.embedded.controllers.builders import NOON, Object


def a_cluster(seed: int = 1, **options: Any) -> EmbeddedCluster:
    """A cluster on the running loop; its clock starts at noon."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return EmbeddedCluster(clock=VirtualClock(loop, NOON), rng=random.Random(seed), **options)


def now() -> float:
    """Virtual seconds since the test started."""
    return asyncio.get_running_loop().time()


def pods(cluster: EmbeddedCluster, app: str = "web") -> list[Object]:
    """The pods of an app, including terminating ones, by name."""
    found = [
        pod
        for pod in cluster.store.list("pods", "default")
        if (pod["metadata"].get("labels") or {}).get("app") == app
    ]
    return sorted(found, key=lambda pod: pod["metadata"]["name"])


def names(found: list[Object]) -> list[str]:
    return [obj["metadata"]["name"] for obj in found]


def living(cluster: EmbeddedCluster, app: str = "web") -> list[Object]:
    return [p for p in pods(cluster, app) if not p["metadata"].get("deletionTimestamp")]


def ready(cluster: EmbeddedCluster, app: str = "web") -> list[Object]:
    return [pod for pod in living(cluster, app) if is_ready(pod)]


def nodes_of(cluster: EmbeddedCluster, app: str = "web") -> list[str]:
    return sorted(node_of(pod) for pod in living(cluster, app))


def status(cluster: EmbeddedCluster, plural: str, name: str = "web") -> Object:
    obj = cluster.store.get(plural, "default", name)
    assert obj is not None
    found: Object = obj.get("status") or {}
    return found


async def change(cluster: EmbeddedCluster, plural: str, name: str, **spec: Any) -> None:
    """Change fields of a spec, and retry on conflicts."""
    while True:
        obj = cluster.store.get(plural, "default", name)
        assert obj is not None
        try:
            changed = {**obj, "spec": {**obj["spec"], **spec}}
            await cluster.api.update(plural, changed, user="owner")
        except ApiError as refused:
            if refused.reason != "Conflict":
                raise
        else:
            return


async def new_image(cluster: EmbeddedCluster, plural: str, name: str, image: str) -> None:
    obj = cluster.store.get(plural, "default", name)
    assert obj is not None
    template = obj["spec"]["template"]
    container = {**template["spec"]["containers"][0], "image": image}
    pod = {**template["spec"], "containers": [container]}
    await change(cluster, plural, name, template={**template, "spec": pod})
