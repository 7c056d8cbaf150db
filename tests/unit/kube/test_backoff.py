from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.kube.backoff import Backoff, retry_after_seconds
from tests.support.loaded_rng import LoadedRandom

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def test_delays_double_up_to_the_ceiling() -> None:
    backoff = Backoff(LoadedRandom(1.0), floor_seconds=1, ceiling_seconds=30)
    assert [backoff.next_seconds() for _ in range(6)] == [2, 4, 8, 16, 30, 30]


def test_jitter_takes_at_most_half_of_a_delay_away() -> None:
    backoff = Backoff(LoadedRandom(0.0), floor_seconds=1, ceiling_seconds=30)
    assert [backoff.next_seconds() for _ in range(6)] == [1, 2, 4, 8, 15, 15]


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1))
def test_a_delay_is_never_outside_its_bounds(faces: list[float]) -> None:
    backoff = Backoff(LoadedRandom(*faces), floor_seconds=0.8, ceiling_seconds=30)
    assert all(0.8 <= backoff.next_seconds() <= 30 for _ in range(20))


def test_a_success_resets_the_delay_to_the_floor() -> None:
    backoff = Backoff(LoadedRandom(0.0), floor_seconds=1)
    for _ in range(5):
        backoff.next_seconds()
    backoff.reset()
    assert backoff.next_seconds() == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Mon, 23 Nov 2026 10:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 09:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2026 11:00:30 +0100", 30.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds
