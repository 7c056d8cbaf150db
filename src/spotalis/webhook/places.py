"""Limits how many admission requests wait at the same time."""

from __future__ import annotations

from collections import Counter


class Places:
    """Places for requests that wait, with a share for each namespace.

    A namespace gets a place only while more places are free than it holds: alone it gets half of
    them, and the others still find some.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._taken: Counter[str] = Counter()

    def take(self, namespace: str) -> bool:
        """Take a place; returns False at the limit. The caller calls :meth:`release` later."""
        if self._taken[namespace] >= self._free:
            return False
        self._taken[namespace] += 1
        self._free -= 1
        return True

    def release(self, namespace: str) -> None:
        """Release a place that was taken for the namespace."""
        self._taken[namespace] -= 1
        self._free += 1
        if not self._taken[namespace]:
            del self._taken[namespace]
