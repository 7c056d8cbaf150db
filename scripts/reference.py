"""Writes docs/reference/metrics.md from what a process really exposes (`make docs`)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from spotalis.model.decision import Reason
from spotalis.web.exposition import Snapshot, WorkloadRow, write
from spotalis.web.metrics import Metrics

METRICS_PAGE = Path(__file__).parents[1] / "docs" / "reference" / "metrics.md"

_HEAD = """# Metrics

<!-- Made from web/metrics.py and web/exposition.py in src/spotalis by `make docs`; do not edit. -->

`GET /metrics` on port 8080 serves the Prometheus text format, or OpenMetrics if the Accept header
asks for it. Every instance exports its own counters. Only the leader exports series per workload.

- `reason` is one of the [reasons](../README.md#reasons).
- `workload_type` is `deployment` or `statefulset`.
- `capacity_type` and `target` are `spot`, `on-demand` or `unknown`.
- `state` is `ready`, `pending` or `desired`.

With the Prometheus Operator, set `honorLabels: true`. Otherwise the label `namespace` becomes
`exported_namespace`. [Monitor](../operate/monitor.md) has useful queries and alerts.

"""


@dataclass(frozen=True, slots=True)
class Row:
    """One metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    about: str


def metrics_page() -> str:
    """The page as it should be."""
    rows = [*_counted(Metrics(version="")), *_read()]
    lines = ["| metric | type | labels | what |", "|---|---|---|---|"]
    for row in rows:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        lines.append(f"| `{row.name}` | {row.kind} | {labels} | {row.about} |")
    return _HEAD + "\n".join(lines) + "\n"


def _counted(metrics: Metrics) -> Iterator[Row]:
    """What is counted as things happen. Labels of what has not happened yet only the collector
    itself knows, and prometheus_client has no public way to ask it."""
    registry: CollectorRegistry = metrics._registry  # noqa: SLF001  # nobody else may need it
    for collector in list(registry._collector_to_names):  # noqa: SLF001  # see above
        labels = tuple(getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            yield _row(family, labels)


def _read() -> Iterator[Row]:
    """What is read at a scrape, from a world that has one of everything."""
    row = WorkloadRow(
        namespace="shop",
        workload="api",
        workload_type="deployment",
        reason=Reason.BLOCKED_BY_PDB,
        replicas=(("spot", "ready", 1),),
        blocked=True,
    )
    snapshot = Snapshot(workloads=(row,), cache_ages={"pods": 0.0})

    async def text() -> str:
        return b"".join([piece async for piece in write(snapshot)]).decode()

    for family in text_string_to_metric_families(asyncio.run(text())):
        [sample] = family.samples
        yield _row(family, sample.labels)


def _row(family: Metric, labels: Iterable[str]) -> Row:
    name = family.name + ("_total" if family.type == "counter" else "")
    return Row(name, family.type, tuple(labels), family.documentation)


if __name__ == "__main__":
    METRICS_PAGE.write_text(metrics_page())
