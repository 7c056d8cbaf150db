"""Server-side apply: each manager says all that it wants, and owns what it said.

Simplified against the real server: only managers that apply are tracked (a plain update owns
nothing; it takes the fields that it changes from those who applied them); ownership lives in
``metadata.managedFields`` in the same form, one entry for each manager; schemas are the table in
:mod:`spotalis.embedded.server.merge_keys`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec

from spotalis.embedded.objects.copies import deep_copy
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server import errors
from spotalis.embedded.server.errors import ApiError, Cause
from spotalis.embedded.server.merge_keys import identity, map_keys

Fields: TypeAlias = dict[str, Any]
"""Ownership as FieldsV1: ``{"f:data": {"f:a": {}}}``, items of lists as ``k:{"name":"x"}``."""
Path: TypeAlias = tuple[str, ...]
_OWNED_BY_NOBODY = ("apiVersion", "kind")
_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")


def applied(
    live: Object | None, wanted: Object, manager: str, now: str, *, force: bool, subresource: str
) -> Object:
    """The object that comes of ``manager`` applying ``wanted`` to ``live``.

    Args:
        live: as it is; None where it has to be created.
        wanted: all that the manager wants, of a status only with ``subresource`` status.
        manager: the field manager's name.
        now: the time, as the API writes it.
        force: take fields from other managers.
        subresource: ``""`` or ``status``.

    Raises:
        ApiError: 409, fields have another value and another manager.
    """
    wanted = _relevant(wanted, subresource)
    mine = fields_of(wanted)
    if live is None:
        created = deep_copy(wanted)
        return _with_managers(created, [_entry(wanted, manager, mine, now, subresource)])
    entries = [deep_copy(one) for one in live["metadata"].get("managedFields") or ()]
    own = next((one for one in entries if _is(one, manager, subresource)), None)
    others = [one for one in entries if one is not own and one.get("operation") == "Apply"]
    _settle(live, wanted, mine, others, force=force)
    result = merged(live, wanted)
    kept = {
        path for one in (mine, *(other["fieldsV1"] for other in others)) for path in leaves(one)
    }
    for path in leaves(own["fieldsV1"]) if own else ():
        if path not in kept and not any(other[: len(path)] == path for other in kept):
            result = without(result, path)
    entry = _entry(wanted, manager, mine, now, subresource)
    same = own is not None and own["fieldsV1"] == mine
    if same and own is not None and without_managers(result) == without_managers(live):
        return live
    return _with_managers(result, [*(one for one in entries if one is not own), entry])


def disown_changed(new: Object, old: Object) -> None:
    """After a plain update, in place: who applied a field that has changed owns it no longer."""
    entries = new["metadata"].get("managedFields")
    if not entries:
        return
    kept = []
    for entry in entries:
        fields = entry.get("fieldsV1") or {}
        for path in list(leaves(fields)):
            if value_at(new, path) != value_at(old, path):
                fields = _fields_without(fields, path)
        if fields:
            kept.append({**entry, "fieldsV1": fields})
    new["metadata"]["managedFields"] = kept
    if not kept:
        del new["metadata"]["managedFields"]


def fields_of(value: Any, field: str = "") -> Fields:
    """The fields that an object says something about."""
    if isinstance(value, dict):
        return {
            f"f:{key}": fields_of(item, key) for key, item in value.items() if _counts(key, field)
        }
    keys = map_keys(field, value) if isinstance(value, list) else ()
    if not keys or not value:
        return {}
    return {_item_name(item, keys): {".": {}, **fields_of(item)} for item in value}


def leaves(fields: Fields, above: Path = ()) -> Iterator[Path]:
    """The paths to what is owned: ``("f:data", "f:a")``."""
    for name, below in fields.items():
        if not below:
            yield (*above, name)
        else:
            yield from leaves(below, (*above, name))


def merged(live: Any, wanted: Any, field: str = "") -> Any:
    """``live`` with everything that ``wanted`` says."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        result = dict(live)
        for key, value in wanted.items():
            result[key] = merged(live[key], value, key) if key in live else deep_copy(value)
        return result
    if isinstance(live, list) and isinstance(wanted, list):
        keys = map_keys(field, wanted)
        if keys:
            items = {identity(one, keys): one for one in live}
            for one in wanted:
                known = items.get(identity(one, keys))
                items[identity(one, keys)] = deep_copy(one) if known is None else merged(known, one)
            return list(items.values())
        if field == "finalizers":
            return [*live, *(one for one in wanted if one not in live)]
    return deep_copy(wanted)


def value_at(value: Any, path: Path) -> Any:
    """What stands at a path, or None."""
    for step in path:
        if step == ".":
            return value is not None
        if step.startswith("f:"):
            value = value.get(step[2:]) if isinstance(value, dict) else None
        else:
            value = _item(value, step)
        if value is None:
            return None
    return value


def without(value: Any, path: Path) -> Any:
    """``value`` without what stands at a path; objects and items that this empties go too."""
    step, rest = path[0], path[1:]
    if step == ".":
        return value
    if step.startswith("k:"):
        if not isinstance(value, list):
            return value
        item = _item(value, step)
        less = without(item, rest) if rest and rest != (".",) and item is not None else None
        return [less if one is item else one for one in value if one is not item or less]
    key = step[2:]
    if not isinstance(value, dict) or key not in value:
        return value
    result = dict(value)
    less = without(value[key], rest) if rest else None
    if less:
        result[key] = less
    else:
        del result[key]
    return result


def _relevant(wanted: Object, subresource: str) -> Object:
    """What this apply may own: the identity, and of the rest the status or everything but it."""
    metadata = wanted.get("metadata") or {}
    same = ("name", "namespace")
    kept = {key: metadata[key] for key in (*same, *_METADATA) if key in metadata}
    result = {key: value for key, value in wanted.items() if key in _OWNED_BY_NOBODY}
    result["metadata"] = kept
    if subresource:
        result["metadata"] = {key: kept[key] for key in same if key in kept}
        return result | {key: value for key, value in wanted.items() if key == subresource}
    rest = (*_OWNED_BY_NOBODY, "metadata", "status")
    return result | {key: value for key, value in wanted.items() if key not in rest}


def _counts(key: str, field: str) -> bool:
    return (
        key not in _OWNED_BY_NOBODY
        if not field
        else not (field == "metadata" and key in ("name", "namespace"))
    )


def _settle(
    live: Object, wanted: Object, mine: Fields, others: list[Object], *, force: bool
) -> None:
    """Find who else owns what would change: refuse, or take it from them (in place)."""
    clashes: list[tuple[Object, Path]] = []
    claimed = set(leaves(mine))
    for other in others:
        for path in leaves(other["fieldsV1"]):
            said = path in claimed and path[-1] != "."
            made = value_at(live, path) is None and any(
                len(one) > len(path) and one[: len(path)] == path for one in claimed
            )
            if made or (said and _changes(value_at(live, path), value_at(wanted, path))):
                clashes.append((other, path))
    if not clashes:
        return
    if not force:
        raise _refusal([(_told(other), path) for other, path in clashes])
    for other, path in clashes:
        other["fieldsV1"] = _fields_without(other["fieldsV1"], path)


def _changes(live: Any, wanted: Any) -> bool:
    """Whether to apply ``wanted`` changes what is there; nothing at all changes no object."""
    return live != wanted and not (wanted == {} and isinstance(live, dict))


def _told(entry: Object) -> str:
    """A manager as messages name it."""
    name, subresource = f'"{entry["manager"]}"', entry.get("subresource")
    return f'{name} with subresource "{subresource}"' if subresource else name


def _refusal(clashes: list[tuple[str, Path]]) -> ApiError:
    causes = [
        Cause("FieldManagerConflict", f"conflict with {manager}", shown(path))
        for manager, path in clashes
    ]
    if len(causes) == 1:
        said = f"1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        said = f"{len(causes)} conflicts: "
        for manager in sorted({manager for manager, _ in clashes}):
            fields = [f"- {shown(path)}" for one, path in clashes if one == manager]
            said += "\n".join([f"conflicts with {manager}:", *fields, ""])
        said = said.rstrip("\n")
    message = f"Apply failed with {said}"
    return ApiError(409, "Conflict", message, causes=causes, details={})


def shown(path: Path) -> str:
    """A path as messages show it: ``.spec.containers[name="c"].image``."""
    text = ""
    for step in path:
        if step.startswith("f:"):
            text += f".{step[2:]}"
        elif step.startswith("k:"):
            keys = msgspec.json.decode(step[2:]).items()
            text += "[" + ",".join(f"{k}={msgspec.json.encode(v).decode()}" for k, v in keys) + "]"
    return text


def _fields_without(fields: Fields, path: Path) -> Fields:
    step, rest = path[0], path[1:]
    result = dict(fields)
    if step not in result:
        return result
    below = _fields_without(result[step], rest) if rest else {}
    if below and set(below) != {"."}:
        result[step] = below
    else:
        del result[step]
    return result


def _item_name(item: Object, keys: tuple[str, ...]) -> str:
    if any(key not in item and key != "protocol" for key in keys):
        missing = next(key for key in keys if key not in item and key != "protocol")
        raise errors.bad_request(f"an item of a list lacks its key {missing!r}: {item}")
    named = dict(zip(keys, identity(item, keys), strict=True))
    return f"k:{msgspec.json.encode(named, order='sorted').decode()}"


def _item(items: Any, step: str) -> Any:
    """The item of a list that ``k:{...}`` names, or None."""
    if not isinstance(items, list):
        return None
    wanted = msgspec.json.decode(step[2:])
    keys = tuple(wanted)
    for one in items:
        if isinstance(one, dict) and identity(one, keys) == tuple(wanted.values()):
            return one
    return None


def _is(entry: Object, manager: str, subresource: str) -> bool:
    return (
        entry.get("manager") == manager
        and entry.get("operation") == "Apply"
        and entry.get("subresource", "") == subresource
    )


def _entry(wanted: Object, manager: str, fields: Fields, now: str, subresource: str) -> Object:
    kept = {key: value for key, value in fields.items() if key != "f:metadata" or value}
    entry = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": wanted.get("apiVersion", ""),
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": kept,
    }
    return {**entry, "subresource": subresource} if subresource else entry


def _with_managers(obj: Object, entries: list[Object]) -> Object:
    owned = [one for one in entries if one.get("fieldsV1")]
    metadata = {**obj["metadata"], "managedFields": owned}
    return {**obj, "metadata": metadata}


def without_managers(obj: Object) -> Object:
    """The object without ``metadata.managedFields``."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}
