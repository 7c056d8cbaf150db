"""Errors that several packages raise or report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from spotalis.model.timestamps import format_time


class PortInUse(Exception):
    """Another process already listens on the address and port."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__(f"port {port} on {address or 'every address'} is already in use")
        self.address = address
        self.port = port


def error_json(
    code: str, message: str, *, at: datetime, details: Mapping[str, object] | None = None
) -> bytes:
    """The JSON body of an HTTP error (docs/reference/endpoints.md).

    Args:
        code: for programs, one of a small fixed set, in capitals: ``INVALID_REQUEST``.
        message: for humans, one line.
        at: the time of the error; aware.
        details: further JSON values.
    """
    error = {"code": code, "message": message, "details": dict(details or {})}
    return msgspec.json.encode({"error": error, "timestamp": format_time(at)})


class NamespaceMissing(Exception):
    """The operator's own namespace, which holds its Lease and its ledgers, does not exist."""

    def __init__(self, namespace: str) -> None:
        super().__init__(f"namespace {namespace} does not exist")
        self.namespace = namespace
