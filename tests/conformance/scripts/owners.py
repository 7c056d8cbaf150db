"""Owner references and garbage collection."""

from __future__ import annotations

from tests.conformance.history import Json
from tests.conformance.objects import a_config_map
from tests.conformance.session import Session


def _owner(owner: Json) -> Json:
    named = {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", **named}


async def _create_pair(s: Session) -> None:
    """Create an owner and a child."""
    owner: Json = (await s.quiet.post("configmaps", a_config_map("owner"))).body
    await s.quiet.post("configmaps", a_config_map("child", ownerReferences=[_owner(owner)]))


async def background(s: Session) -> None:
    await _create_pair(s)
    await s.delete("configmaps/owner", {"propagationPolicy": "Background"})
    await s.until_gone("configmaps/child")
    await _create_pair(s)
    await s.delete("configmaps/owner")
    await s.until_gone("configmaps/child")


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


SCRIPTS = (
    background,
    two_owners,
    owners_that_do_not_exist,
)
