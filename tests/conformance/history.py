"""The requests and responses of a script, in a form that can be compared between clusters.

A history is a list of steps, each of which is a JSON object. Values that differ between any two
clusters (UIDs, versions, times, generated names, hashes) become symbols, numbered in the order of
their first use: the same symbol in two places means the same value. The table ``NOISE`` and the
rules of :class:`_Symbols` define what is left out; everything else is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
History = list[Json]

NOISE = {
    "managedFields": "field ownership, which Spotalis does not read",
    "selfLink": "removed in Kubernetes 1.20",
}
"""Fields that are dropped everywhere, with the reason."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"20(?:2[6-9]|[3-9]\d)-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
"""Times of a cluster's clock. The timestamps in scripts are of 2020 and are kept."""
_VERSION = re.compile(
    r"(?i)((?:resource ?version|record|current)\b[^0-9\n<]{0,40})(\d+)( \(\d+\))?"
)
"""A version inside a message; after "too old" follows the oldest version."""
_URL = re.compile(r"https://[^/\"]+/")
_HASHES = ("pod-template-hash", "controller-revision-hash", "controller.kubernetes.io/hash")
_REVISIONS = ("currentRevision", "updateRevision")
_REPLICA_SET = re.compile(r'ReplicaSet "\S+-([a-z0-9]+)"')
_MAX_BASE_LENGTH = 58
"""A longer ``generateName`` is truncated."""
_ADDRESSES = ("podIP", "hostIP", "ip")


def normalized(history: History) -> History:
    """Replace values that cannot be equal on two clusters by symbols."""
    symbols = _Symbols()
    for step in history:
        symbols.collect(step)
    return [symbols.replace(step) for step in history]


class _Symbols:
    """The symbols of one history."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._names: dict[str, str] = {}
        """Generated names and hashes, which are replaced inside of texts too."""

    def collect(self, value: Any) -> None:
        """Collect the generated names and hashes in a step."""
        for document in _documents(value):
            labels = document.get("labels")
            revisions = [labels.get(key) for key in _HASHES] if isinstance(labels, dict) else []
            revisions += [document.get(key) for key in _REVISIONS]
            for revision in revisions:
                if isinstance(revision, str):
                    self._name(revision.rpartition("-")[2], "hash")
            for found in _REPLICA_SET.findall(str(document.get("message", ""))):
                self._name(found, "hash")
            base, name = document.get("generateName"), document.get("name")
            if base and name and name.startswith(base[:_MAX_BASE_LENGTH]):
                self._name(name[len(base[:_MAX_BASE_LENGTH]) :], "generated")

    def replace(self, value: Any, key: str = "") -> Any:
        """Replace the values in ``value``, which is the value of ``key``."""
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, list):
            items = [self.replace(one, key) for one in value]
            by_type = key == "conditions" and all(isinstance(one, dict) for one in value)
            return sorted(items, key=lambda one: str(one.get("type"))) if by_type else items
        if not isinstance(value, str):
            return value
        if key == "resourceVersion" and value.isdigit():
            return self._symbol("version", value)
        if key in _ADDRESSES:
            return "<address>" if value else value
        return self._text(value)

    def _object(self, value: Json) -> Json:
        result = {}
        is_bookmark = value.get("type") == "BOOKMARK"
        is_list = isinstance(value.get("items"), list) or is_bookmark
        for key, one in sorted(value.items()):  # symbols are numbered in this order
            if key in NOISE:
                continue
            if key == "continue" and one:
                result[key] = "<continue>"
            elif is_list and key in ("metadata", "object"):
                # The version of a list is that of the whole store, to which other scripts write.
                kept = _bookmark(one) if is_bookmark else one
                result[key] = self.replace(_without_version(kept), key)
            else:
                result[key] = self.replace(one, key)
        return result

    def _text(self, text: str) -> str:
        text = _TIME.sub("<time>", text)
        text = _UUID.sub(lambda found: self._symbol("uid", found[0]), text)
        text = _URL.sub("https://<host>/", text)
        text = _VERSION.sub(lambda found: found[1] + "<version>", text)
        for name, symbol in self._names.items():
            text = text.replace(name, symbol)
        return text

    def _symbol(self, kind: str, value: str) -> str:
        number = sum(1 for known, _ in self._given if known == kind) + 1
        return self._given.setdefault((kind, value), f"<{kind} {number}>")

    def _name(self, value: str, kind: str) -> None:
        if value not in self._names:
            self._names[value] = self._symbol(kind, value)


def _documents(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
        for one in value.values():
            yield from _documents(one)
    elif isinstance(value, list):
        for one in value:
            yield from _documents(one)


def _bookmark(obj: Json) -> Json:
    """A bookmark without the zero value of its kind, which clients do not read."""
    return {key: obj[key] for key in ("kind", "apiVersion", "metadata")}


def _without_version(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    result = {key: "<store>" if key == "resourceVersion" else one for key, one in value.items()}
    if isinstance(value.get("metadata"), dict):
        result["metadata"] = _without_version(value["metadata"])
    return result


ABSENT = "(absent)"


@dataclass(frozen=True, slots=True)
class Difference:
    """A place at which two histories differ."""

    step: int
    did: str
    path: str
    """The path in the step, as in ``body.metadata.labels``."""
    embedded: Any
    real: Any

    def __str__(self) -> str:
        return (
            f"step {self.step} ({self.did}) {self.path}:\n"
            f"    embedded: {self.embedded!r}\n    real:     {self.real!r}"
        )


def differences(embedded: History, real: History) -> list[Difference]:
    """All differences of two normalized histories, in order."""
    found = []
    for number in range(max(len(embedded), len(real))):
        one = embedded[number] if number < len(embedded) else {}
        other = real[number] if number < len(real) else {}
        did = str((one or other).get("did", ""))
        for path, left, right in _unequal(one, other, ""):
            found.append(Difference(number, did, path, left, right))
    return found


def _unequal(one: Any, other: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        if one.get("kind") != other.get("kind"):  # an object and an error: one difference
            yield path, _brief(one), _brief(other)
            return
        for key in sorted({*one, *other}):
            below = f"{path}.{key}" if path else key
            yield from _unequal(one.get(key, ABSENT), other.get(key, ABSENT), below)
    elif isinstance(one, list) and isinstance(other, list):
        for at in range(max(len(one), len(other))):
            left = one[at] if at < len(one) else ABSENT
            right = other[at] if at < len(other) else ABSENT
            yield from _unequal(left, right, f"{path}[{at}]")
    elif one != other or type(one) is not type(other):
        yield path, one, other


def _brief(document: Json) -> Any:
    """The essence of an error, or the object."""
    if document.get("kind") == "Status":
        return {key: document[key] for key in ("code", "reason", "message") if key in document}
    return document
