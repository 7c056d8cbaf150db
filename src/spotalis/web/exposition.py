"""Per-workload series, written as text a slice at a time.

A cluster has thousands of them. ``prometheus_client`` would keep an object for each and write
them all in one go: 34 ms for 5,000 series in which no review is answered (stack.md 3.3; p99 of
the webhook 49 ms). Here nothing is kept: the rows are read when a scrape comes, and after every
500 series the event loop gets its turn.

The lines are the same in Prometheus' text format 0.0.4 and in OpenMetrics 1.0.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

SLICE = 500
"""Series between two turns of the event loop: about 0.3 ms of work."""

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRow:
    """What is told about one managed workload."""

    namespace: str
    workload: str
    workload_type: str
    """``Deployment`` or ``StatefulSet``."""
    reason: str
    """The status word (:class:`spotalis.model.decision.Reason`)."""
    replicas: Sequence[tuple[str, str, int]]
    """Capacity type (``spot``, ``on-demand``, ``unknown``), state (``ready``, ``pending``,
    ``desired``), count."""
    blocked: bool = False
    """Replicas should move, and ``reason`` is why they do not."""
    fallback: int = 0
    """Replicas of spot slots that run on on-demand nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a scrape reads instead of what was counted; must not change while it is written."""

    workloads: Sequence[WorkloadRow] = ()
    cache_ages: Mapping[str, float] = field(default_factory=dict)
    """Seconds since each resource's watch last said something."""
    storm_active: bool = False
    """Moves towards spot rest in the whole cluster."""


async def write(snapshot: Snapshot) -> AsyncIterator[bytes]:
    """The series of a snapshot, whole lines, in pieces of up to ``SLICE`` series."""
    for lines in _families(snapshot):
        slice_: list[str] = []
        for line in lines:
            slice_.append(line)
            if len(slice_) == SLICE:
                yield "".join(slice_).encode()
                slice_.clear()
                await asyncio.sleep(0)
        yield "".join(slice_).encode()


def escape(value: str) -> str:
    """A label's value, safe between double quotes; lone surrogates become question marks."""
    return value.translate(_ESCAPES).encode(errors="replace").decode()


def _families(snapshot: Snapshot) -> Iterator[Iterable[str]]:
    """Each a header and its series; a family must not be mixed with another."""
    workloads = snapshot.workloads
    yield _gauge(
        "spotalis_workload_replicas",
        "Replicas by the class of their node and by state; desired is what the policy wants.",
        _replicas(workloads),
    )
    yield _gauge(
        "spotalis_workload_status",
        "1 for the reason why the workload is as it is.",
        ((f'{_labels(row)},reason="{escape(row.reason)}"', 1) for row in workloads),
    )
    yield _gauge(
        "spotalis_managed_workloads",
        "Workloads that opted in.",
        _counted("namespace", Counter(row.namespace for row in workloads)),
    )
    yield _gauge(
        "spotalis_moves_blocked",
        "Workloads with replicas that should move but do not, by the reason.",
        _counted("reason", Counter(row.reason for row in workloads if row.blocked)),
    )
    yield _gauge(
        "spotalis_fallback_replicas",
        "Replicas of spot slots that run on on-demand nodes for want of spot.",
        [("", sum(row.fallback for row in workloads))],
    )
    yield _gauge(
        "spotalis_storm_active",
        "1 while spot nodes are being lost in numbers and no replica moves to spot.",
        [("", int(snapshot.storm_active))],
    )
    yield _gauge(
        "spotalis_cache_age_seconds",
        "Since the watch of a resource last said anything.",
        _counted("resource", snapshot.cache_ages),
    )


def _gauge(name: str, help_: str, series: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {name} {help_}\n# TYPE {name} gauge\n"
    for labels, value in series:
        yield f"{name}{{{labels}}} {value}\n" if labels else f"{name} {value}\n"


def _replicas(rows: Iterable[WorkloadRow]) -> Iterator[tuple[str, float]]:
    for row in rows:
        labels = _labels(row)
        for capacity_type, state, count in row.replicas:
            yield f'{labels},capacity_type="{capacity_type}",state="{state}"', count


def _labels(row: WorkloadRow) -> str:
    return (
        f'namespace="{escape(row.namespace)}",workload="{escape(row.workload)}",'
        f'workload_type="{escape(row.workload_type)}"'
    )


def _counted(label: str, counts: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for value, count in sorted(counts.items()):
        yield f'{label}="{escape(value)}"', count
