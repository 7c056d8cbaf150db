"""The types of the tables of mutants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SOURCE = Path("src/spotalis")


class StaleMutantError(Exception):
    """A row does not fit the code any more. Update it, or remove it together with its feature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A replacement of text that occurs exactly once in a file."""

    file: str
    """Relative to ``src/spotalis``."""
    before: str
    after: str

    def applied(self, text: str) -> str:
        """The text of the file with the bug planted.

        Raises StaleMutantError if ``before`` does not occur exactly once.
        """
        count = text.count(self.before)
        if count != 1:
            raise StaleMutantError(f"{self.file}: {count} occurrences, not one: {self.before!r}")
        return text.replace(self.before, self.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A bug to plant, and the tests of which at least one must fail because of it."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    """Arguments for pytest; the test that is likeliest to fail comes first."""


def mutant(name: str, file: str, before: str, after: str, *tests: str) -> Mutant:
    """A mutant with one edit."""
    return Mutant(name=name, edits=(Edit(file=file, before=before, after=after),), tests=tests)


def scenario(file: str, test: str) -> str:
    """The node ID of a test in tests/integration/scenarios."""
    return f"tests/integration/scenarios/test_{file}.py::test_{test}"
