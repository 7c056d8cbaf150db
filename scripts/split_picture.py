"""Writes docs/images/split.svg (`make docs`): where each of several replicas runs."""

from __future__ import annotations

from scripts.svg import COLORS, IMAGES, PAPER, box, legend, picture, text
from spotalis.model.replicas import desired_spot, slot_type

PICTURE = IMAGES / "split.svg"
_PERCENT, _FLOOR, _MOST = 70, 2, 10
_BOX, _GAP, _LEFT, _TOP = 34, 6, 90, 64


def split_picture() -> str:
    """The picture as SVG."""
    step = _BOX + _GAP
    width, height = _LEFT + _MOST * step + 170, _TOP + _MOST * step + 10
    parts = [
        text(10, 24, f"{_PERCENT} % on spot, at least {_FLOOR} on on-demand", bold=True),
        *legend(330),
        text(10, _TOP - 8, "replicas"),
    ]
    for row, replicas in enumerate(range(1, _MOST + 1)):
        y = _TOP + row * step
        parts.append(text(40, y + 22, str(replicas)))
        for slot in range(replicas):
            x = _LEFT + slot * step
            parts.append(box(x, y, _BOX, _BOX, COLORS[slot_type(slot, _PERCENT, _FLOOR)]))
            parts.append(text(x + 13, y + 22, str(slot), color=PAPER))
        spot = desired_spot(replicas, _PERCENT, _FLOOR)
        split = f"{replicas - spot} on-demand, {spot} spot"
        parts.append(text(_LEFT + _MOST * step + 14, y + 22, split))
    return picture("Split by number of replicas", width, height, parts)


if __name__ == "__main__":
    PICTURE.write_text(split_picture())
