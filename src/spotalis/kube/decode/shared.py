"""Values that are equal in many objects: each exists once, as long as an object uses it.

Tenants choose these values. A cache that keeps them after their last use would grow with every
change of a label, up to its number of entries times the size of an object (1.5 MiB). Many objects
with large values would fill the memory too: those of one namespace have a share of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from typing import Generic, TypeVar
from weakref import ReferenceType

import msgspec

T = TypeVar("T")

_DIGEST_BYTES = 16
"""128 bits: two texts with the same digest cannot be found."""
_BYTES_PER_STRING = 64
"""A string takes 49 bytes more than its characters, and 8 to 50 in the tuple or dict that holds it
(CPython 3.11 on 64 bits, ``sys.getsizeof``)."""


class _Kept(ReferenceType[T]):
    """A weak reference to a value, with what it takes of the share of its namespace."""

    __slots__ = ("key", "namespace", "size")

    key: bytes
    namespace: str
    size: int


class SharedValues(Generic[T]):
    """The decoded values of one kind, by the digest of their JSON; values must allow weak
    references."""

    def __init__(self, decode: Callable[[bytes], T | None], max_bytes: float) -> None:
        """Nothing is decoded yet.

        Args:
            decode: returns None if the JSON says nothing that is kept.
            max_bytes: the share of each namespace.
        """
        self._decode = decode
        self._max_bytes = max_bytes
        self._kept: dict[bytes, _Kept[T]] = {}
        self._used: Counter[str] = Counter()
        """Estimated bytes by namespace."""

    def find(self, raw: bytes | msgspec.Raw, namespace: str) -> T | None:
        """The value of this JSON; equal JSON in one namespace returns the same object.

        None if it says nothing, or if the namespace has used up its share. What was not kept for
        this reason is kept when the object changes after other values have been dropped.

        Raises:
            DECODE_ERRORS: it cannot be decoded.
        """
        raw = bytes(raw)
        # Names of namespaces have at most 63 characters (RFC 1123 label).
        key = blake2b(raw, digest_size=_DIGEST_BYTES, key=namespace.encode()[:64]).digest()
        kept = self._kept.get(key)
        found = None if kept is None else kept()
        if found is not None:
            return found
        found = self._decode(raw)
        if found is None:
            return None
        size = estimated_bytes(found)
        if self._used[namespace] + size > self._max_bytes:
            return None
        kept = _Kept(found, self._release)
        kept.key, kept.namespace, kept.size = key, namespace, size
        self._kept[key] = kept
        self._used[namespace] += size
        return found

    def _release(self, kept: ReferenceType[T]) -> None:
        assert isinstance(kept, _Kept)
        if self._kept.get(kept.key) is kept:
            del self._kept[kept.key]
        self._used[kept.namespace] -= kept.size
        if not self._used[kept.namespace]:
            del self._used[kept.namespace]

    def __len__(self) -> int:
        return len(self._kept)


def estimated_bytes(value: object) -> int:
    """About what a value of dicts, lists, structs and strings takes in memory."""
    text = msgspec.json.encode(value)
    return len(text) + _BYTES_PER_STRING * (text.count(b'"') // 2 + text.count(b"{"))
