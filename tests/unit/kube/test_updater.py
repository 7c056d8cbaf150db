"""Lists of one kind, namespace by namespace, as they are told."""

from __future__ import annotations

import asyncio
import json

import msgspec

from spotalis.kube.resources import PODS
from spotalis.kube.store import EventType, Store, StoreWriter
from spotalis.kube.watch.updater import Relist, StoreUpdater
from spotalis.model.objects import Pod


def a_list_of(writer: StoreWriter[Pod], *names: str) -> Relist[Pod]:
    """What is told of a list that shows these pods in the writer's namespace."""
    told: list[Relist[Pod]] = []

    def skipped(why: str) -> None:
        raise AssertionError(why)

    async def on() -> None:
        pass

    updater = StoreUpdater(
        PODS, writer, on_change=lambda change: None, on_relist=told.append, on_skip=skipped
    )
    updater.begin_list(back_in_time=False)
    for name in names:
        metadata = {"namespace": writer.scope, "name": name, "uid": name, "resourceVersion": "1"}
        pod = {"metadata": metadata, "spec": {}, "status": {}}
        updater.apply(EventType.ADDED, msgspec.Raw(json.dumps(pod).encode()))
    asyncio.run(updater.end_list(0.0, on))
    [relist] = told
    return relist


def test_each_namespace_has_a_first_list_and_totals_of_its_own() -> None:
    store: Store[Pod] = Store()
    shop, data = StoreWriter(store, "shop"), StoreWriter(store, "data")
    first = a_list_of(shop, "a", "b", "c")
    again = a_list_of(shop, "a")
    other = a_list_of(data, "z")
    assert (first.is_first, first.total, first.added) == (True, 3, 3)
    assert (again.is_first, again.total, [pod.name for pod in again.vanished]) == (
        False,
        1,
        ["b", "c"],
    )
    assert (other.is_first, other.total, other.vanished) == (True, 1, ())
