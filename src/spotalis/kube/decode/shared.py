"""Values that are equal in many objects: each exists once, as long as an object uses it.

Tenants choose these values. A cache that keeps them after their last use would grow with every
change of a label, up to its number of entries times the size of an object (1.5 MiB).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")

_DIGEST_BYTES = 16
"""128 bits: two texts with the same digest cannot be found."""


class SharedValues(Generic[T]):
    """The decoded values of one kind, by the digest of their JSON; values must allow weak
    references."""

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode = decode
        self._values: WeakValueDictionary[bytes, T] = WeakValueDictionary()

    def get(self, raw: bytes) -> T:
        """The value of this JSON; equal JSON returns the same object.

        Raises:
            DECODE_ERRORS: it cannot be decoded.
        """
        digest = blake2b(raw, digest_size=_DIGEST_BYTES).digest()
        found = self._values.get(digest)
        if found is None:
            found = self._values[digest] = self._decode(raw)
        return found
