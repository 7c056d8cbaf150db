"""What may go wrong while a kind is followed, and how it is reported."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spotalis.kube.errors import TOO_LARGE_VERSION, ApiError, Gone


class WatchProblem(StrEnum):
    """What a reflector has to say for itself."""

    UNDECODABLE = "undecodable"
    """One object could not be read and was skipped."""
    EXPIRED = "expired"
    """The version to resume at is gone, or ahead of this server: relisting."""
    REFUSED = "refused"
    """The server answered with an error."""
    CUT = "cut"
    """The connection failed, broke or stayed silent."""
    GARBLED = "garbled"
    """What came was no watch event."""
    CLOSED = "closed"
    """The server ended the stream without having said anything."""
    STALLED = "stalled"
    """Several streams in a row said nothing: relisting."""
    NO_WATCH_LIST = "no-watch-list"
    """The server cannot stream the initial list: listing in pages from now on."""
    BACK_IN_TIME = "back-in-time"
    """A list was older than what has been seen already."""


@dataclass(frozen=True, slots=True)
class WatchReport:
    """One trouble and what is done about it."""

    resource: str
    """The plural, such as ``pods``."""
    problem: WatchProblem
    message: str
    retry_seconds: float = 0.0


class WatchFailure(Exception):
    """Why a turn ended before its time."""

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
        """The next turn begins with a list."""
        self.stream_opened = stream_opened
        """The server had begun to answer."""
        self.retry_seconds = retry_seconds
        """The server asks for at least this much patience."""


def failure_from(error: ApiError, *, stream_opened: bool = False) -> WatchFailure:
    """An error of the server as a trouble; expired versions mean starting over."""
    expired = isinstance(error, Gone) or error.has_cause(TOO_LARGE_VERSION)
    return WatchFailure(
        WatchProblem.EXPIRED if expired else WatchProblem.REFUSED,
        str(error),
        start_over=expired,
        stream_opened=stream_opened,
        retry_seconds=error.retry_after_seconds or 0.0,
    )
