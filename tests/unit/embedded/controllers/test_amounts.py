"""Quantities and percentages."""

from __future__ import annotations

import pytest

from spotalis.embedded.objects.amounts import millis, share, whole


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("16Gi", 16 * 2**30),
        ("1.5Ki", 1536),
        ("100M", 10**8),
        ("1e3", 1000),
        ("500m", 1),
        ("1E", 10**18),
        ("1Ei", 2**60),
    ],
)
def test_quantities_in_their_unit_round_up(text: str, value: int) -> None:
    assert whole(text) == value


@pytest.mark.parametrize(("text", "value"), [("4", 4000), ("250m", 250), ("0.1", 100), ("1u", 1)])
def test_quantities_in_thousandths(text: str, value: int) -> None:
    assert millis(text) == value


@pytest.mark.parametrize(
    ("value", "of", "up", "down"), [("25%", 10, 3, 2), (7, 10, 7, 7), ("0%", 9, 0, 0)]
)
def test_shares(value: int | str, of: int, up: int, down: int) -> None:
    assert (share(value, of, up=True), share(value, of, up=False)) == (up, down)


def test_text_that_is_no_percentage_is_refused() -> None:
    with pytest.raises(ValueError, match="neither a whole number nor a percentage: 'many'"):
        share("many", 3, up=True)
