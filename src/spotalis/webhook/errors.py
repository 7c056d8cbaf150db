"""Reasons for rejecting a request: each has a code, which determines the HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class ErrorCode(StrEnum):
    """The codes in the JSON error body."""

    INVALID_REQUEST = "INVALID_REQUEST"
    CLIENT_DISCONNECTED = "CLIENT_DISCONNECTED"
    """Only counted in metrics: the client disconnected."""
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    NOT_THE_LEADER = "NOT_THE_LEADER"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    OVERLOADED = "OVERLOADED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"

    @property
    def status(self) -> int:
        """The HTTP status."""
        return _STATUS[self]


_STATUS = {
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.CLIENT_DISCONNECTED: 400,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.REQUEST_TIMEOUT: 408,
    ErrorCode.PAYLOAD_TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.NOT_THE_LEADER: 421,
    ErrorCode.INTERNAL_ERROR: 500,
    ErrorCode.OVERLOADED: 503,
    ErrorCode.DEADLINE_EXCEEDED: 504,
}


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

    def __init__(self, message: str, details: Mapping[str, object] | None = None) -> None:
        super().__init__(ErrorCode.INVALID_REQUEST, message, details=details)


class NotLeader(RequestRejected):
    """Another instance forwarded a request, but this instance does not lead."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.NOT_THE_LEADER, "this instance is not the leader")
