"""Timestamps as Kubernetes writes them: RFC 3339, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def format_time(at: datetime) -> str:
    """A ``Time``: whole seconds, such as ``2026-11-30T14:00:00Z``."""
    return _format(at, "seconds")


def format_milli_time(at: datetime) -> str:
    """With milliseconds, for logs."""
    return _format(at, "milliseconds")


def format_micro_time(at: datetime) -> str:
    """A ``MicroTime``, as Leases and Events carry it."""
    return _format(at, "microseconds")


def _format(at: datetime, timespec: str) -> str:
    return at.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
