"""Writes docs/images/split.svg (`make docs`): where each of several replicas runs."""

from __future__ import annotations

from html import escape
from pathlib import Path

from spotalis.model.nodes import NodeType
from spotalis.model.replicas import desired_spot, slot_type

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "split.svg"
_PERCENT, _FLOOR, _MOST = 70, 2, 10
_BOX, _GAP, _LEFT, _TOP = 34, 6, 90, 64
_COLORS = {NodeType.ON_DEMAND: "#2f5d8a", NodeType.SPOT: "#e0a03c"}


def split_picture() -> str:
    """The picture as SVG, with colours that are readable on light and dark pages."""
    step = _BOX + _GAP
    width, height = _LEFT + _MOST * step + 170, _TOP + _MOST * step + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        '<g font-family="sans-serif" font-size="13">',
        "<title>Split by number of replicas</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(10, 24, f"{_PERCENT} % on spot, at least {_FLOOR} on on-demand", bold=True),
        *_legend(330),
        _text(10, _TOP - 8, "replicas"),
    ]
    for row, replicas in enumerate(range(1, _MOST + 1)):
        y = _TOP + row * step
        parts.append(_text(40, y + 22, str(replicas)))
        for slot in range(replicas):
            color = _COLORS[slot_type(slot, _PERCENT, _FLOOR)]
            x = _LEFT + slot * step
            parts.append(
                f'<rect x="{x}" y="{y}" width="{_BOX}" height="{_BOX}" rx="4" fill="{color}"/>'
            )
            parts.append(_text(x + 13, y + 22, str(slot), color="#ffffff"))
        spot = desired_spot(replicas, _PERCENT, _FLOOR)
        split = f"{replicas - spot} on-demand, {spot} spot"
        parts.append(_text(_LEFT + _MOST * step + 14, y + 22, split))
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _legend(x: int) -> list[str]:
    parts = []
    for node_type, color in _COLORS.items():
        parts.append(f'<rect x="{x}" y="11" width="16" height="16" rx="3" fill="{color}"/>')
        parts.append(_text(x + 22, 24, str(node_type)))
        x += 110
    return parts


def _text(x: int, y: int, text: str, *, color: str = "#222222", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" fill="{color}"{weight}>{escape(text)}</text>'


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(split_picture())
