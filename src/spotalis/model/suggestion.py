"""Suggestions for unknown words in error messages."""

from __future__ import annotations

from collections.abc import Iterable


def find_similar(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most similar to ``word``; None if none is similar."""
    import difflib  # `spotalis --help` needs none of it

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)


def did_you_mean(word: str, known: Iterable[str], *, quote: str = "`") -> str:
    """The end of a sentence: ``; did you mean `resync`?``, or empty if no word is similar."""
    similar = find_similar(word, known)
    return suggest(similar, quote=quote) if similar else ""


def suggest(answer: str, *, quote: str = "`") -> str:
    """The end of a sentence that suggests ``answer``."""
    return f"; did you mean {quote}{answer}{quote}?"
