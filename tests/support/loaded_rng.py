"""Random that show what a test wants."""

from __future__ import annotations

import itertools


class LoadedRandom:
    """Shows its faces in turn, over and over."""

    def __init__(self, *faces: float) -> None:
        self._faces = itertools.cycle(faces or (0.5,))

    def random(self) -> float:
        return next(self._faces)

    def getrandbits(self, k: int, /) -> int:
        return int(self.random() * 2**k)
