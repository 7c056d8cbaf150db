"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.model.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("1h30m15s", timedelta(hours=1, minutes=30, seconds=15)),
        ("500ms", timedelta(milliseconds=500)),
        ("1s500ms", timedelta(seconds=1.5)),
        ("1.5h", timedelta(minutes=90)),
        ("0.25s", timedelta(milliseconds=250)),
        ("2d", timedelta(days=2)),
        ("1w1d", timedelta(days=8)),
        ("366d", timedelta(days=366)),
        ("1h0m1s", timedelta(seconds=3601)),
        ("007s", timedelta(seconds=7)),
    ],
)
def test_a_duration_is_numbers_with_units_from_large_to_small(
    text: str, duration: timedelta
) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "must be a duration such as", id="empty"),
        pytest.param("90", "must be a duration such as", id="no unit"),
        pytest.param("s", "must be a duration such as", id="no number"),
        pytest.param("5 m", "must be a duration such as", id="a space"),
        pytest.param("5min", "must be a duration such as", id="a unit with more letters"),
        pytest.param("5M", "must be a duration such as", id="an upper-case unit"),
        pytest.param("1h1h", "must be a duration such as", id="a repeated unit"),
        pytest.param("1m1h", "must be a duration such as", id="a small unit before a large one"),
        pytest.param("-5m", "must be a duration such as", id="a minus sign"),
        pytest.param("+5m", "must be a duration such as", id="a plus sign"),
        pytest.param(".5h", "must be a duration such as", id="no digit before the point"),
        pytest.param("5.m", "must be a duration such as", id="no digit after the point"),
        pytest.param("1h30", "must be a duration such as", id="a number without a unit at the end"),
        pytest.param("1,5h", "must be a duration such as", id="a comma"),
        pytest.param("1e3s", "must be a duration such as", id="an exponent"),
        pytest.param("٥m", "must be a duration such as", id="non-ASCII digits"),
        pytest.param("5m\n", "must be a duration such as", id="a newline"),
        pytest.param("0s", "must be longer than 0s", id="zero"),
        pytest.param("0h0m0s", "must be longer than 0s", id="zeros"),
        pytest.param("0.0001ms", "must be longer than 0s", id="rounded to zero"),
        pytest.param("367d", "must not be longer than 366d", id="more than a year"),
        pytest.param("53w", "must not be longer than 366d", id="53 weeks"),
        pytest.param("9" * 400 + "h", "must not be longer than 366d", id="too large for a float"),
    ],
)
def test_likely_typing_errors_are_rejected_with_a_message(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=366)))
def test_a_formatted_duration_parses_to_the_same_milliseconds(duration: timedelta) -> None:
    assert abs(parse_duration(format_duration(duration)) - duration) <= timedelta(milliseconds=0.5)


@given(
    st.dictionaries(
        st.sampled_from(("w", "d", "h", "m", "s", "ms")),
        st.integers(min_value=1, max_value=50),
        min_size=1,
    )
)
def test_the_parts_add_up(parts: dict[str, int]) -> None:
    one = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
    text = "".join(f"{parts[unit]}{unit}" for unit in one if unit in parts)
    milliseconds = sum(count * one[unit] for unit, count in parts.items())
    if milliseconds > 366 * one["d"]:
        with pytest.raises(ValueError, match="must not be longer"):
            parse_duration(text)
    else:
        assert parse_duration(text) == timedelta(milliseconds=milliseconds)


def test_the_text_is_the_shortest() -> None:
    assert format_duration(timedelta(minutes=90)) == "1h30m"
    assert format_duration(timedelta(seconds=120)) == "2m"
    assert format_duration(timedelta(days=8)) == "8d"
    assert format_duration(timedelta(milliseconds=1500)) == "1s500ms"
    assert format_duration(timedelta(0)) == "0s"


def test_a_long_text_without_a_unit_is_scanned_once() -> None:
    """A search at every position takes minutes for these texts."""
    for text in ("1" * 1_000_000, "1." * 500_000, "1s" * 500_000):
        with pytest.raises(ValueError, match="must be a duration such as"):
            parse_duration(text)
