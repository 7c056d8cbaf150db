"""When, and how many at once, replicas may be moved."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spotalis.model.disruption import DisruptionPolicy, DisruptionWindow, MoveLimit
from spotalis.model.policy_values import FOREVER
from tests.support.builders import NOW

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)


def a_window(
    schedule: str, duration: timedelta = timedelta(hours=1), timezone: str = "Europe/Berlin"
) -> DisruptionWindow:
    return DisruptionWindow(schedule=schedule, duration=duration, timezone=ZoneInfo(timezone))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def spans(window: DisruptionWindow, first: datetime, last: datetime) -> list[tuple[str, str]]:
    """The spans in which the window is open, in steps of a minute."""
    found: list[tuple[str, str]] = []
    start: datetime | None = None
    for instant in minutes(first, last):
        if window.is_open(instant):
            start = start or instant
        elif start is not None:
            found.append((f"{start:%d %H:%M}", f"{instant:%d %H:%M}"))
            start = None
    assert start is None, "open at the end of the look"
    return found


def minutes(first: datetime, last: datetime) -> Iterator[datetime]:
    while first < last:
        yield first
        first += MINUTE


def test_a_span_begins_with_its_first_instant_and_ends_before_its_last() -> None:
    window = a_window("0 2 * * *", timezone="UTC")
    tick = timedelta(microseconds=1)
    assert not window.is_open(utc("2026-11-23T02:00") - tick)
    assert window.is_open(utc("2026-11-23T02:00"))
    assert window.is_open(utc("2026-11-23T03:00") - tick)
    assert not window.is_open(utc("2026-11-23T03:00"))


@pytest.mark.parametrize(
    ("schedule", "duration", "first", "open_from_to"),
    [
        pytest.param(
            "0 22 * * *",
            timedelta(hours=5),
            "2026-11-23T12:00",
            [("23 21:00", "24 02:00")],
            id="over midnight in winter",
        ),
        pytest.param(
            "0 2 * * *",
            timedelta(hours=1),
            "2026-07-01T12:00",
            [("02 00:00", "02 01:00")],
            id="in summer two hours before UTC",
        ),
        pytest.param(
            "0 2 * * *",
            timedelta(hours=1),
            "2026-03-28T12:00",
            [("29 01:00", "29 02:00")],
            id="02:00 is skipped in spring: the window opens at 03:00",
        ),
        pytest.param(
            "30 2 * * *",
            timedelta(hours=1),
            "2026-03-28T12:00",
            [("29 01:00", "29 02:00")],
            id="02:30 is skipped in spring: the window is as long as usual",
        ),
        pytest.param(
            "0 1 * * *",
            timedelta(hours=3),
            "2026-03-28T12:00",
            [("29 00:00", "29 03:00")],
            id="3 hours over the spring change end at 05:00, not at 04:00",
        ),
        pytest.param(
            "30 2 * * *",
            timedelta(minutes=20),
            "2026-10-24T12:00",
            [("25 00:30", "25 00:50")],
            id="02:30 occurs twice in autumn: the window opens once",
        ),
        pytest.param(
            "30 2 * * *",
            timedelta(hours=1),
            "2026-10-24T12:00",
            [("25 00:30", "25 01:30")],
            id="the window opens once, even if it ends in the repeated hour",
        ),
        pytest.param(
            "0 1 * * *",
            timedelta(hours=3),
            "2026-10-24T12:00",
            [("24 23:00", "25 02:00")],
            id="3 hours over the autumn change end at 03:00, not at 04:00",
        ),
        pytest.param(
            "*/30 2 * * *",
            timedelta(minutes=10),
            "2026-10-24T12:00",
            [
                ("25 00:00", "25 00:10"),
                ("25 00:30", "25 00:40"),
                ("25 01:00", "25 01:10"),
                ("25 01:30", "25 01:40"),
            ],
            id="every half hour: both passes of the repeated hour",
        ),
        pytest.param(
            "*/30 2 * * *",
            timedelta(minutes=10),
            "2026-03-28T12:00",
            [],
            id="every half hour of a skipped hour: never",
        ),
        pytest.param(
            "0 23 31 12 *",
            timedelta(hours=3),
            "2026-12-31T12:00",
            [("31 22:00", "01 01:00")],
            id="over the end of a month and a year",
        ),
        pytest.param(
            "30 23 L * *",
            timedelta(hours=2),
            "2028-02-29T12:00",
            [("29 22:30", "01 00:30")],
            id="over the last day of February in a leap year",
        ),
        pytest.param(
            "0 12,13 * * *",
            timedelta(minutes=90),
            "2026-11-23T10:00",
            [("23 11:00", "23 13:30")],
            id="overlapping windows are one",
        ),
    ],
)
def test_a_window_in_berlin(
    schedule: str, duration: timedelta, first: str, open_from_to: list[tuple[str, str]]
) -> None:
    start = utc(first)
    assert spans(a_window(schedule, duration), start, start + timedelta(days=1)) == open_from_to


@pytest.mark.parametrize("first", ["2026-11-23T10:00", "2026-03-28T20:00", "2026-10-24T20:00"])
def test_a_span_longer_than_its_period_is_always_open(first: str) -> None:
    window = a_window("0 * * * *", timedelta(hours=2, minutes=30))
    start = utc(first)
    assert all(window.is_open(instant) for instant in minutes(start, start + timedelta(hours=12)))


CHANGES = st.sampled_from((utc("2026-03-28T20:00"), utc("2026-10-24T20:00")))
SCHEDULES = st.sampled_from(
    (
        "30 2 * * *",
        "0 2 * * *",
        "0 3 * * *",
        "0 1-3 * * *",
        "15 */2 * * *",
        "*/20 * * * *",
        "59 1 * * *",
    )
)
ZONES = st.sampled_from((UTC, BERLIN, ZoneInfo("Australia/Lord_Howe")))


@example(first=utc("2026-10-24T20:00"), minute=256, schedule="15 */2 * * *", length=1, zone=BERLIN)
@example(  # a window that opened in the first pass of the repeated hour is over in the second
    first=utc("2026-10-24T20:00"), minute=310, schedule="30 2 * * *", length=20, zone=UTC
)
@example(  # on that day, 3 hours after 01:00 is 05:00
    first=utc("2026-03-28T20:00"), minute=390, schedule="0 1 * * *", length=180, zone=BERLIN
)
@given(
    first=CHANGES,
    minute=st.integers(min_value=0, max_value=12 * 60),
    schedule=SCHEDULES,
    length=st.integers(min_value=1, max_value=180),
    zone=ZONES,
)
def test_a_window_does_not_depend_on_the_time_zone_of_now(
    first: datetime, minute: int, schedule: str, length: int, zone: tzinfo
) -> None:
    window = a_window(schedule, timedelta(minutes=length))
    now = (first + minute * MINUTE).astimezone(zone)
    opens = window.opens_at(now).astimezone(UTC)
    assert opens > now.astimezone(UTC)
    assert window.is_open(opens)
    assert window.opens_at(opens - MINUTE).astimezone(UTC) == opens
    assert window.is_open(now) == window.is_open(now.astimezone(UTC))
    if not window.is_open(now):
        # The window does not open before the announced time.
        between = minutes(now.astimezone(UTC), opens)
        assert not any(window.is_open(instant) for instant in between)


def test_without_a_window_moves_are_always_allowed() -> None:
    assert DisruptionPolicy().allows_moves(NOW)
    policy = DisruptionPolicy(window=a_window("0 2 * * *", timezone="UTC"))
    assert not policy.allows_moves(NOW)
    assert policy.allows_moves(utc("2026-11-23T02:30"))


def test_a_pause_ends_at_its_time_unless_it_is_forever() -> None:
    assert not DisruptionPolicy().is_paused(NOW)
    policy = DisruptionPolicy(paused_until=NOW)
    assert policy.is_paused(NOW - MINUTE)
    assert not policy.is_paused(NOW)
    assert DisruptionPolicy(paused_until=FOREVER).is_paused(utc("9999-12-31T23:59"))


@pytest.mark.parametrize(
    ("limit", "replicas", "moves"),
    [
        pytest.param(MoveLimit(percent=10), 10, 1, id="10 % of 10 is 1"),
        pytest.param(MoveLimit(percent=10), 29, 2, id="10 % of 29 is 2, rounded down"),
        pytest.param(MoveLimit(percent=10), 3, 1, id="at least 1"),
        pytest.param(MoveLimit(percent=100), 7, 7, id="100 %"),
        pytest.param(MoveLimit(percent=10), 0, 1, id="at least 1, even of 0 replicas"),
        pytest.param(MoveLimit(count=4), 2, 4, id="a number does not depend on the replicas"),
    ],
)
def test_a_limit_of_moves_is_a_number_or_a_share_rounded_down(
    limit: MoveLimit, replicas: int, moves: int
) -> None:
    assert limit.of(replicas) == moves


def test_a_limit_is_written_as_the_owner_wrote_it() -> None:
    assert str(MoveLimit(count=4)) == "4"
    assert str(MoveLimit(percent=25)) == "25%"
