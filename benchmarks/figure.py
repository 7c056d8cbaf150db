"""The result type of all benchmarks."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured value with its unit, its goal if it has one, and how it was measured."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    how: str = ""

    @property
    def shown(self) -> str:
        """The value and unit as printed in the table."""
        number = f"{self.value:.3g}" if self.value < 1000 else f"{self.value:,.0f}"
        return f"{number} {self.unit}"

    @property
    def goal(self) -> str:
        """The goal as printed in the table; empty without a goal."""
        if self.at_most is not None:
            return f"goal <= {self.at_most:g} {self.unit}"
        if self.at_least is not None:
            return f"goal >= {self.at_least:,.0f} {self.unit}"
        return ""

    @property
    def met(self) -> bool | None:
        """Whether the value meets its goal; None without a goal."""
        if self.at_most is not None:
            return self.value <= self.at_most
        if self.at_least is not None:
            return self.value >= self.at_least
        return None

    def as_json(self) -> dict[str, object]:
        """The figure as written by ``--json``."""
        return {**asdict(self), "met": self.met}
