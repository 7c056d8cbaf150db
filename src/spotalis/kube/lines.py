"""Bytes into lines."""

from __future__ import annotations


class LineTooLong(Exception):
    """The stream has sent more than the limit without an end of line."""


class LineSplitter:
    r"""Splits what comes in pieces at ``\n``, and at nothing else.

    Text splitters also split at U+0085 and its like, which Go does not escape: whoever may
    annotate a pod could stop such a watch.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes; the rest waits for the next.

        Raises:
            LineTooLong: more than ``limit`` bytes are waiting.
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
