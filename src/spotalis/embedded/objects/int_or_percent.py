"""Fields that hold a whole number or a percentage (upstream: ``intstr.IntOrString``)."""

from __future__ import annotations


def resolve(value: int | str, total: int, *, round_up: bool) -> int:
    """``value`` itself, or its percentage of ``total``.

    Raises:
        ValueError: the text is not a percentage.
    """
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"neither a whole number nor a percentage: {value!r}")
    scaled = int(value[:-1]) * total
    return -(-scaled // 100) if round_up else scaled // 100
