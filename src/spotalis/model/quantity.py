"""Kubernetes quantities (``250m``, ``1.5Gi``, ``2e3``), parsed exactly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

Quantity: TypeAlias = str | int | float
"""As JSON carries it: the API server writes text, users may also write numbers."""

ResourceList: TypeAlias = dict[str, int]
"""Resource name to amount: millicores of ``cpu``; bytes or units of everything else."""

_PATTERN = re.compile(
    r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:([eE])([+-]?[0-9]{1,3})|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?))"
)
_MULTIPLIERS: dict[str, int] = {
    **{suffix: 1000**n for n, suffix in enumerate(("", "k", "M", "G", "T", "P", "E"))},
    **{suffix: 1024**n for n, suffix in enumerate(("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))},
}
_DIVISORS = {"m": 1000, "u": 1000**2, "n": 1000**3}


def parse_quantity(quantity: Quantity, *, scale: int = 1) -> int:
    """Parse a quantity into units, or into ``1 / scale`` of a unit (1000 for millis).

    Rounds up, as ``Quantity.Value`` and ``Quantity.MilliValue`` do: a request for ``0.5m`` of CPU
    takes one millicore.

    Raises:
        ValueError: the text is not a quantity.
    """
    text = quantity if isinstance(quantity, str) else repr(quantity)
    numerator, denominator = _as_fraction(text)
    return -(-numerator * scale // denominator)


def parse_resource_list(quantities: Mapping[str, Quantity] | None) -> ResourceList:
    """Parse ``requests``, ``limits``, ``overhead`` or ``allocatable``.

    Raises:
        ValueError: one of the values is not a quantity.
    """
    return {
        name: parse_quantity(quantity, scale=1000 if name == "cpu" else 1)
        for name, quantity in (quantities or {}).items()
    }


MAX_QUANTITY_LENGTH = 64
"""Characters. The API server writes at most 19 digits, a point and a suffix
(apimachinery/pkg/api/resource/quantity.go, maxAllowed)."""


@lru_cache(maxsize=4096)
def _as_fraction(text: str) -> tuple[int, int]:
    match = _PATTERN.fullmatch(text) if len(text) <= MAX_QUANTITY_LENGTH else None
    if match is None or not (match[2] or match[3]):
        raise ValueError(f"{text[:40]!r} is not a quantity")
    sign, whole, fraction, _, exponent, suffix = match.groups(default="")
    power = int(exponent or 0) - len(fraction)
    numerator = int(whole + fraction) * _MULTIPLIERS.get(suffix, 1) * _power_of_ten(power)
    denominator = _DIVISORS.get(suffix, 1) * _power_of_ten(-power)
    return (-numerator if sign == "-" else numerator), denominator


def _power_of_ten(power: int) -> int:
    return int(10 ** max(power, 0))
