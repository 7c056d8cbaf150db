"""What was asked and answered on one bed, in a form that can be compared with the other's.

A history is a list of steps, each a JSON object. What no two clusters have in common (UIDs,
versions, times, generated names, hashes) becomes a symbol, numbered in the order in which it first
appears: the same symbol in two places means the same value there. What is left out, and why, is
the table ``NOISE`` and the rules of :class:`_Symbols`; everything else is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
History = list[Json]

NOISE = {
    "managedFields": "who wrote which field, by user agent; Spotalis reads it nowhere",
    "selfLink": "gone since Kubernetes 1.20",
}
"""Fields that are dropped wherever they stand, with the reason."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"20(?:2[6-9]|[3-9]\d)-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
"""Of a bed's clock. Scripts write stamps of 2020, which stay as they are."""
_VERSION = re.compile(
    r"(?i)((?:resource ?version|record|current)\b[^0-9\n<]{0,40})(\d+)( \(\d+\))?"
)
"""A version inside a message; behind "too old" stands the oldest one there is."""
_URL = re.compile(r"https://[^/\"]+/")
_HASHES = ("pod-template-hash", "controller-revision-hash", "controller.kubernetes.io/hash")
_REVISIONS = ("currentRevision", "updateRevision")
_REPLICA_SET = re.compile(r'ReplicaSet "\S+-([a-z0-9]+)"')
_LONGEST_BASE = 58
"""Of a generated name: what is longer is cut."""
_ADDRESSES = ("podIP", "hostIP", "ip")


def normalised(history: History) -> History:
    """The history with symbols in place of what cannot be the same on two beds."""
    symbols = _Symbols()
    for step in history:
        symbols.learn(step)
    return [symbols.written(step) for step in history]


class _Symbols:
    """The symbols of one history."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._names: dict[str, str] = {}
        """What is replaced as a part of any text: generated names and hashes."""

    def learn(self, value: Any) -> None:
        """Find the generated names and hashes in a step."""
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
            if base and name and name.startswith(base[:_LONGEST_BASE]):
                self._name(name[len(base[:_LONGEST_BASE]) :], "generated")

    def written(self, value: Any, key: str = "") -> Any:
        """``value``, which stands under ``key``, in symbols."""
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, list):
            items = [self.written(one, key) for one in value]
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
        listed = isinstance(value.get("items"), list) or value.get("type") == "BOOKMARK"
        for key, one in sorted(value.items()):  # symbols are numbered in this order
            if key in NOISE:
                continue
            if key == "continue" and one:
                result[key] = "<continue>"
            elif listed and key in ("metadata", "object"):
                # A list is as of the version of the whole store, which others write to.
                result[key] = self.written(_without_version(one), key)
            else:
                result[key] = self.written(one, key)
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
    """One place at which two histories are not the same."""

    step: int
    did: str
    path: str
    """Where in the step, as in ``body.metadata.labels``."""
    embedded: Any
    real: Any

    def __str__(self) -> str:
        return (
            f"step {self.step} ({self.did}) {self.path}:\n"
            f"    embedded: {self.embedded!r}\n    real:     {self.real!r}"
        )


def differences(embedded: History, real: History) -> list[Difference]:
    """Every place at which two normalised histories are not the same, in order."""
    found = []
    for number in range(max(len(embedded), len(real))):
        one = embedded[number] if number < len(embedded) else {}
        other = real[number] if number < len(real) else {}
        did = str((one or other).get("did", ""))
        for path, ours, theirs in _unequal(one, other, ""):
            found.append(Difference(number, did, path, ours, theirs))
    return found


def _unequal(one: Any, other: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        if one.get("kind") != other.get("kind"):  # an object and a refusal: one difference
            yield path, _brief(one), _brief(other)
            return
        for key in sorted({*one, *other}):
            below = f"{path}.{key}" if path else key
            yield from _unequal(one.get(key, ABSENT), other.get(key, ABSENT), below)
    elif isinstance(one, list) and isinstance(other, list):
        for at in range(max(len(one), len(other))):
            ours = one[at] if at < len(one) else ABSENT
            theirs = other[at] if at < len(other) else ABSENT
            yield from _unequal(ours, theirs, f"{path}[{at}]")
    elif one != other or type(one) is not type(other):
        yield path, one, other


def _brief(document: Json) -> Any:
    """What a refusal says, or an object without its head."""
    if document.get("kind") == "Status":
        return {key: document[key] for key in ("code", "reason", "message") if key in document}
    return document
