"""The tables of the comparison, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.compare.stories import Measurement

Results = Mapping[str, Sequence[Measurement]]
"""The measurements of each approach, one per story."""


def tables(results: Results) -> str:
    """One table per figure: a row for each story, a column for each approach."""
    parts = [f"### {title}\n\n{_table(results, cell)}" for title, cell in _FIGURES.items()]
    return "\n\n".join([*parts, f"### In total\n\n{_totals(results)}"])


def _table(results: Results, cell: Callable[[Measurement], str]) -> str:
    stories = [one.story for one in next(iter(results.values()))]
    rows = [
        [story, *(cell(measured[number]) for measured in results.values())]
        for number, story in enumerate(stories)
    ]
    return markdown(["story", *results], rows)


def _totals(results: Results) -> str:
    rows = [
        [title, *(total(measured) for measured in results.values())]
        for title, total in _TOTALS.items()
    ]
    return markdown(["", *results], rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _split(one: Measurement) -> str:
    splits = ", ".join(f"{on_demand} + {spot}" for on_demand, spot in one.splits.values())
    error = sum(one.errors.values())
    return splits + (f"; {error} wrong" if error else "") + ("" if one.at_rest else "; not at rest")


def _evictions(one: Measurement) -> str:
    return ", ".join(f"{user} {count}" for user, count in sorted(one.evictions.items())) or "0"


def _by_type(values: Mapping[str, float]) -> str:
    return f"{values.get('on-demand', 0):,.0f} + {values.get('spot', 0):,.0f}"


_FIGURES: dict[str, Callable[[Measurement], str]] = {
    "Split at the end (on-demand + spot)": _split,
    "Seconds until the replicas are at rest": lambda one: f"{one.seconds:.0f}",
    "Evictions": _evictions,
    "Seconds below two on-demand replicas": lambda one: f"{one.below_floor:.0f}",
    "Pod-seconds pending": lambda one: f"{one.pending:.0f}",
    "Replica-seconds missing": lambda one: f"{one.missing:.0f}",
    "Nodes launched (on-demand + spot)": lambda one: _by_type(one.launched),
    "Node-seconds (on-demand + spot)": lambda one: _by_type(one.node_seconds),
    "CPU-seconds (on-demand + spot)": lambda one: _by_type(one.cpu_seconds),
    "Most replicas on one node": lambda one: ", ".join(map(str, one.largest.values())),
}


def _sum_by_type(measured: Sequence[Measurement], name: str) -> str:
    values: Sequence[Mapping[str, float]] = [getattr(one, name) for one in measured]
    sums = {key: sum(one.get(key, 0) for one in values) for key in ("on-demand", "spot")}
    return _by_type(sums)


_TOTALS: dict[str, Callable[[Sequence[Measurement]], str]] = {
    "replicas on the wrong type, at the end of all stories together": lambda measured: str(
        sum(sum(one.errors.values()) for one in measured)
    ),
    "evictions": lambda measured: str(sum(sum(one.evictions.values()) for one in measured)),
    "seconds below two on-demand replicas": lambda measured: (
        f"{sum(one.below_floor for one in measured):.0f}"
    ),
    "pod-seconds pending": lambda measured: f"{sum(one.pending for one in measured):,.0f}",
    "nodes launched (on-demand + spot)": lambda measured: _sum_by_type(measured, "launched"),
    "node-seconds (on-demand + spot)": lambda measured: _sum_by_type(measured, "node_seconds"),
    "CPU-seconds (on-demand + spot)": lambda measured: _sum_by_type(measured, "cpu_seconds"),
}
