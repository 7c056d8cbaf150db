"""Owner references and garbage collection."""

from __future__ import annotations

from typing import Any

from tests.conformance.history import Json
from tests.conformance.objects import a_config_map
from tests.conformance.session import Session


def _owner(owner: Json, **more: Any) -> Json:
    named = {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", **named, **more}


async def _create_pair(
    s: Session, *, blocks: bool = False, finalizers: list[str] | None = None
) -> Json:
    """Create an owner and a child."""
    owner: Json = (await s.quiet.post("configmaps", a_config_map("owner"))).body
    reference = _owner(owner, **({"blockOwnerDeletion": True} if blocks else {}))
    kept: dict[str, Any] = {"finalizers": finalizers} if finalizers else {}
    child = a_config_map("child", ownerReferences=[reference], **kept)
    await s.quiet.post("configmaps", child)
    return owner


async def background(s: Session) -> None:
    await _create_pair(s)
    await s.delete("configmaps/owner", {"propagationPolicy": "Background"})
    await s.until_gone("configmaps/child")
    await _create_pair(s)
    await s.delete("configmaps/owner")
    await s.until_gone("configmaps/child")


async def orphans(s: Session) -> None:
    await _create_pair(s)
    await s.delete("configmaps/owner", {"propagationPolicy": "Orphan"})
    await s.until_gone("configmaps/owner")
    await s.get("configmaps/child")


async def foreground(s: Session) -> None:
    await _create_pair(s, blocks=True, finalizers=["spotalis.io/x"])
    await s.delete("configmaps/owner", {"propagationPolicy": "Foreground"})
    await s.until("configmaps/child", lambda c: c["metadata"]["deletionTimestamp"], "it is deleted")
    await s.get("configmaps/owner")
    await s.get("configmaps/child")
    await s.quiet.patch("configmaps/child", {"metadata": {"finalizers": None}})
    await s.until_gone("configmaps/owner")


async def foreground_without_blocking(s: Session) -> None:
    await _create_pair(s, finalizers=["spotalis.io/x"])
    await s.delete("configmaps/owner", {"propagationPolicy": "Foreground"})
    await s.until_gone("configmaps/owner")
    await s.until("configmaps/child", lambda c: c["metadata"]["deletionTimestamp"], "it is deleted")
    await s.patch("configmaps/child", {"metadata": {"finalizers": None}})


async def two_owners(s: Session) -> None:
    one = (await s.quiet.post("configmaps", a_config_map("one"))).body
    two = (await s.quiet.post("configmaps", a_config_map("two"))).body
    child = a_config_map("child", ownerReferences=[_owner(one), _owner(two)])
    await s.post("configmaps", child)
    await s.quiet.delete("configmaps/one")
    found = await s.until(
        "configmaps/child", lambda c: len(c["metadata"]["ownerReferences"]) == 1, "one is left"
    )
    s.note("owners", len(found["metadata"]["ownerReferences"]))
    await s.quiet.delete("configmaps/two")
    await s.until_gone("configmaps/child")


async def owners_that_do_not_exist(s: Session) -> None:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "made-up"}
    await s.post("configmaps", a_config_map("child", ownerReferences=[reference]))
    await s.until_gone("configmaps/child")
    owner = (await s.quiet.post("configmaps", a_config_map("owner"))).body
    wrong = {**_owner(owner), "uid": "another"}
    await s.quiet.post("configmaps", a_config_map("child", ownerReferences=[wrong]))
    await s.until_gone("configmaps/child")


async def invalid_references(s: Session) -> None:
    reference: Json = {"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "made-up"}
    both = [{**reference, "controller": True}, {**reference, "uid": "b", "controller": True}]
    await s.post("configmaps", a_config_map("child", ownerReferences=both))
    for field in ("apiVersion", "kind", "name", "uid"):
        less = {key: value for key, value in reference.items() if key != field}
        await s.post("configmaps", a_config_map("child", ownerReferences=[less]))


SCRIPTS = (
    background,
    orphans,
    foreground,
    foreground_without_blocking,
    two_owners,
    owners_that_do_not_exist,
    invalid_references,
)
