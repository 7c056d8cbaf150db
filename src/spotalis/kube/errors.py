"""Errors that the API server returns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from spotalis.kube.backoff import retry_after_seconds
from spotalis.model.transport import Response

TOO_LARGE_VERSION = "ResourceVersionTooLarge"
DISRUPTION_BUDGET = "DisruptionBudget"


@dataclass(frozen=True, slots=True)
class Cause:
    """One of the ``details.causes`` of a Status."""

    reason: str
    message: str = ""
    field: str = ""


class ApiError(Exception):
    """The API server rejected a request."""

    def __init__(
        self,
        status: int,
        reason: str = "",
        message: str = "",
        causes: tuple[Cause, ...] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"HTTP {status} {reason}: {message}" if reason else f"HTTP {status}")
        self.status = status
        self.reason = reason
        """``reason`` of the Status, such as ``AlreadyExists``."""
        self.message = message
        self.causes = causes
        self.retry_after_seconds = retry_after_seconds

    def has_cause(self, reason: str) -> bool:
        """Whether one of the causes has this reason."""
        return any(cause.reason == reason for cause in self.causes)


class NotFound(ApiError):
    """404: the object or its kind does not exist."""


class Conflict(ApiError):
    """409: a precondition (resourceVersion, UID) does not hold, or the object exists."""


class AlreadyExists(Conflict):
    """409 on create."""


class Gone(ApiError):
    """410, as status or inside a stream: the resourceVersion or continue token has expired."""


class Forbidden(ApiError):
    """403: by RBAC, an admission plugin or a quota."""


class TooManyRequests(ApiError):
    """429: the server is busy, or a PodDisruptionBudget forbids an eviction."""


def error_from(response: Response, now: datetime) -> ApiError:
    """The error of a response with status 400 or more; its body need not be a Status."""
    header = response.headers.get("retry-after", "")
    after = retry_after_seconds(header, now) if header else None
    return error_from_status(response.body, status=response.status, after_seconds=after)


def error_from_status(
    body: bytes | msgspec.Raw, *, status: int = 0, after_seconds: float | None = None
) -> ApiError:
    """The error of a Status; without ``status`` its ``code`` counts."""
    try:
        wire = _STATUS.decode(body)
    except (ValueError, RecursionError):
        wire = _Status(message=bytes(body)[:200].decode("utf-8", "replace"))
    details = wire.details or _Details()
    if after_seconds is None and details.retry_after_seconds:
        after_seconds = float(details.retry_after_seconds)
    code = status or wire.code or 500
    kind = _KINDS.get(code, ApiError)
    if wire.reason in ("Expired", "Gone"):
        kind = Gone
    elif wire.reason == "AlreadyExists":
        kind = AlreadyExists
    causes = tuple(
        Cause(cause.reason or "", cause.message or "", cause.field or "")
        for cause in details.causes or ()
    )
    return kind(code, wire.reason or "", wire.message or "", causes, after_seconds)


_KINDS: dict[int, type[ApiError]] = {
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    429: TooManyRequests,
}


class _Cause(msgspec.Struct):
    reason: str | None = None
    message: str | None = None
    field: str | None = None


class _Details(msgspec.Struct, rename="camel"):
    causes: list[_Cause] | None = None
    retry_after_seconds: int | None = None


class _Status(msgspec.Struct):
    reason: str | None = None
    message: str | None = None
    code: int | None = None
    details: _Details | None = None


_STATUS = msgspec.json.Decoder(_Status)
