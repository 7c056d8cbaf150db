"""Failures of a watch, and reports about them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spotalis.kube.errors import TOO_LARGE_VERSION, ApiError, Forbidden, Gone


class WatchProblem(StrEnum):
    """The problem that ended or disturbed a watch."""

    UNDECODABLE = "undecodable"
    """An object could not be decoded and was skipped."""
    EXPIRED = "expired"
    """The resourceVersion has expired, or is ahead of the server: relisting."""
    REJECTED = "rejected"
    """The server returned an error."""
    DENIED = "denied"
    """The account of the operator may not list or watch this."""
    DISCONNECTED = "disconnected"
    """The connection failed, broke or was silent."""
    MALFORMED = "malformed"
    """The stream contained something other than watch events."""
    CLOSED = "closed"
    """The server ended the stream without any event."""
    STALLED = "stalled"
    """Several streams in a row had no event: relisting."""
    NO_WATCH_LIST = "no-watch-list"
    """The server cannot stream lists: listing in pages from now on."""
    OUTDATED_LIST = "outdated-list"
    """A list was older than events that were already received."""


@dataclass(frozen=True, slots=True)
class WatchReport:
    """A problem and the delay until the next attempt."""

    resource: str
    """The plural, such as ``pods``."""
    problem: WatchProblem
    message: str
    retry_seconds: float = 0.0


class WatchFailure(Exception):
    """An attempt to list and watch failed."""

    def __init__(
        self,
        problem: WatchProblem,
        message: str,
        *,
        start_over: bool = False,
        stream_opened: bool = False,
        retry_seconds: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.problem = problem
        self.start_over = start_over
        """The next attempt must begin with a list."""
        self.stream_opened = stream_opened
        """The server had begun to respond."""
        self.retry_seconds = retry_seconds
        """Minimum delay that the server asks for."""


def failure_from(error: ApiError, *, stream_opened: bool = False) -> WatchFailure:
    """The failure for an error of the server; expired versions require a new list."""
    expired = isinstance(error, Gone) or error.has_cause(TOO_LARGE_VERSION)
    denied = isinstance(error, Forbidden)
    problem = WatchProblem.DENIED if denied else WatchProblem.REJECTED
    return WatchFailure(
        WatchProblem.EXPIRED if expired else problem,
        str(error),
        start_over=expired,
        stream_opened=stream_opened,
        retry_seconds=error.retry_after_seconds or 0.0,
    )
