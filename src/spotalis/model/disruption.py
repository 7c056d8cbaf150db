"""When replicas of a workload may be moved, and how many at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo  # loaded with the first schedule, as CronSim is


@dataclass(frozen=True, slots=True, kw_only=True)
class DisruptionWindow:
    """A recurring span of time that starts at each firing of a cron expression."""

    schedule: str
    """Five-field cron expression."""
    duration: timedelta
    timezone: ZoneInfo

    def is_open(self, now: datetime) -> bool:
        """Whether ``now`` (aware) is in the window. The start is inside, the end is not."""
        instant = now.astimezone(UTC)
        return self._first_after(instant - self.duration) <= instant

    def opens_at(self, now: datetime) -> datetime:
        """The next start strictly after ``now``, in the window's time zone."""
        return self._first_after(now.astimezone(UTC))

    def _first_after(self, instant: datetime) -> datetime:
        from cronsim import CronSim

        # In the hour that is repeated when daylight saving time ends, CronSim returns firings of
        # the first pass again, which are in the past. The times are compared in UTC, because
        # local times of one zone are compared without their offset.
        firings = CronSim(self.schedule, instant.astimezone(self.timezone))
        return next(firing for firing in firings if firing > instant)


@dataclass(frozen=True, slots=True)
class MoveLimit:
    """How many replicas may move at once: a number or a percentage of the replicas."""

    count: int = 0
    percent: int = 0

    def of(self, replicas: int) -> int:
        """How many replicas may move at once: a percentage is rounded down, but at least to 1."""
        return self.count or max(1, replicas * self.percent // 100)

    def __str__(self) -> str:
        return str(self.count) if self.count else f"{self.percent}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class DisruptionPolicy:
    """The part of a policy that limits moves."""

    window: DisruptionWindow | None = None
    """None: moves are always allowed."""
    moves_in_flight: MoveLimit = MoveLimit(percent=10)
    pdb_override: bool = False
    """Delete a pod if a budget blocks its eviction. The operator's settings must allow it too."""
    paused_reason: str = ""
    """Why, in the owner's words."""
    paused_until: datetime | None = None
    """None: not paused. ``FOREVER``: until the annotation is removed."""

    def is_paused(self, now: datetime) -> bool:
        """Whether the owner has paused moves."""
        return self.paused_until is not None and now < self.paused_until

    def allows_moves(self, now: datetime) -> bool:
        """Whether ``now`` is in the window, if there is one."""
        return self.window is None or self.window.is_open(now)
