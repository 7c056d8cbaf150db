"""Writes docs/images/architecture.svg (`make docs`): the parts, and what they ask of each other."""

from __future__ import annotations

from scripts.svg import COLORS, IMAGES, INK, PAPER, box, picture, text
from spotalis.model.nodes import NodeType

PICTURE = IMAGES / "architecture.svg"
_GREY, _PALE = "#5a6b7b", "#e8edf2"
_WIDTH, _HEIGHT = 780, 420
_ARROWHEAD = (
    '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
    f'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{INK}"/></marker></defs>'
)


def architecture_picture() -> str:
    """The picture as SVG."""
    parts = [
        _ARROWHEAD,
        *_part(20, 40, 190, 56, _GREY, "Workload controllers", "create and delete pods"),
        *_part(300, 40, 170, 205, _GREY, "API server", ""),
        box(540, 20, 220, 290, _PALE, radius=8),
        text(556, 44, "Spotalis, one process", bold=True),
        *_part(556, 60, 188, 64, INK, "Webhook", "spot or on-demand?"),
        *_part(556, 138, 188, 64, INK, "Controller (leader)", "moves what is wrong"),
        *_part(556, 216, 188, 64, INK, "Caches", "pods, nodes, workloads"),
        *_part(20, 130, 190, 56, _GREY, "Scheduler, autoscaler", "bind pods, add nodes"),
        *_part(20, 350, 350, 50, COLORS[NodeType.ON_DEMAND], "on-demand nodes", ""),
        *_part(400, 350, 350, 50, COLORS[NodeType.SPOT], "spot nodes", ""),
        *_arrow(210, 62, 300, 62, "pods"),
        *_arrow(470, 80, 556, 80, "new pod"),
        *_arrow(556, 106, 470, 106, "pinned"),
        *_arrow(556, 170, 470, 170, "evict"),
        *_arrow(470, 234, 556, 234, "watch"),
        *_arrow(556, 194, 470, 194, ""),
        text(478, 210, "ledger"),
        *_arrow(300, 158, 210, 158, "pods"),
        *_arrow(110, 186, 110, 350, ""),
        *_arrow(180, 186, 450, 350, ""),
        text(122, 300, "only on nodes of the pinned type"),
    ]
    return picture("The parts of Spotalis and of the cluster", _WIDTH, _HEIGHT, parts)


def _part(
    x: float, y: float, width: float, height: float, color: str, name: str, what: str
) -> list[str]:
    """A box with a name and what it does."""
    return [
        box(x, y, width, height, color),
        text(x + 12, y + 24, name, color=PAPER, bold=True),
        text(x + 12, y + 44, what, color=PAPER),
    ]


def _arrow(x1: float, y1: float, x2: float, y2: float, words: str) -> list[str]:
    """An arrow with its words above."""
    ends = f'x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"'
    arrow = f'<line {ends} stroke="{INK}" stroke-width="1.5" marker-end="url(#end)"/>'
    return [arrow, text(min(x1, x2) + 8, min(y1, y2) - 5, words)] if words else [arrow]


if __name__ == "__main__":
    PICTURE.write_text(architecture_picture())
