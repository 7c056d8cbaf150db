"""Setting values as text, with the place where each was written, before they are interpreted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawValue:
    """The text, list or mapping that was written for a setting."""

    value: str | tuple[RawValue, ...] | Mapping[str, RawValue] | None
    """None if nothing was written: ``resync:`` or ``resync: null`` in YAML."""
    where: str
    """File and line, variable or flag, as a message shows it."""

    def data(self) -> object:
        """The same as lists, mappings and text."""
        match self.value:
            case tuple():
                return [item.data() for item in self.value]
            case Mapping():
                return {key: item.data() for key, item in self.value.items()}
            case text:
                return text


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason why a setting cannot be used."""

    where: str
    key: str
    message: str
    """The rest of a sentence that begins with the key: ``must be at least 5s; it is '2s'``."""

    def __str__(self) -> str:
        return f"{self.where}  `{self.key}` {self.message}"


class InvalidValue(Exception):
    """At least one value cannot be used; lists every problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))
