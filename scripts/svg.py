"""Parts of the pictures in docs/images, with colours that are readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from spotalis.model.nodes import NodeType

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COLORS = {NodeType.ON_DEMAND: "#2f5d8a", NodeType.SPOT: "#e0a03c"}
INK, PAPER = "#222222", "#ffffff"


def picture(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    """An SVG document; screen readers read the title."""
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        '<g font-family="sans-serif" font-size="13">',
        box(0, 0, width, height, PAPER, radius=0),
    ]
    return "\n".join([*head, *parts, "</g>", "</svg>"]) + "\n"


def text(x: float, y: float, words: str, *, color: str = INK, bold: bool = False) -> str:
    """A line of text that begins at a point."""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" fill="{color}"{weight}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, color: str, *, radius: int = 4) -> str:
    """A filled rectangle."""
    size = f'width="{width:g}" height="{height:g}"'
    return f'<rect x="{x:g}" y="{y:g}" {size} rx="{radius}" fill="{color}"/>'


def line(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False) -> str:
    """A thin line."""
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    ends = f'x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"'
    return f'<line {ends} stroke="{INK}"{dashes}/>'


def legend(x: float) -> list[str]:
    """The colours of the capacity types, at the top."""
    parts = []
    for node_type, color in COLORS.items():
        parts.append(box(x, 11, 16, 16, color, radius=3))
        parts.append(text(x + 22, 24, str(node_type)))
        x += 110
    return parts
