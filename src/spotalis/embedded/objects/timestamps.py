"""Timestamps as the Kubernetes API writes them: RFC 3339 in UTC."""

from __future__ import annotations

from datetime import datetime


def stamp(at: datetime) -> str:
    """Format ``at`` (aware, UTC) as ``metav1.Time``, truncated to whole seconds."""
    return f"{at:%Y-%m-%dT%H:%M:%S}Z"


def stamp_micros(at: datetime) -> str:
    """Format ``at`` (aware, UTC) as ``metav1.MicroTime``, with microseconds."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"


def instant(text: str | None) -> datetime | None:
    """Parse a timestamp; returns None for None or empty text.

    Raises:
        ValueError: ``text`` is not an RFC 3339 timestamp.
    """
    return datetime.fromisoformat(text) if text else None
