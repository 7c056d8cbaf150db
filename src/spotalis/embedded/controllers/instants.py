"""Instants as the API writes them: RFC 3339, UTC (``writes.stamp`` writes them)."""

from __future__ import annotations

from datetime import datetime


def instant(text: str | None) -> datetime | None:
    """The aware datetime that ``text`` means, with its microseconds if it has any; None for none.

    Raises:
        ValueError: it is no RFC 3339 instant.
    """
    return datetime.fromisoformat(text) if text else None
