"""Reasons for rejecting a request: each has a code, which determines the HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Self


class ErrorCode(StrEnum):
    """The codes in the JSON error body, each with its HTTP status."""

    status: int

    INVALID_REQUEST = "INVALID_REQUEST", 400
    CLIENT_DISCONNECTED = "CLIENT_DISCONNECTED", 400
    """Only counted in metrics: the client disconnected."""
    FORBIDDEN = "FORBIDDEN", 403
    NOT_FOUND = "NOT_FOUND", 404
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED", 405
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT", 408
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE", 413
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE", 415
    NOT_THE_LEADER = "NOT_THE_LEADER", 421
    INTERNAL_ERROR = "INTERNAL_ERROR", 500
    OVERLOADED = "OVERLOADED", 503
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED", 504

    def __new__(cls, code: str, status: int) -> Self:
        """The code is the value; the status is an attribute."""
        member = str.__new__(cls, code)
        member._value_, member.status = code, status
        return member


class RequestRejected(Exception):
    """The request is answered with an HTTP error and the JSON error body.

    ``close`` closes the connection after the response, which is necessary if the rest of the
    request is not read.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}
        self.headers = headers or {}
        self.close = close


class InvalidAdmissionReview(RequestRejected):
    """The body is not a valid AdmissionReview."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.INVALID_REQUEST, message)


class NotLeader(RequestRejected):
    """Another instance forwarded a request, but this instance does not lead."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.NOT_THE_LEADER, "this instance is not the leader")
