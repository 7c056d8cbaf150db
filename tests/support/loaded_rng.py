"""A random number generator with fixed results."""

from __future__ import annotations

import itertools


class LoadedRandom:
    """Returns its values in turn, repeatedly."""

    def __init__(self, *faces: float) -> None:
        self._faces = itertools.cycle(faces or (0.5,))

    def random(self) -> float:
        return next(self._faces)

    def getrandbits(self, k: int, /) -> int:
        return int(self.random() * 2**k)
