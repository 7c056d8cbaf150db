"""Split a stream of bytes into lines."""

from __future__ import annotations


class LineTooLong(Exception):
    """A line exceeds the limit."""


class LineSplitter:
    r"""Splits chunks at ``\n`` only.

    Text splitters also split at U+0085 and similar characters, which Go does not escape: an
    annotation with one of them would break every watch of its pod.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes; the remainder is kept for the next chunk.

        Raises:
            LineTooLong: the remainder has more than ``limit`` bytes.
        """
        *ends, rest = chunk.split(b"\n")
        if ends and self._pieces:
            ends[0] = b"".join((*self._pieces, ends[0]))
            self._pieces.clear()
            self._size = 0
        if rest:
            self._pieces.append(rest)
            self._size += len(rest)
            if self._size > self._limit:
                raise LineTooLong(f"a line of more than {self._limit} bytes")
        return ends
