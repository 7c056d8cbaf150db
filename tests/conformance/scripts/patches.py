"""JSON, merge and strategic merge patches, and server-side apply with its conflicts."""

from __future__ import annotations

from tests.conformance.history import Json
from tests.conformance.objects import a_config_map, a_pod, a_workload
from tests.conformance.session import APPLY, JSON_PATCH, MERGE, STRATEGIC, Session


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
    await s.patch(where, [{"op": "move", "from": "/data/a", "path": "/data/d"}], JSON_PATCH)
    await s.patch(where, [{"op": "copy", "from": "/data/c", "path": "/data/e"}], JSON_PATCH)
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
    await s.patch(where, {"data": {"a": "1"}}, "application/stale_watch-of+json")
    await s.patch("configmaps/nothing", {"data": {"a": "1"}})
    await s.send("PATCH", where, b"{", content_type=MERGE)


async def strategic_patches(s: Session) -> None:
    containers = [{"name": "a", "image": "i:1"}, {"name": "b", "image": "i:1"}]
    pod = {"containers": containers}
    await s.quiet.post("deployments", a_workload("Deployment", "web", 0, pod=pod))

    async def after(change: Json, kind: str = STRATEGIC) -> None:
        """Note the containers and tolerations after a change of the pod's specification."""
        body = {"spec": {"template": {"spec": change}}}
        answer = await s.quiet.patch("deployments/web", body, kind)
        if answer.status == 200:
            spec = answer.body["spec"]["template"]["spec"]
            kept = {key: spec.get(key) for key in ("containers", "tolerations", "volumes")}
            s.note(str(change), kept)
        else:
            s.note(str(change), answer.body)

    env = [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]
    await after({"containers": [{"name": "a", "image": "i:2", "env": env}]})
    await after({"containers": [{"name": "a", "env": [{"name": "Y", "value": "3"}]}]})
    await after({"containers": [{"name": "a", "env": [{"name": "X", "$patch": "delete"}]}]})
    await after({"containers": [{"name": "c", "image": "i:1"}]})
    await after({"containers": [{"name": "b", "$patch": "delete"}]})
    await after({"tolerations": [{"key": "a", "operator": "Exists"}]})
    await after({"tolerations": [{"key": "b", "operator": "Exists"}]})
    ports = [{"containerPort": 80}, {"containerPort": 443, "name": "tls"}]
    await after({"containers": [{"name": "a", "ports": ports}]})
    await after({"containers": [{"name": "a", "ports": [{"containerPort": 443, "name": "s"}]}]})
    order = [{"name": "c"}, {"name": "a"}]
    await after({"$setElementOrder/containers": order, "containers": [{"name": "a", "image": "j"}]})
    order = [{"name": "a"}, {"name": "d"}, {"name": "c"}]
    new = [{"name": "d", "image": "i:1"}]
    await after({"$setElementOrder/containers": order, "containers": new})
    await after({"containers": [{"image": "i:1"}]})
    await after({"containers": [{"$patch": "replace"}, {"name": "only", "image": "i:1"}]})
    await after({"containers": [{"name": "only", "image": "i:3"}]}, MERGE)
    await s.patch("deployments/web", {"spec": {"template": {"spec": None}}}, STRATEGIC)
    await s.quiet.post("configmaps", a_config_map("kept", finalizers=["spotalis.io/a"]))
    await s.patch("configmaps/kept", {"metadata": {"finalizers": ["spotalis.io/b"]}}, STRATEGIC)
    gone = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["spotalis.io/a"]}}
    await s.patch("configmaps/kept", gone, STRATEGIC)


async def server_side_apply(s: Session) -> None:
    where = "configmaps/settings"

    def wanted(**data: str) -> Json:
        named = {"name": "settings", "labels": {"app": "web"}}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": data}

    await s.patch(where, wanted(a="1"), APPLY)
    await s.patch(where, wanted(a="1", b="1"), APPLY, fieldManager="one")
    await s.patch(where, wanted(a="1", b="1"), APPLY, fieldManager="one")
    await s.patch(where, wanted(c="1"), APPLY, fieldManager="two")
    await s.patch(where, wanted(a="1"), APPLY, fieldManager="two")
    await s.patch(where, wanted(a="2"), APPLY, fieldManager="two")
    await s.patch(where, wanted(a="2", b="2"), APPLY, fieldManager="two")
    await s.patch(where, wanted(a="2"), APPLY, fieldManager="two", force="true")
    await s.patch(where, wanted(a="1"), APPLY, fieldManager="one")
    await s.patch(where, wanted(), APPLY, fieldManager="one")
    await s.patch(where, wanted(), APPLY, fieldManager="two")
    await s.get(where)
    await s.patch(where, {**wanted(), "kind": "Secret"}, APPLY, fieldManager="one")
    await s.patch(where, {"data": {}}, APPLY, fieldManager="one")
    await s.patch(where, wanted(a="1"), APPLY, fieldManager="one", dryRun="All")
    await s.send("PATCH", where, b"[1]", content_type=APPLY, fieldManager="one")
    old = wanted(a="5")
    old["metadata"]["resourceVersion"] = "1"
    await s.patch(where, old, APPLY, fieldManager="one")
    await s.patch(where, old, APPLY, fieldManager="one", force="true")


async def apply_after_others_wrote(s: Session) -> None:
    """Fields that were created or updated plainly belong to someone, too."""
    where = "configmaps/settings"
    named = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}
    await s.post("configmaps", a_config_map("settings", {"a": "1"}), fieldManager="creator")
    await s.patch(where, {**named, "data": {"a": "1"}}, APPLY, fieldManager="one")
    await s.patch(where, {**named, "data": {"a": "2"}}, APPLY, fieldManager="one")
    await s.patch(where, {**named, "data": {"a": "2"}}, APPLY, fieldManager="one", force="true")
    await s.patch(where, {"data": {"a": "3"}}, fieldManager="updater")
    await s.patch(where, {**named, "data": {"a": "2"}}, APPLY, fieldManager="one")
    await s.patch(where, named, APPLY, fieldManager="one")


async def apply_to_lists(s: Session) -> None:
    named = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}}
    pod = a_pod("pod")
    await s.patch("pods/pod", pod, APPLY, fieldManager="one")
    condition = {"type": "spotalis.io/Mine", "status": "True"}
    mine = {**named, "status": {"conditions": [condition]}}
    await s.patch("pods/pod/status", mine, APPLY, fieldManager="two")
    other = {**named, "status": {"conditions": [{**condition, "status": "False"}]}}
    await s.patch("pods/pod/status", other, APPLY, fieldManager="three")
    await s.patch("pods/pod/status", {**named, "status": {}}, APPLY, fieldManager="two")
    await s.patch("pods/nothing/status", mine, APPLY, fieldManager="two")


SCRIPTS = (
    json_patches,
    merge_patches,
    strategic_patches,
    server_side_apply,
    apply_after_others_wrote,
    apply_to_lists,
)
