"""Explanations in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from spotalis.cli.autoscalers import Autoscaler
from spotalis.cli.explanations import Condition, Facts, WorkloadExplanation
from spotalis.cli.output import Style, duration, split_bar, table


def lines_of(facts: WorkloadExplanation | Facts, style: Style, now: datetime) -> list[str]:
    """The explanation of any object, line by line."""
    if isinstance(facts, Facts):
        return [style.paint(f"{facts.name}: {facts.summary}", "bold"), *facts.lines]
    return list(_workload_lines(facts, style, now))


def _workload_lines(facts: WorkloadExplanation, style: Style, now: datetime) -> Iterator[str]:
    split = facts.split
    bar = split_bar(split, style)
    color = "green" if split.status == "Balanced" else "yellow"
    yield (
        style.paint(f"{split.namespace}/{split.short}", "bold")
        + f"  {bar}  {style.paint(split.status, color)}: {split.message}"
    )
    yield ""
    rows = [(f"  {key}", value.value, value.source) for key, value in split.policy.items()]
    yield from table(rows, headers=("POLICY", "VALUE", "FROM")).splitlines()
    yield ""
    yield "ARITHMETIC"
    yield f"  {facts.arithmetic}"
    yield ""
    yield from _have_lines(facts)
    yield ""
    if split.scaled_by is not None:
        yield "SCALED BY"
        yield f"  {_scaling(split.scaled_by, now)}"
        yield ""
    yield "CONDITIONS FOR MOVES"
    yield from _condition_lines(facts.conditions, style)
    yield ""
    yield "SPOT CAPACITY"
    yield f"  {facts.spot_capacity}"
    yield ""
    yield "NEXT"
    yield from (f"  {line}" for line in facts.next)
    if facts.commands:
        yield ""
        yield from facts.commands
    if facts.warnings:
        yield ""
        yield style.paint("WARNINGS", "yellow")
        yield from (f"  {line}" for line in facts.warnings)


def _scaling(autoscaler: Autoscaler, now: datetime) -> str:
    """``hpa/api: 2 to 10 replicas, 5 wanted; last scaled 14m ago``."""
    found = autoscaler
    text = f"{found.name}: {found.min_replicas} to {found.max_replicas} replicas"
    if found.desired_replicas is not None:
        text += f", {found.desired_replicas} wanted"
    if found.last_scaled_at is not None:
        text += f"; last scaled {duration((now - found.last_scaled_at).total_seconds())} ago"
    return text


def _have_lines(facts: WorkloadExplanation) -> list[str]:
    split = facts.split
    ready = {"on-demand": split.ready.on_demand, "spot": split.ready.spot}
    ready["unknown"] = split.ready.unknown
    rows = []
    for node_type, nodes in facts.nodes.items():
        placed = ", ".join(f"{name} ({count})" for name, count in nodes.items() if name)
        rows.append(
            (
                f"  {node_type}",
                str(sum(nodes.values())),
                str(ready[node_type]),
                str(nodes.get("", 0)),
                placed or "-",
            )
        )
    headers = ("REPLICAS", "COUNT", "READY", "PENDING", "NODES")
    return table(rows, headers=headers).splitlines()


def _condition_lines(conditions: Sequence[Condition], style: Style) -> Iterator[str]:
    width = max(len(condition.name) for condition in conditions)
    waits = next((c for c in conditions if not c.met), None)
    for condition in conditions:
        mark = style.mark(True if condition.met else None)
        text = condition.meaning if condition.met else condition.message
        if condition is waits:
            text = style.paint(f"{text}  <- this decides", "yellow")
        yield f"  {mark} {condition.name:<{width}}  {text}"
