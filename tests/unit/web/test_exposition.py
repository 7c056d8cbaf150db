"""The scrape-time series: valid for Prometheus' own parsers, and written in short slices."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from spotalis.web.exposition import SLICE, Snapshot, WorkloadRow, escape, write
from tests.support.metrics_text import families_of_open_metrics, families_of_text


def a_row(**changes: object) -> WorkloadRow:
    row: dict[str, object] = {
        "namespace": "shop",
        "workload": "api",
        "workload_type": "deployment",
        "reason": "Balanced",
        "replicas": (("spot", "ready", 7), ("on-demand", "ready", 3), ("spot", "desired", 7)),
    }
    return WorkloadRow(**(row | changes))  # type: ignore[arg-type]  # a builder


async def _written(snapshot: Snapshot) -> list[bytes]:
    return [piece async for piece in write(snapshot)]


async def _series(snapshot: Snapshot) -> dict[tuple[str, ...], float]:
    text = b"".join(await _written(snapshot)).decode()
    samples = [s for family in families_of_text(text) for s in family.samples]
    strict = [s for family in families_of_open_metrics(text + "# EOF\n") for s in family.samples]
    assert [(s.name, s.labels, s.value) for s in samples] == [
        (s.name, s.labels, s.value) for s in strict
    ]
    series = {(s.name, *(f"{k}={v}" for k, v in s.labels.items())): s.value for s in samples}
    assert len(series) == len(samples), "no duplicate series"
    return series


async def test_a_snapshot_is_written_as_series_per_workload_and_sums_over_all_workloads() -> None:
    rows = (
        a_row(),
        a_row(workload="db", workload_type="statefulset", reason="NoSpotCapacity",
              replicas=(), blocked=True, fallback=2),
        a_row(namespace="infra", reason="NoSpotCapacity", replicas=(), blocked=True, fallback=1),
    )  # fmt: skip
    series = await _series(Snapshot(workloads=rows, cache_ages={"pods": 1.5}, storm_active=True))
    api = ("namespace=shop", "workload=api", "workload_type=deployment")
    db = ("namespace=shop", "workload=db", "workload_type=statefulset")
    other = ("namespace=infra", "workload=api", "workload_type=deployment")
    name = "spotalis_workload_replicas"
    assert series == {
        (name, *api, "capacity_type=spot", "state=ready"): 7,
        (name, *api, "capacity_type=on-demand", "state=ready"): 3,
        (name, *api, "capacity_type=spot", "state=desired"): 7,
        ("spotalis_workload_status", *api, "reason=Balanced"): 1,
        ("spotalis_workload_status", *db, "reason=NoSpotCapacity"): 1,
        ("spotalis_workload_status", *other, "reason=NoSpotCapacity"): 1,
        ("spotalis_managed_workloads", "namespace=infra"): 1,
        ("spotalis_managed_workloads", "namespace=shop"): 2,
        ("spotalis_moves_blocked", "reason=NoSpotCapacity"): 2,
        ("spotalis_fallback_replicas",): 3,
        ("spotalis_storm_active",): 1,
        ("spotalis_cache_age_seconds", "resource=pods"): 1.5,
    }


async def test_a_snapshot_without_workloads_still_has_every_family() -> None:
    assert await _series(Snapshot()) == {
        ("spotalis_fallback_replicas",): 0,
        ("spotalis_storm_active",): 0,
    }
    text = b"".join(await _written(Snapshot())).decode()
    assert {family.name for family in families_of_text(text)} >= {
        "spotalis_workload_replicas",
        "spotalis_workload_status",
        "spotalis_managed_workloads",
        "spotalis_moves_blocked",
    }


@given(st.text())
async def test_a_label_value_survives_escaping(name: str) -> None:
    row = a_row(namespace=name, replicas=())
    text = b"".join(await _written(Snapshot(workloads=[row]))).decode()
    found = [
        sample.labels["namespace"]
        for family in families_of_open_metrics(text + "# EOF\n")
        for sample in family.samples
        if sample.name == "spotalis_workload_status"
    ]
    assert found == [name]


def test_lone_surrogates_are_replaced_and_do_not_fail_the_scrape() -> None:
    assert escape('a\ud800"\n\\') == 'a?\\"\\n\\\\'


async def test_the_event_loop_runs_after_every_slice() -> None:
    rows = [a_row(workload=f"w{i}") for i in range(2000)]
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    pieces = await _written(Snapshot(workloads=rows))
    counting.cancel()
    assert turns >= 2000 * 4 // SLICE - 1
    assert max(piece.count(b"\n") for piece in pieces) <= SLICE + 1
