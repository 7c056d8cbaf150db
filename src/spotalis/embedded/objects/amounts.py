"""Numbers as the API writes them: quantities, and whole numbers that may be percentages."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

_FACTORS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


@lru_cache(maxsize=4096)
def _value(text: str) -> Decimal:
    number = text.rstrip("numkKMGTPEi")
    suffix = text[len(number) :]
    return Decimal(number) * _FACTORS[suffix]


def whole(quantity: str | int | float) -> int:
    """A quantity (``16Gi``, ``2``, ``1e3``) in its unit, rounded up as ``Quantity.Value`` does.

    Raises:
        ArithmeticError, KeyError: it is no quantity.
    """
    return int(_value(str(quantity)).to_integral_value(ROUND_CEILING))


def millis(quantity: str | int | float) -> int:
    """A quantity in thousandths of its unit (``500m`` is 500, ``4`` is 4000), rounded up.

    Raises:
        ArithmeticError, KeyError: it is no quantity.
    """
    return int((_value(str(quantity)) * 1000).to_integral_value(ROUND_CEILING))


def share(value: int | str, of: int, *, up: bool) -> int:
    """``value`` itself, or its percentage of ``of`` rounded up or down (apimachinery's intstr).

    Raises:
        ValueError: text that is no percentage.
    """
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"neither a whole number nor a percentage: {value!r}")
    scaled = int(value[:-1]) * of
    return -(-scaled // 100) if up else scaled // 100
