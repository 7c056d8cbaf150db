"""The split of a workload as a bar with one cell per replica."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Texture:
    """The characters for on-demand, spot and pending replicas."""

    on_demand: str = "█"
    spot: str = "▒"
    pending: str = "·"


UNICODE = Texture()
ASCII = Texture("#", "~", ".")


def choose_texture(*, ascii_only: bool, encoding: str | None) -> Texture:
    """ASCII if requested, or if the encoding of the terminal is not UTF-8."""
    is_utf8 = (encoding or "").lower().replace("-", "") == "utf8"
    return UNICODE if is_utf8 and not ascii_only else ASCII


def bar(on_demand: int, spot: int, pending: int, texture: Texture = UNICODE) -> str:
    """One cell for each replica."""
    return texture.on_demand * on_demand + texture.spot * spot + texture.pending * pending
