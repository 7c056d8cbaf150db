"""Read, set and remove status conditions.

Lists are replaced instead of changed, because stored objects share them.
"""

from __future__ import annotations

from spotalis.embedded.objects.resources import Object


def condition(obj: Object, kind: str) -> Object | None:
    """The condition of type ``kind`` in ``obj.status``, or None."""
    for found in (obj.get("status") or {}).get("conditions") or ():
        if found.get("type") == kind:
            result: Object = found
            return result
    return None


def is_true(obj: Object, kind: str) -> bool:
    """Whether the condition is present and its status is ``True``."""
    found = condition(obj, kind)
    return found is not None and found.get("status") == "True"


def put(obj: Object, kind: str, status: str, now: str, **fields: str) -> None:
    """Set a condition in place, or append it.

    ``now`` becomes the transition time if the status changes. ``fields`` with empty text are left
    out.
    """
    conditions = list((obj.setdefault("status", {})).get("conditions") or ())
    new: Object = {"type": kind, "status": status, "lastTransitionTime": now}
    new.update({name: value for name, value in fields.items() if value})
    for place, old in enumerate(conditions):
        if old.get("type") == kind:
            if old.get("status") == status and old.get("lastTransitionTime"):
                new["lastTransitionTime"] = old["lastTransitionTime"]
            conditions[place] = new
            break
    else:
        conditions.append(new)
    obj["status"]["conditions"] = conditions


def drop(status: Object, kind: str) -> None:
    """Remove a condition from a status, and the list if it becomes empty."""
    kept = [c for c in status.get("conditions") or () if c.get("type") != kind]
    if kept:
        status["conditions"] = kept
    else:
        status.pop("conditions", None)
