"""Watches: from a version, from now, as streamed lists, with selectors and bookmarks."""

from __future__ import annotations

from typing import Any

from tests.conformance.objects import NOWHERE, a_config_map, a_lease, a_pod
from tests.conformance.session import Session

STREAMED: dict[str, Any] = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
BOOKMARKS: dict[str, Any] = {"allowWatchBookmarks": "true"}


async def from_a_version(s: Session) -> None:
    first = await s.quiet.post("leases", a_lease("a"))
    await s.quiet.patch("leases/a", {"spec": {"holderIdentity": "x"}})
    await s.quiet.patch("leases/a", {"spec": {"holderIdentity": "x"}})
    await s.quiet.post("leases", a_lease("b"))
    await s.quiet.delete("leases/a")
    await s.watch("leases", resourceVersion=first.version)
    opened = await s.follow("leases", resourceVersion=first.version)
    await s.quiet.delete("leases/b")
    await s.quiet.post("leases", a_lease("a"))
    await opened.end(5)


async def from_now(s: Session) -> None:
    await s.quiet.post("leases", a_lease("b"))
    await s.quiet.post("leases", a_lease("a"))
    await s.watch("leases")
    await s.watch("leases", resourceVersion="0")
    version = (await s.quiet.get("leases")).version
    await s.watch("leases", resourceVersion=version)


async def streamed_lists(s: Session) -> None:
    await s.watch("leases", **STREAMED, **BOOKMARKS)
    await s.quiet.post("leases", a_lease("b"))
    made = await s.quiet.post("leases", a_lease("a"))
    await s.watch("leases", **STREAMED, **BOOKMARKS)
    await s.watch("leases", **STREAMED)
    await s.watch("leases", **STREAMED, **BOOKMARKS, resourceVersion="0")
    opened = await s.follow("leases", **STREAMED, **BOOKMARKS, resourceVersion=made.version)
    await opened.until_events(3)
    await s.quiet.delete("leases/a")
    await opened.end(4)
    none = {**STREAMED, "sendInitialEvents": "false"}
    await s.watch("leases", **none, **BOOKMARKS)
    await s.watch("leases", **STREAMED, **BOOKMARKS, fieldSelector="metadata.name=b")


async def invalid_options_of_streamed_lists(s: Session) -> None:
    await s.watch("leases", sendInitialEvents="true")
    await s.watch("leases", sendInitialEvents="true", resourceVersionMatch="Exact")
    await s.watch("leases", resourceVersionMatch="NotOlderThan")
    await s.watch("leases", **STREAMED, **BOOKMARKS, resourceVersion="many")
    await s.watch("leases", resourceVersion="many")
    await s.watch("leases", labelSelector="app in (")
    await s.watch("leases", fieldSelector="spec.x=y")
    await s.watch("/api/v1/namespaces/{namespace}/gadgets")


async def selectors_that_objects_enter_and_leave(s: Session) -> None:
    made = await s.quiet.post("configmaps", a_config_map("a", labels={"app": "web"}))
    await s.quiet.patch("configmaps/a", {"metadata": {"labels": {"app": "api"}}})
    await s.quiet.patch("configmaps/a", {"data": {"a": "2"}})
    await s.quiet.patch("configmaps/a", {"metadata": {"labels": {"app": "web"}}})
    await s.quiet.patch("configmaps/a", {"data": {"a": "3"}})
    await s.quiet.delete("configmaps/a")
    await s.watch("configmaps", resourceVersion=made.version, labelSelector="app=web")
    await s.watch("configmaps", resourceVersion=made.version, labelSelector="app!=web,app")
    await s.watch("configmaps/a", resourceVersion=made.version)
    pod = await s.quiet.post("pods", a_pod("pod"))
    await s.quiet.patch("pods/pod/status", {"status": {"phase": "Running"}})
    await s.quiet.delete("pods/pod", {"gracePeriodSeconds": 0})
    await s.watch("pods", resourceVersion=pod.version, fieldSelector="status.phase=Running")
    await s.watch("pods", resourceVersion=pod.version, fieldSelector="status.phase!=Running")


async def deletion_of_pods(s: Session) -> None:
    pod = await s.quiet.post("pods", a_pod("pod", node=NOWHERE))
    await s.quiet.delete("pods/pod")
    await s.quiet.delete("pods/pod", {"gracePeriodSeconds": 0})
    kept = a_pod("kept", node=NOWHERE, finalizers=["spotalis.io/x"])
    await s.quiet.post("pods", kept)
    await s.quiet.delete("pods/kept", {"gracePeriodSeconds": 0})
    await s.quiet.patch("pods/kept", {"metadata": {"finalizers": None}})
    await s.watch("pods", resourceVersion=pod.version)


async def bookmarks_every_minute(s: Session) -> None:
    made = await s.quiet.post("leases", a_lease("a"))
    version = made.version
    await s.watch("leases", **BOOKMARKS, events=1, resourceVersion=version, timeoutSeconds="100")


async def bookmarks_of_streamed_lists(s: Session) -> None:
    for kind in (
        "pods", "leases", "poddisruptionbudgets", "deployments", "statefulsets", "replicasets",
        "events",
    ):  # fmt: skip
        await s.watch(kind, **STREAMED, **BOOKMARKS, events=1)


SCRIPTS = (
    from_a_version,
    from_now,
    streamed_lists,
    invalid_options_of_streamed_lists,
    selectors_that_objects_enter_and_leave,
    deletion_of_pods,
    bookmarks_of_streamed_lists,
)
