"""What every server of the operator says when something is wrong, in one shape."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from spotalis.model.timestamps import format_time


class PortInUse(Exception):
    """Another process already listens on this address and port."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__(f"port {port} on {address or 'every address'} is already in use")
        self.address = address
        self.port = port


def error_json(
    code: str, message: str, *, at: datetime, details: Mapping[str, object] | None = None
) -> bytes:
    """The body of every HTTP error.

    Args:
        code: in capitals, one of a small fixed set, for programs (``INVALID_REQUEST``).
        message: for people; one line.
        at: when, an aware datetime.
        details: whatever helps further; JSON values.
    """
    error = {"code": code, "message": message, "details": dict(details or {})}
    return msgspec.json.encode({"error": error, "timestamp": format_time(at)})


class NamespaceMissing(Exception):
    """The operator's own namespace, where its Lease and its ledgers are, does not exist."""

    def __init__(self, namespace: str) -> None:
        super().__init__(f"namespace {namespace} does not exist")
        self.namespace = namespace
