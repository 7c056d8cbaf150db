from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.model.quantity import parse_quantity, parse_resource_list


@pytest.mark.parametrize(
    ("written", "units"),
    [
        ("0", 0),
        ("1", 1),
        ("007", 7),
        ("+3", 3),
        ("-3", -3),
        ("1k", 1_000),
        ("1M", 1_000_000),
        ("1G", 10**9),
        ("1T", 10**12),
        ("1P", 10**15),
        ("1E", 10**18),
        ("1Ki", 1024),
        ("1Mi", 1024**2),
        ("512Mi", 512 * 1024**2),
        ("1Gi", 1024**3),
        ("1Ti", 1024**4),
        ("1Pi", 1024**5),
        ("1Ei", 1024**6),
        ("1.5Gi", 3 * 1024**3 // 2),
        ("0.1Gi", 107_374_183),
        ("1e3", 1_000),
        ("1E3", 1_000),
        ("1e+3", 1_000),
        ("2.5e3", 2_500),
        ("1500e-3", 2),
        ("129e6", 129_000_000),
        ("5.", 5),
        (".5", 1),
        ("100m", 1),
        ("1001m", 2),
        ("1u", 1),
        ("1n", 1),
        (16, 16),
        (0.5, 1),
    ],
)
def test_quantities_are_parsed_exactly_and_rounded_up(written: str | float, units: int) -> None:
    assert parse_quantity(written) == units


@pytest.mark.parametrize(
    ("written", "millis"),
    [
        ("250m", 250),
        ("1", 1000),
        ("1.5", 1500),
        ("0.1", 100),
        ("100u", 1),
        ("0.0005", 1),
        ("2k", 2_000_000),
    ],
)
def test_scale_1000_returns_millis(written: str, millis: int) -> None:
    assert parse_quantity(written, scale=1000) == millis


@pytest.mark.parametrize(
    "written",
    [
        "",
        ".",
        "m",
        "Ki",
        "1 Gi",
        "1gi",
        "1KI",
        "1K",
        "1mi",
        "0x10",
        "1e",
        "1e3Mi",
        "--1",
        "1,5",
        "٣",
        "1e9999",
        "inf",
        "nan",
    ],
)
def test_other_text_raises_value_error(written: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(written)


@given(st.integers(min_value=0, max_value=10**15))
def test_millis_and_units_agree(count: int) -> None:
    assert parse_quantity(f"{count}m", scale=1000) == count
    assert parse_quantity(f"{count}Ki") == 1024 * count


def test_a_resource_list_counts_cpu_in_millicores_and_the_rest_in_units() -> None:
    assert parse_resource_list({"cpu": "1.5", "memory": "1Ki"}) == {"cpu": 1500, "memory": 1024}
    assert parse_resource_list(None) == {}


def test_a_text_longer_than_any_quantity_of_the_api_is_refused() -> None:
    for text in ("1" * 65, "0." + "1" * 63, "1" * 1_000_000):
        with pytest.raises(ValueError, match="is not a quantity"):
            parse_quantity(text)
    assert parse_quantity("0" * 63 + "7") == 7
