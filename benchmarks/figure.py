"""One measured figure."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number, its unit, what it is held against, and how it was got."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    how: str = ""

    @property
    def shown(self) -> str:
        """The number as printed."""
        return (
            f"{self.value:,.1f} {self.unit}"
            if self.value < 1000
            else f"{self.value:,.0f} {self.unit}"
        )

    @property
    def goal(self) -> str:
        """What it should be."""
        if self.at_most is not None:
            return f"goal < {self.at_most:g} {self.unit}"
        if self.at_least is not None:
            return f"goal >= {self.at_least:,.0f} {self.unit}"
        return ""

    @property
    def met(self) -> bool | None:
        """Whether it is; None without a goal."""
        if self.at_most is not None:
            return self.value < self.at_most
        if self.at_least is not None:
            return self.value >= self.at_least
        return None

    def as_json(self) -> dict[str, object]:
        """All of it."""
        return {**asdict(self), "met": self.met}
