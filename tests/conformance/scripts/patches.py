"""JSON patches, merge patches and strategic merge patches."""

from __future__ import annotations

from tests.conformance.history import Json
from tests.conformance.objects import a_config_map, a_workload
from tests.conformance.session import JSON_PATCH, MERGE, STRATEGIC, Session


async def json_patches(s: Session) -> None:
    await s.quiet.post("configmaps", a_config_map("settings", {"a": "1", "b": "2"}))
    where = "configmaps/settings"
    await s.patch(where, [{"op": "add", "path": "/data/c", "value": "3"}], JSON_PATCH)
    await s.patch(where, [{"op": "replace", "path": "/data/a", "value": "9"}], JSON_PATCH)
    await s.patch(where, [{"op": "remove", "path": "/data/b"}], JSON_PATCH)
    await s.patch(where, [{"op": "test", "path": "/data/a", "value": "9"}], JSON_PATCH)
    await s.patch(where, [{"op": "test", "path": "/data/a", "value": "8"}], JSON_PATCH)
    await s.patch(where, [{"op": "remove", "path": "/data/nothing"}], JSON_PATCH)
    await s.patch(where, [{"op": "replace", "path": "/data/nothing", "value": "1"}], JSON_PATCH)
    await s.patch(where, [{"op": "replace", "path": "/no/thing", "value": "1"}], JSON_PATCH)
    key = "/metadata/annotations"
    await s.patch(where, [{"op": "add", "path": f"{key}/a~1b", "value": "1"}], JSON_PATCH)
    await s.patch(where, [{"op": "add", "path": key, "value": {"a/b": "1"}}], JSON_PATCH)
    await s.patch(where, [{"op": "add", "path": f"{key}/c~1d", "value": "2"}], JSON_PATCH)
    await s.patch(where, {"data": {}}, JSON_PATCH)
    await s.patch(where, [{"op": "explode", "path": "/data"}], JSON_PATCH)
    await s.patch("configmaps/nothing", [], JSON_PATCH)
    await s.patch(where, [], JSON_PATCH)
    await s.patch(where, [{"op": "add", "path": "/metadata/name", "value": "x"}], JSON_PATCH)


async def merge_patches(s: Session) -> None:
    await s.quiet.post("configmaps", a_config_map("settings", {"a": "1", "b": "2"}))
    where = "configmaps/settings"
    await s.patch(where, {"data": {"a": None, "c": "3"}})
    await s.patch(where, {"data": {"c": "3"}})
    await s.patch(where, {"metadata": {"annotations": {"spotalis.io/x": "1"}, "labels": None}})
    await s.patch(where, {"metadata": {"resourceVersion": "1"}, "data": {"c": "4"}})
    await s.patch(where, {"metadata": {"name": "other"}})
    await s.patch(where, {"metadata": {"generation": 5, "creationTimestamp": None}})
    await s.patch(where, {"data": None})
    await s.patch(where, [])
    await s.patch(where, {"data": {"a": 1}})
    await s.patch(where, {"metadata": {"annotations": {"a": 1}}})
    await s.patch(where, {"data": {"a": "1"}}, "application/unknown-patch+json")
    await s.patch("configmaps/nothing", {"data": {"a": "1"}})
    await s.send("PATCH", where, b"{", content_type=MERGE)


async def strategic_patches(s: Session) -> None:
    containers = [{"name": "a", "image": "i:1"}, {"name": "b", "image": "i:1"}]
    pod = {"containers": containers}
    await s.quiet.post("deployments", a_workload("Deployment", "web", 0, pod=pod))

    async def note_after(change: Json, kind: str = STRATEGIC) -> None:
        """Note the containers, tolerations and volumes after a patch of the pod spec."""
        body = {"spec": {"template": {"spec": change}}}
        answer = await s.quiet.patch("deployments/web", body, kind)
        if answer.status == 200:
            spec = answer.body["spec"]["template"]["spec"]
            kept = {key: spec.get(key) for key in ("containers", "tolerations", "volumes")}
            s.note(str(change), kept)
        else:
            s.note(str(change), answer.body)

    env = [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]
    await note_after({"containers": [{"name": "a", "image": "i:2", "env": env}]})
    await note_after({"containers": [{"name": "a", "env": [{"name": "Y", "value": "3"}]}]})
    await note_after({"containers": [{"name": "a", "env": [{"name": "X", "$patch": "delete"}]}]})
    await note_after({"containers": [{"name": "c", "image": "i:1"}]})
    await note_after({"containers": [{"name": "b", "$patch": "delete"}]})
    await note_after({"tolerations": [{"key": "a", "operator": "Exists"}]})
    await note_after({"tolerations": [{"key": "b", "operator": "Exists"}]})
    ports = [{"containerPort": 80}, {"containerPort": 443, "name": "tls"}]
    await note_after({"containers": [{"name": "a", "ports": ports}]})
    await note_after(
        {"containers": [{"name": "a", "ports": [{"containerPort": 443, "name": "s"}]}]}
    )
    order = [{"name": "c"}, {"name": "a"}]
    await note_after(
        {"$setElementOrder/containers": order, "containers": [{"name": "a", "image": "j"}]}
    )
    order = [{"name": "a"}, {"name": "d"}, {"name": "c"}]
    new = [{"name": "d", "image": "i:1"}]
    await note_after({"$setElementOrder/containers": order, "containers": new})
    await note_after({"containers": [{"image": "i:1"}]})
    await note_after({"containers": [{"$patch": "replace"}, {"name": "only", "image": "i:1"}]})
    await note_after({"containers": [{"name": "only", "image": "i:3"}]}, MERGE)
    await s.patch("deployments/web", {"spec": {"template": {"spec": None}}}, STRATEGIC)
    await s.quiet.post("configmaps", a_config_map("kept", finalizers=["spotalis.io/a"]))
    await s.patch("configmaps/kept", {"metadata": {"finalizers": ["spotalis.io/b"]}}, STRATEGIC)
    gone = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["spotalis.io/a"]}}
    await s.patch("configmaps/kept", gone, STRATEGIC)


SCRIPTS = (
    json_patches,
    merge_patches,
    strategic_patches,
)
