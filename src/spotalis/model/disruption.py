"""When, and how many at once, replicas of one workload may be moved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim


@dataclass(frozen=True, slots=True, kw_only=True)
class DisruptionWindow:
    """A recurring span of time: from each firing of a cron expression on, for a duration."""

    schedule: str
    """Five-field cron expression."""
    duration: timedelta
    timezone: ZoneInfo

    def is_open(self, now: datetime) -> bool:
        """Whether ``now`` (aware) lies in a span; its start belongs to it, its end does not."""
        instant = now.astimezone(UTC)
        return self._first_after(instant - self.duration) <= instant

    def opens_at(self, now: datetime) -> datetime:
        """The next start strictly after ``now``, in the window's time zone."""
        return self._first_after(now.astimezone(UTC))

    def _first_after(self, instant: datetime) -> datetime:
        # Within the hour that summer time repeats, CronSim offers again what fired in its first
        # pass; those firings are over. (Instants are in UTC, since times of one zone are compared
        # by their digits, which come twice in that hour.)
        firings = CronSim(self.schedule, instant.astimezone(self.timezone))
        return next(firing for firing in firings if firing > instant)


@dataclass(frozen=True, slots=True)
class MoveLimit:
    """How many replicas may be on the move at once: a number, or a share of the replicas."""

    count: int = 0
    percent: int = 0

    def of(self, replicas: int) -> int:
        """Replicas that may be on the move at once: a share is rounded down, at least 1."""
        return self.count or max(1, replicas * self.percent // 100)

    def __str__(self) -> str:
        return str(self.count) if self.count else f"{self.percent}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class DisruptionPolicy:
    """What the owner allows moves to do."""

    window: DisruptionWindow | None = None
    """None: always."""
    moves_in_flight: MoveLimit = MoveLimit(percent=10)
    pdb_override: bool = False
    """Asked for by the owner; works only where the operator's settings allow it too."""
    paused_until: datetime | None = None
    """None: not paused. ``FOREVER`` stands for "until somebody resumes"."""

    def is_paused(self, now: datetime) -> bool:
        """Whether moves rest by the owner's wish."""
        return self.paused_until is not None and now < self.paused_until

    def allows_moves(self, now: datetime) -> bool:
        """Whether ``now`` is inside the window, if there is one."""
        return self.window is None or self.window.is_open(now)
