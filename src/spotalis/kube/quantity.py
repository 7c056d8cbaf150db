"""Kubernetes quantities (``250m``, ``1.5Gi``, ``2e3``), exactly."""

from __future__ import annotations

import re

_QUANTITY = re.compile(
    r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:([eE])([+-]?[0-9]{1,3})|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?))"
)
_MULTIPLIERS: dict[str, int] = {
    **{suffix: 1000**n for n, suffix in enumerate(("", "k", "M", "G", "T", "P", "E"))},
    **{suffix: 1024**n for n, suffix in enumerate(("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))},
}
_DIVISORS = {"m": 1000, "u": 1000**2, "n": 1000**3}


def parse(quantity: str | int | float, *, parts: int = 1) -> int:
    """The quantity in units, or in ``parts`` of a unit (1000 for millis), rounded up.

    Rounding up is the API's rule: a request for ``0.5m`` takes one whole millicore.

    Raises:
        ValueError: the text is not a quantity.
    """
    text = quantity if isinstance(quantity, str) else repr(quantity)
    match = _QUANTITY.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise ValueError(f"{text[:40]!r} is not a quantity")
    sign, whole, fraction, _, exponent, suffix = match.groups(default="")
    power = int(exponent or 0) - len(fraction)
    numerator = int(whole + fraction) * parts * _MULTIPLIERS.get(suffix, 1) * _ten_to(power)
    denominator = _DIVISORS.get(suffix, 1) * _ten_to(-power)
    return -(-(-numerator if sign == "-" else numerator) // denominator)


def _ten_to(power: int) -> int:
    return int(10 ** max(power, 0))
