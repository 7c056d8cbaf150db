"""JSON patches, merge patches and strategic merge patches.

Server-side apply is not supported: Spotalis does not use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from spotalis.embedded.objects.copies import deep_copy
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server import errors
from spotalis.embedded.server.merge_keys import SETS, merge_key

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
Json: TypeAlias = Any


class PatchFailed(Exception):
    """The patch cannot be applied to this document."""


def patched(document: Object, body: Json, patch_type: str) -> Object:
    """Apply a patch to a copy of ``document``.

    Raises:
        ApiError: 400, ``body`` is not a patch; 415, the type is not supported; 422, the patch
            cannot be applied.
    """
    if patch_type == JSON:
        if not isinstance(body, list) or not all(isinstance(one, dict) for one in body):
            message = (
                "error decoding patch: json: cannot unmarshal object into Go value of type "
                "[]handlers.jsonPatchOp"
            )
            raise errors.bad_request(message)
        try:
            result: Object = json_patch(document, body)
        except PatchFailed:
            raise errors.unprocessable() from None
        return result
    if not isinstance(body, dict):
        why = "json: cannot unmarshal array into Go value of type map[string]interface {}"
        raise errors.bad_request(f"error decoding patch: {why}")
    if patch_type == MERGE:
        merged: Object = merge(document, body)
        return merged
    if patch_type == STRATEGIC:
        return strategic_merge(document, body)
    raise errors.unsupported_media_type()


def merge(document: Json, patch: Json) -> Json:
    """Apply a JSON merge patch (RFC 7386): null removes, objects merge, other values replace."""
    if not isinstance(patch, dict):
        return deep_copy(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic_merge(document: Object, patch: Object) -> Object:
    """Apply a strategic merge patch: like a merge patch, but known lists merge item by item.

    Supported directives: ``$patch: delete`` and ``replace``, ``$retainKeys``,
    ``$deleteFromPrimitiveList/...``, and ``$setElementOrder/...`` of lists that are in the patch.
    """
    if patch.get("$patch") == "replace":
        return {key: deep_copy(value) for key, value in patch.items() if key != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    result = dict(document)
    if "$retainKeys" in patch:
        kept = set(patch["$retainKeys"])
        result = {key: value for key, value in result.items() if key in kept}
    for key, value in patch.items():
        if key.startswith("$"):
            _apply_directive(result, key, value)
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            old = result.get(key)
            result[key] = strategic_merge(old if isinstance(old, dict) else {}, value)
        elif isinstance(value, list):
            order = patch.get(f"$setElementOrder/{key}")
            result[key] = _merge_lists(key, result.get(key) or [], value, order)
        else:
            result[key] = value
    return result


def _apply_directive(result: Object, directive: str, value: Json) -> None:
    name, _, field = directive.partition("/")
    if name == "$deleteFromPrimitiveList":
        result[field] = [one for one in result.get(field) or () if one not in value]


def _merge_lists(
    field: str, old: list[Json], patch: list[Json], order: list[Json] | None
) -> list[Json]:
    if any(isinstance(one, dict) and one.get("$patch") == "replace" for one in patch):
        return [deep_copy(one) for one in patch if one.get("$patch") != "replace"]
    if field in SETS:
        union = [*old, *(one for one in patch if one not in old)]
        return _ordered(union, patch if order is None else order, old, lambda one: one)
    key = merge_key(field, patch)
    if not key:
        return [deep_copy(one) for one in patch]
    result = list(old)
    for one in patch:
        if key not in one:
            fields = " ".join(f"{name}:{one[name]}" for name in sorted(one))
            message = f"map: map[{fields}] does not contain declared merge key: {key}"
            raise errors.ApiError(500, "", message)
        place = next((at for at, item in enumerate(result) if item.get(key) == one[key]), None)
        if one.get("$patch") == "delete":
            result = [item for item in result if item.get(key) != one[key]]
        elif place is None:
            result.append(strategic_merge({}, one))
        else:
            result[place] = strategic_merge(result[place], one)
    return _ordered(result, patch if order is None else order, old, lambda one: one.get(key))


def _ordered(
    merged: list[Json], wanted: list[Json], old: list[Json], key: Callable[[Json], Json]
) -> list[Json]:
    """Sort a merged list: as in ``wanted``, with the other items where they were.

    New items come before items that the patch does not contain.
    """
    order, before = [key(one) for one in wanted], [key(one) for one in old]
    named = sorted((o for o in merged if key(o) in order), key=lambda one: order.index(key(one)))
    others = [one for one in merged if key(one) not in order]
    result: list[Json] = []
    while named and others:
        one, other = key(named[0]), key(others[0])
        was_before = one in before and other in before
        other_first = was_before and before.index(other) < before.index(one)
        result.append(others.pop(0) if other_first else named.pop(0))
    return [*result, *named, *others]


def json_patch(document: Json, operations: list[Object]) -> Json:
    """Apply a JSON patch (RFC 6902) to a copy, as a whole or not at all.

    Left out: the operations ``move`` and ``copy``.

    Raises:
        PatchFailed: an operation is malformed or not supported, or cannot be applied; a test fails.
    """
    result = deep_copy(document)
    for operation in operations:
        kind = operation.get("op")
        perform = _OPERATIONS.get(kind) if isinstance(kind, str) else None
        if perform is None or not isinstance(operation.get("path"), str):
            raise PatchFailed(f"not an operation: {operation}")
        result = perform(result, operation)
    return result


def _pointer(text: Json) -> list[str]:
    """The steps of a JSON pointer (RFC 6901)."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchFailed(f"not a pointer: {text!r}")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _read(document: Json, steps: list[str]) -> Json:
    for step in steps:
        if isinstance(document, list):
            document = document[_index(step, len(document) - 1)]
        elif isinstance(document, dict) and step in document:
            document = document[step]
        else:
            raise PatchFailed(f"nothing at {step!r}")
    return document


def _index(step: str, largest: int) -> int:
    if not (step.isascii() and step.isdigit()) or (len(step) > 1 and step[0] == "0"):
        raise PatchFailed(f"not an index: {step!r}")
    if int(step) > largest:
        raise PatchFailed(f"no item {step}")
    return int(step)


def _value(operation: Object) -> Json:
    if "value" not in operation:
        raise PatchFailed(f"no value: {operation}")
    return deep_copy(operation["value"])


def _insert(document: Json, steps: list[str], value: Json) -> Json:
    if not steps:
        return value
    parent, last = _read(document, steps[:-1]), steps[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise PatchFailed(f"nothing can be added at {last!r}")
    return document


def _add(document: Json, operation: Object) -> Json:
    return _insert(document, _pointer(operation["path"]), _value(operation))


def _remove(document: Json, operation: Object) -> Json:
    steps = _pointer(operation["path"])
    try:
        if not steps:
            raise PatchFailed("the whole document cannot be removed")
        parent, last = _read(document, steps[:-1]), steps[-1]
        _read(parent, [last])
        del parent[int(last) if isinstance(parent, list) else last]
    except PatchFailed:
        key = operation["path"].rpartition("/")[2]
        raise PatchFailed(
            f"error in remove for path: '{operation['path']}': Unable to remove nonexistent key: "
            f"{key}: missing value"
        ) from None
    return document


def _replace(document: Json, operation: Object) -> Json:
    steps = _pointer(operation["path"])
    if not steps:
        return _value(operation)
    parent, last = _read(document, steps[:-1]), steps[-1]
    if not isinstance(parent, dict):  # in an object, kube-apiserver treats "replace" as "add"
        _read(parent, [last])
    parent[int(last) if isinstance(parent, list) else last] = _value(operation)
    return document


def _test(document: Json, operation: Object) -> Json:
    found = _read(document, _pointer(operation["path"]))
    if _sorted(found) != _sorted(_value(operation)):
        raise PatchFailed(f"the test of {operation['path']} failed")
    return document


def _sorted(value: Json) -> bytes:
    return msgspec.json.encode(value, order="sorted")


_OPERATIONS: dict[str, Callable[[Json, Object], Json]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "test": _test,
}
