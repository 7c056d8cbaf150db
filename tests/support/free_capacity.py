"""Compute what is free on nodes, without interruptions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from spotalis.model.objects import Node, PodShape
from spotalis.planner.free_capacity import FreeCapacity, Memo, WaitingPods, assign


def free_after(
    nodes: Iterable[Node],
    waiting: Iterable[WaitingPods | PodShape] = (),
    bound: Mapping[str, Sequence[PodShape]] | None = None,
    memo: Memo | None = None,
) -> FreeCapacity:
    """What is free on these nodes once all waiting pods have their share."""
    return computed(nodes, waiting, bound, memo)[0]


def computed(
    nodes: Iterable[Node],
    waiting: Iterable[WaitingPods | PodShape] = (),
    bound: Mapping[str, Sequence[PodShape]] | None = None,
    memo: Memo | None = None,
) -> tuple[FreeCapacity, int]:
    """The same, and how often the computation could be interrupted."""
    steps = assign(
        ((node, (bound or {}).get(node.name, ())) for node in nodes),
        (one if isinstance(one, WaitingPods) else WaitingPods(shape=one) for one in waiting),
        {} if memo is None else memo,
    )
    slices = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, slices
        slices += 1
