"""Splits as bars: one cell a replica, the same texture everywhere."""

from __future__ import annotations

from dataclasses import dataclass

MOST_CELLS = 20
"""More replicas than that share this many cells."""


@dataclass(frozen=True, slots=True)
class Texture:
    """The signs for on-demand, spot and pending."""

    on_demand: str = "█"
    spot: str = "▒"
    pending: str = "·"


UNICODE = Texture()
ASCII = Texture("#", "~", ".")


def texture(*, ascii_only: bool, encoding: str | None) -> Texture:
    """ASCII where it was asked for or where the terminal cannot show more."""
    utf8 = (encoding or "").lower().replace("-", "") == "utf8"
    return UNICODE if utf8 and not ascii_only else ASCII


def bar(on_demand: int, spot: int, pending: int, signs: Texture = UNICODE) -> str:
    """One cell each up to 20 replicas; above, 20 cells by largest remainder, no class lost."""
    counts = [on_demand, spot, pending]
    total = sum(counts)
    if total > MOST_CELLS:
        counts = _shares(counts, total)
    return "".join(sign * n for sign, n in zip(_signs(signs), counts, strict=True))


def _signs(signs: Texture) -> tuple[str, str, str]:
    return signs.on_demand, signs.spot, signs.pending


def _shares(counts: list[int], total: int) -> list[int]:
    exact = [count * MOST_CELLS / total for count in counts]
    cells = [max(1, int(share)) if count else 0 for share, count in zip(exact, counts, strict=True)]
    while sum(cells) != MOST_CELLS:
        step = 1 if sum(cells) < MOST_CELLS else -1
        order = sorted(range(3), key=lambda i: step * (exact[i] - cells[i]), reverse=True)
        chosen = next(i for i in order if counts[i] and cells[i] + step >= 1)
        cells[chosen] += step
    return cells
