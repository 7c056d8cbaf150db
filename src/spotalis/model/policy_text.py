"""The length of the values that owners write: longer ones are neither parsed nor kept."""

from __future__ import annotations

MAX_VALUE_LENGTH = 256
"""Characters of a policy value. Valid values are shorter: the longest are schedules and time
zones, of up to about 100. An annotation may have 256 KiB (API server, TotalAnnotationSizeLimitB),
which would be parsed again at every change and in every admission request."""
_SHOWN = 40


class TooLong(str):
    """The beginning of a text that is longer than MAX_VALUE_LENGTH, with the length of the text."""

    __slots__ = ("length",)
    length: int


def cut(text: str) -> str:
    """The text itself, or a :class:`TooLong` in its place."""
    if isinstance(text, TooLong) or len(text) <= MAX_VALUE_LENGTH:
        return text
    beginning = TooLong(f"{text[:_SHOWN]}...")
    beginning.length = len(text)
    return beginning


def check_length(text: str) -> str:
    """The text itself.

    Raises:
        ValueError: it is too long to be parsed; names its length and the limit.
    """
    found = cut(text)
    if isinstance(found, TooLong):
        raise ValueError(f"must have at most {MAX_VALUE_LENGTH} characters; it has {found.length}")
    return text
