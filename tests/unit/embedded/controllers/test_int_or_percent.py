"""Fields that hold a whole number or a percentage."""

from __future__ import annotations

import pytest

from spotalis.embedded.objects.int_or_percent import resolve


@pytest.mark.parametrize(
    ("value", "total", "up", "down"), [("25%", 10, 3, 2), (7, 10, 7, 7), ("0%", 9, 0, 0)]
)
def test_percentages_are_rounded_up_or_down(
    value: int | str, total: int, up: int, down: int
) -> None:
    assert resolve(value, total, round_up=True) == up
    assert resolve(value, total, round_up=False) == down


def test_text_that_is_not_a_percentage_is_rejected() -> None:
    with pytest.raises(ValueError, match="neither a whole number nor a percentage: 'many'"):
        resolve("many", 3, round_up=True)
