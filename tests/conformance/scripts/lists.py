"""Lists: selectors, pages, versions and expired tokens."""

from __future__ import annotations

import base64
import json

from tests.conformance.history import Json
from tests.conformance.objects import NOWHERE, a_config_map, a_lease, a_pod, create_running_pod
from tests.conformance.session import Session


async def _leases(s: Session, *names: str) -> None:
    for name in names:
        await s.quiet.post("leases", a_lease(name))


def _token(**parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


async def whole_lists(s: Session) -> None:
    await s.get("leases")
    await _leases(s, "b", "a", "c")
    await s.get("leases")
    await s.get("leases", resourceVersion="0")
    await s.get("/apis/coordination.k8s.io/v1/namespaces/nowhere/leases")
    await s.get("pods")
    everywhere = await s.quiet.get("/apis/coordination.k8s.io/v1/leases")
    own = [x for x in everywhere.body["items"] if x["metadata"]["namespace"] == s.namespace]
    s.note("of this namespace", own)


async def pages(s: Session) -> None:
    await _leases(s, "a", "b", "c", "d", "e")
    first = (await s.get("leases", limit="2")).body
    await _leases(s, "bb")
    await s.quiet.delete("leases/e")
    token = first["metadata"]["continue"]
    second = (await s.get("leases", **{"limit": "2", "continue": token})).body
    await s.get("leases", **{"limit": "2", "continue": second["metadata"]["continue"]})
    await s.get("leases", **{"continue": token})
    await s.get("leases", limit="5")
    await s.get("leases", limit="1", fieldSelector="metadata.name!=a")
    await s.get("leases", limit="2", resourceVersion="0")
    await s.get("leases", limit="100")


async def invalid_tokens_and_versions(s: Session) -> None:
    await _leases(s, "a", "b", "c")
    await s.get("leases", **{"continue": "nonsense!"})
    token = (await s.get("leases", limit="1")).body["metadata"]["continue"]
    await s.get("leases", **{"continue": token, "resourceVersion": "5"})
    await s.get("leases", resourceVersion="five")
    await s.get("leases", resourceVersion="-1")
    await s.get("leases", limit="many")
    await s.get("leases", sendInitialEvents="true")


async def lists_at_a_version(s: Session) -> None:
    await _leases(s, "a")
    version = (await s.quiet.post("leases", a_lease("b"))).version
    await s.quiet.delete("leases/a")
    await _leases(s, "c")
    await s.get("leases", resourceVersion=version, resourceVersionMatch="NotOlderThan")
    await s.get("leases", resourceVersion=version)


async def a_future_version(s: Session) -> None:
    await _leases(s, "a")
    future = "999999999"
    await s.get("leases", resourceVersion=future)


async def compacted_versions(s: Session) -> None:
    """410, as a status and as an event inside a watch."""
    await _leases(s, "a", "b")
    await s.compact()
    await s.until("leases", lambda found: found["items"], "the server responds")
    await s.watch("leases", resourceVersion="2")
    await s.watch("leases", resourceVersion="2", allowWatchBookmarks="true")


async def label_selectors(s: Session) -> None:
    for name, labels in {
        "a": {"app": "web", "tier": "1"},
        "b": {"app": "web", "tier": "2"},
        "c": {"app": "api", "size": "10"},
        "d": {"own": ""},
    }.items():
        await s.quiet.post("configmaps", a_config_map(name, labels=labels))

    async def select(selector: str) -> None:
        found = (await s.quiet.get("configmaps", labelSelector=selector)).body
        if found["kind"] == "Status":
            s.note(selector, found)
        else:
            names = [item["metadata"]["name"] for item in found["items"]]
            s.note(selector, [name for name in names if name != "kube-root-ca.crt"])

    for selector in (
        "app=web", "app==web", "app!=web", "app", "!app", "app in (web,api)", "app in (web)",
        "app notin (web)", "app=web,tier=2", "app=web,tier!=2", "own=", "own",
        " app = web ", "app in ( web , api ),!size", "x.y/z=1", "",
        "app in", "app in (", "=web", "app=web,", "app=a b", "app=!", "a/b/c=1", "!app=web",
        "app in ()", "-app=web",
    ):  # fmt: skip
        await select(selector)


async def field_selectors(s: Session) -> None:
    await create_running_pod(s, "a")
    await s.quiet.post("pods", a_pod("b"))
    await s.quiet.post("pods", a_pod("c", node=NOWHERE, labels={"app": "api"}))

    async def select(kind: str, selector: str, **query: str) -> None:
        found = (await s.quiet.get(kind, fieldSelector=selector, **query)).body
        if found["kind"] == "Status":
            s.note(f"{kind} {selector}", found)
        else:
            s.note(f"{kind} {selector}", [item["metadata"]["name"] for item in found["items"]])

    for selector in (
        "spec.nodeName=nowhere", "spec.nodeName=", "spec.nodeName!=nowhere", "status.phase=Running",
        "status.phase!=Running,spec.nodeName=nowhere", "metadata.name=a", "metadata.name==b",
        f"metadata.namespace={s.namespace}", "metadata.namespace=other",
        "spec.schedulerName=none", "spec.restartPolicy=Always", "spec.image=x", "spec.nodeName",
        "=x", "metadata.uid=x", "metadata.labels.app=x",
    ):  # fmt: skip
        await select("pods", selector)
    await select("pods", "spec.nodeName=nowhere", labelSelector="app=api")
    await _leases(s, "l")
    await select("leases", "metadata.name=l")
    await select("leases", "spec.holderIdentity=x")
    await select("deployments", "status.replicas=1")
    await select("replicasets", "status.replicas=0")


async def deleting_collections(s: Session) -> None:
    for name in ("a", "b", "c"):
        labels = {"app": "web" if name != "c" else "api"}
        await s.quiet.post("configmaps", a_config_map(name, labels=labels))
    await s.delete("configmaps", labelSelector="app=web", dryRun="All")
    await s.delete("configmaps", labelSelector="app=web")
    await s.delete("configmaps", labelSelector="app=web")
    left = await s.quiet.get("configmaps", labelSelector="app")
    names: list[Json] = [item["metadata"]["name"] for item in left.body["items"]]
    s.note("left", names)


SCRIPTS = (
    whole_lists,
    pages,
    invalid_tokens_and_versions,
    lists_at_a_version,
    a_future_version,
    label_selectors,
    field_selectors,
    deleting_collections,
)
