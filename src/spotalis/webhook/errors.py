"""Why a request gets no review: each error has a status, a code and words."""

from __future__ import annotations

from collections.abc import Mapping


class RequestRejected(Exception):
    """The request is answered with an HTTP error and the error JSON.

    ``close`` says whether the connection ends with the answer, which it must where the rest of
    the request is not going to be read.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details or {}
        self.headers = headers or {}
        self.close = close


class InvalidAdmissionReview(RequestRejected):
    """The body is no AdmissionReview that can be answered: HTTP 400.

    Raised by whoever reads the body (the ``Answer`` of :class:`spotalis.webhook.server`).
    """

    def __init__(self, message: str, details: Mapping[str, object] | None = None) -> None:
        super().__init__(400, "INVALID_REQUEST", message, details=details)


class NotLeader(RequestRejected):
    """Another replica takes us for the leader, and we are not: HTTP 421."""

    def __init__(self) -> None:
        super().__init__(421, "NOT_THE_LEADER", "this replica does not lead")
