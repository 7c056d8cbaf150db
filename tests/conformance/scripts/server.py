"""Version, health, unknown paths, invalid bodies, events, leases and namespaces."""

from __future__ import annotations

from tests.conformance.objects import a_config_map, a_lease
from tests.conformance.session import Session


async def version_and_health(s: Session) -> None:
    version = await s.quiet.get("/version")
    s.note("version", {key: version.body[key] for key in ("major", "minor")})
    for path in ("/healthz", "/readyz", "/livez"):
        await s.get(path)


async def unknown_paths(s: Session) -> None:
    await s.get("/api/v1/namespaces/{namespace}/gadgets")
    await s.get("/apis/example.org/v1/namespaces/{namespace}/gadgets")
    await s.get("/apis/apps/v1/namespaces/{namespace}/deployments/web/gadget")
    await s.post("configmaps/settings", a_config_map("settings"))
    await s.send("PUT", "configmaps", a_config_map("settings"))


async def invalid_bodies(s: Session) -> None:
    await s.send("POST", "configmaps", b"{")
    await s.send("POST", "configmaps", b"[]")
    await s.send("POST", "configmaps", b"")
    await s.send("POST", "configmaps", a_config_map("settings"), content_type="text/plain")
    await s.post("configmaps", {**a_config_map("settings"), "kind": "Secret"})
    await s.post("configmaps", {**a_config_map("settings"), "apiVersion": "v2"})
    await s.post("configmaps", a_config_map("settings", namespace="elsewhere"))
    await s.post("configmaps", {"data": {"a": "1"}})
    await s.post("configmaps", {**a_config_map("settings"), "data": {"a": 1}})
    await s.post("configmaps", a_config_map("Not A Name"))


async def events(s: Session) -> None:
    about = {"kind": "Deployment", "namespace": s.namespace, "name": "web", "uid": "u"}
    about |= {"apiVersion": "apps/v1", "resourceVersion": "7", "fieldPath": "spec"}
    event = {
        "metadata": {"name": "web.1"},
        "involvedObject": about,
        "reason": "Rebalancing",
        "message": "Moved a pod",
        "type": "Normal",
        "source": {"component": "spotalis"},
        "firstTimestamp": "2020-01-02T03:04:05Z",
        "lastTimestamp": "2020-01-02T03:04:05Z",
        "count": 1,
    }
    await s.post("events", event)
    await s.get("events/web.1")
    least = {"metadata": {"name": "web.2"}, "involvedObject": about, "reason": "Scheduled"}
    await s.post("events", least)
    await s.get("events", fieldSelector="involvedObject.name=web,reason=Rebalancing")
    for selected in (
        *("involvedObject.apiVersion=apps/v1", "involvedObject.apiVersion=v1"),
        *("involvedObject.resourceVersion=7", "involvedObject.fieldPath=spec"),
        *("source=spotalis", "source!=spotalis", "regarding.name=web"),
    ):
        await s.get("events", fieldSelector=selected)
    await s.get("events")
    await s.patch("events/web.1", {"count": 2, "lastTimestamp": "2020-01-02T03:05:05Z"})
    await s.delete("events/web.1")


async def leases(s: Session) -> None:
    lease = a_lease(
        "leader",
        holderIdentity="one",
        leaseDurationSeconds=15,
        acquireTime="2020-01-02T03:04:05.000000Z",
        renewTime="2020-01-02T03:04:05.000000Z",
        leaseTransitions=0,
    )
    made = await s.post("leases", lease)
    await s.post("leases", lease)
    held = made.body
    renewed = {**held, "spec": {**held["spec"], "renewTime": "2020-01-02T03:04:07.000000Z"}}
    await s.put("leases/leader", renewed)
    await s.put("leases/leader", {**held, "spec": {**held["spec"], "holderIdentity": "two"}})
    await s.put("leases/leader", lease)
    await s.put("leases/new", a_lease("new", holderIdentity="one"))
    await s.put("leases/other", a_lease("another", holderIdentity="one"))
    await s.post("leases", a_lease("bad", leaseDurationSeconds=0))
    await s.post("leases", a_lease("worse", leaseTransitions=-1))
    await s.delete("leases/leader")
    await s.put("leases/leader", renewed)
    known = renewed["metadata"]["resourceVersion"]
    for version in (known, "0"):
        body = a_lease("leader", holderIdentity="one")
        body["metadata"]["resourceVersion"] = version
        await s.put("leases/leader", body)


async def namespaces(s: Session) -> None:
    await s.get("/api/v1/namespaces/no-such-namespace")
    await s.get("/api/v1/namespaces/{namespace}")
    await s.post("/api/v1/namespaces/no-such-namespace/configmaps", a_config_map("settings"))
    await s.get("/api/v1/namespaces/no-such-namespace/configmaps")
    await s.patch("/api/v1/namespaces/{namespace}", {"metadata": {"labels": {"team": "a"}}})


SCRIPTS = (
    version_and_health,
    unknown_paths,
    invalid_bodies,
    events,
    leases,
    namespaces,
)
