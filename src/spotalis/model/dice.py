"""Chance as an argument."""

from __future__ import annotations

from typing import Protocol


class Dice(Protocol):
    """Where jitter, names and ties come from; a ``random.Random`` is one."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """A whole number of ``k`` random bits."""
        ...
