"""Output of commands: tables, bars, colors, and the machine-readable formats."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from spotalis.cli.views import WorkloadSplit

FORMATS = ("table", "wide", "json", "yaml", "name")
_BAR_CELLS = 20
_COLORS = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1"}


@dataclass(frozen=True, slots=True)
class Style:
    """How text is drawn on one stream."""

    color: bool = False
    ascii: bool = False

    @classmethod
    def of(
        cls,
        stream: TextIO,
        environment: Mapping[str, str] = os.environ,
        *,
        color: str = "auto",
        ascii_only: bool = False,
    ) -> Style:
        """The style that suits a stream.

        ``NO_COLOR`` and ``FORCE_COLOR`` (no-color.org, force-color.org) decide if ``color`` is
        ``auto``; otherwise a terminal gets colors.
        """
        colored = stream.isatty() and environment.get("TERM") != "dumb"
        if environment.get("FORCE_COLOR"):
            colored = True
        if environment.get("NO_COLOR"):
            colored = False
        if color != "auto":
            colored = color == "always"
        encoding = (stream.encoding or "ascii").lower().replace("-", "")
        return cls(color=colored, ascii=ascii_only or not encoding.startswith("utf"))

    def paint(self, text: str, color: str) -> str:
        """The text in a color, if colors are used."""
        return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if self.color and color else text

    def bar(self, on_demand: int, spot: int, pending: int = 0) -> str:
        """A cell for each replica; above 20 replicas, 20 cells in proportion."""
        symbols = "#~." if self.ascii else "█▒·"
        counts = (on_demand, spot, pending)
        return "".join(s * n for s, n in zip(symbols, _cells(counts), strict=True))

    def mark(self, good: bool | None) -> str:
        """A check mark, a cross, or a dot for what is waited for."""
        if good is None:
            return self.paint("*" if self.ascii else "●", "yellow")
        if good:
            return self.paint("ok" if self.ascii else "✔", "green")
        return self.paint("x" if self.ascii else "✗", "red")


def split_bar(split: WorkloadSplit, style: Style) -> str:
    """The bar of a workload: its replicas of each type, and those that are missing."""
    return style.bar(split.have.on_demand, split.have.spot, missing(split))


def missing(split: WorkloadSplit) -> int:
    """Desired replicas that are not on either type."""
    return max(0, split.replicas - split.have.on_demand - split.have.spot)


def _cells(counts: Sequence[int]) -> list[int]:
    """Share cells by the largest remainder; each count above 0 has one cell at least."""
    total = sum(counts)
    if total <= _BAR_CELLS:
        return list(counts)
    cells = [max(1 if count else 0, count * _BAR_CELLS // total) for count in counts]
    by_remainder = sorted(
        range(len(counts)), key=lambda i: counts[i] * _BAR_CELLS % total, reverse=True
    )
    for i in by_remainder * 2:
        difference = _BAR_CELLS - sum(cells)
        if difference > 0 and counts[i]:
            cells[i] += 1
        elif difference < 0 and cells[i] > 1:
            cells[i] -= 1
    return cells


def table(rows: Iterable[Sequence[str]], *, headers: Sequence[str] | None) -> str:
    """Rows in columns, two spaces apart, as kubectl prints them; no trailing spaces."""
    lines = [tuple(row) for row in rows]
    if headers is not None:
        lines.insert(0, tuple(headers))
    if not lines:
        return ""
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _width(cell: str) -> int:
    """The number of columns, without escape sequences."""
    if "\x1b" not in cell:
        return len(cell)
    import re

    return len(re.sub(r"\x1b\[[0-9;]*m", "", cell))


def dump(value: object, form: str) -> str:
    """A value as JSON or YAML."""
    import msgspec

    plain = msgspec.to_builtins(value)
    if form == "yaml":
        import yaml

        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip()
    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode()


def tell(text: str) -> None:
    """Print a line on stderr, where it does not disturb a pipe."""
    print(text, file=sys.stderr, flush=True)


def counted(number: int, noun: str) -> str:
    """``1 workload``, ``2 workloads``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A span as kubectl prints ages: ``45s``, ``5m``, ``3h``, ``41d``."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    return f"{days}d" if days < 730 else f"{days // 365}y"
