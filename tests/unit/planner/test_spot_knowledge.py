"""What is known about spot capacity, from the evidence of every workload."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from spotalis.model.ledger import Ledger
from spotalis.model.objects import HostPort, LabelSelector, Requirement, Toleration
from spotalis.model.spot_knowledge import SpotAvailability, SpotRecord
from spotalis.planner.spot_knowledge import (
    ALWAYS_SECONDS,
    MAX_RECORDS,
    NOTHING_KNOWN,
    SpotQuestion,
    SpotView,
    failure,
    from_ledger,
    merge,
    probe_backoff,
    question_of,
    success,
    view,
    with_ledger,
)
from tests.support.builders import NOW, a_shape
from tests.unit.planner.ledgers import an_exhausted_ledger

UNKNOWN, EXHAUSTED, AVAILABLE = SpotAvailability
QUESTION = SpotQuestion(
    shape="plain",
    own="workload/api-uid",
    namespace="shop",
    cpu_millis=500,
    memory_bytes=500,
    patience=timedelta(seconds=120),
)
MINUTE = timedelta(minutes=1)


def failed(minutes_ago: float = 1, **changes: Any) -> SpotRecord:
    fields: dict[str, Any] = {
        "shape": "plain",
        "cpu_millis": 500,
        "memory_bytes": 500,
        "at": NOW - minutes_ago * MINUTE,
        "waited_seconds": 120,
        "failed_probes": 1,
    }
    return SpotRecord(**(fields | changes))


def succeeded(minutes_ago: float = 1, **changes: Any) -> SpotRecord:
    fields: dict[str, Any] = {
        "shape": "plain",
        "cpu_millis": 500,
        "memory_bytes": 500,
        "at": NOW - minutes_ago * MINUTE,
        "found": True,
    }
    return SpotRecord(**(fields | changes))


@pytest.mark.parametrize(
    ("records", "availability"),
    [
        pytest.param([], UNKNOWN, id="nothing"),
        pytest.param([failed()], EXHAUSTED, id="failure"),
        pytest.param([succeeded()], AVAILABLE, id="success"),
        pytest.param([failed(2), succeeded(1)], AVAILABLE, id="success after failure"),
        pytest.param([failed(1), succeeded(2)], EXHAUSTED, id="failure after success"),
        pytest.param([failed(1), succeeded(1)], EXHAUSTED, id="both at once"),
        pytest.param([failed(shape="gpu")], UNKNOWN, id="another shape"),
        pytest.param([failed(shape="workload/api-uid")], EXHAUSTED, id="its own shape"),
        pytest.param([failed(cpu_millis=400)], EXHAUSTED, id="failure of a smaller pod"),
        pytest.param([failed(cpu_millis=600)], UNKNOWN, id="failure of a larger pod"),
        pytest.param([failed(memory_bytes=600)], UNKNOWN, id="failure with more memory"),
        pytest.param([failed(2), succeeded(1, cpu_millis=600)], AVAILABLE, id="larger success"),
        pytest.param([failed(2), succeeded(1, cpu_millis=400)], EXHAUSTED, id="smaller success"),
        pytest.param([failed(waited_seconds=119)], UNKNOWN, id="shorter wait than its own"),
        pytest.param([failed(waited_seconds=ALWAYS_SECONDS)], EXHAUSTED, id="refused"),
        pytest.param([failed(64)], EXHAUSTED, id="an hour after the probe was due"),
        pytest.param([failed(65)], UNKNOWN, id="forgotten failure"),
        pytest.param([succeeded(59)], AVAILABLE, id="success within the hour"),
        pytest.param([succeeded(60)], UNKNOWN, id="forgotten success"),
    ],
)
def test_what_records_say(records: list[SpotRecord], availability: SpotAvailability) -> None:
    assert view(records, QUESTION, NOW).availability is availability


@pytest.mark.parametrize(
    ("records", "availability"),
    [
        pytest.param([failed(namespace="shop")], EXHAUSTED, id="its own namespace"),
        pytest.param([failed(namespace="tenant")], UNKNOWN, id="another namespace"),
        pytest.param(
            [failed(namespace="tenant", waited_seconds=ALWAYS_SECONDS)],
            UNKNOWN,
            id="an Event of another namespace",
        ),
        pytest.param(
            [failed(1, namespace="tenant"), failed(2, namespace="tenant", cpu_millis=400)],
            UNKNOWN,
            id="another namespace twice",
        ),
        pytest.param(
            [failed(1, namespace="tenant"), failed(2, namespace="bank")],
            EXHAUSTED,
            id="two other namespaces",
        ),
        pytest.param(
            [failed(1, namespace="tenant"), failed(2, namespace="bank", shape="gpu")],
            UNKNOWN,
            id="two other namespaces, different shapes",
        ),
        pytest.param(
            [failed(1, namespace="tenant"), failed(2, namespace="bank", cpu_millis=600)],
            UNKNOWN,
            id="two other namespaces, a larger pod",
        ),
        pytest.param(
            [failed(2), succeeded(1, namespace="shop")], AVAILABLE, id="its own probe landed"
        ),
        pytest.param(
            [failed(2), succeeded(1, namespace="tenant"), succeeded(1, namespace="bank")],
            EXHAUSTED,
            id="probes of other namespaces landed",
        ),
        pytest.param([failed(2, namespace="shop"), succeeded(1)], AVAILABLE, id="a node joined"),
    ],
)
def test_what_other_namespaces_have_found_out(
    records: list[SpotRecord], availability: SpotAvailability
) -> None:
    assert view(merge((), records), QUESTION, NOW).availability is availability


def test_a_record_names_the_namespace_that_has_found_it_out() -> None:
    record = new_failure(view([], QUESTION, NOW))
    landed = success(view([], QUESTION, NOW), NOW, node_joined=False)
    joined = success(view([], QUESTION, NOW), NOW, node_joined=True)
    assert record is not None
    assert landed is not None
    assert joined is not None
    assert (record.namespace, landed.namespace, joined.namespace) == ("shop", "shop", "")


def test_a_namespace_with_many_shapes_displaces_its_own_records_only() -> None:
    old = [failed(60, namespace=name, shape=name) for name in ("shop", "bank", "")]
    many = [failed(n / 60, namespace="tenant", shape=f"{n}") for n in range(3 * MAX_RECORDS)]
    kept = merge(old, many)
    assert len(kept) == MAX_RECORDS
    assert kept == (*many[: MAX_RECORDS - 3], *(one for one in kept if one in old))
    assert set(kept) >= set(old)


def test_a_workload_that_never_falls_back_ignores_failures() -> None:
    question = question_of(a_shape(), "api-uid", timedelta.max)
    records = [failed(shape=question.shape, waited_seconds=ALWAYS_SECONDS)]
    assert view(records, question, NOW).availability is UNKNOWN


def test_the_latest_failure_says_when_the_next_probe_is_due() -> None:
    records = [failed(20, cpu_millis=100, failed_probes=4), failed(2, failed_probes=2, cause="x")]
    seen = view(records, QUESTION, NOW)
    assert (seen.since, seen.cause) == (NOW - 2 * MINUTE, "x")
    assert seen.next_probe_at == NOW + 8 * MINUTE
    assert seen.probe_due_in(NOW) == 8 * MINUTE
    assert seen.probe_due_in(NOW + 9 * MINUTE) == timedelta(0)
    assert NOTHING_KNOWN.probe_due_in(NOW) == timedelta(0)


@pytest.mark.parametrize(
    ("count", "minutes"), [(0, 5), (1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (50, 60)]
)
def test_the_wait_between_probes_doubles_up_to_an_hour(count: int, minutes: int) -> None:
    assert probe_backoff(count) == minutes * MINUTE


@pytest.mark.parametrize(
    ("before", "is_probe", "failed_probes"),
    [
        pytest.param([], False, 1, id="first"),
        pytest.param([failed(9, failed_probes=3)], False, 3, id="waited again"),
        pytest.param([failed(9, failed_probes=3)], True, 4, id="probe"),
        pytest.param([failed(9, failed_probes=3), succeeded(8)], True, 1, id="after a success"),
    ],
)
def test_consecutive_failed_probes_are_counted(
    before: list[SpotRecord], is_probe: bool, failed_probes: int
) -> None:
    record = new_failure(view(before, QUESTION, NOW), is_probe=is_probe)
    assert record is not None
    assert record.failed_probes == failed_probes
    assert view(merge(before, [record]), QUESTION, NOW).since == NOW


def new_failure(seen: SpotView, *, is_probe: bool = False) -> SpotRecord | None:
    return failure(
        seen, NOW, waited_seconds=120, is_probe=is_probe, is_private=False, cause="waited"
    )


def test_evidence_that_says_the_same_again_within_30_seconds_is_not_recorded() -> None:
    assert new_failure(view([failed(0.4)], QUESTION, NOW)) is None
    assert new_failure(view([failed(0.6)], QUESTION, NOW)) is not None
    assert new_failure(view([failed(0.4)], QUESTION, NOW), is_probe=True) is not None
    assert success(view([succeeded(0.4)], QUESTION, NOW), NOW, node_joined=True) is None
    assert success(view([succeeded(0.6)], QUESTION, NOW), NOW, node_joined=True) is not None


RECORDS = (
    failed(3),
    failed(2, failed_probes=2),
    failed(1, cpu_millis=100, waited_seconds=60),
    failed(3, cpu_millis=100, waited_seconds=60),
    failed(4, cpu_millis=900),
    succeeded(5),
    succeeded(0.5, cpu_millis=300),
    succeeded(2.5, shape="gpu"),
)


def test_the_order_of_news_does_not_matter() -> None:
    results = {merge(merge((), order[:3]), order[3:]) for order in itertools.permutations(RECORDS)}
    assert len(results) == 1


@pytest.mark.parametrize("cpu_millis", [50, 100, 200, 300, 400, 500, 900, 1000])
def test_dropping_records_changes_no_answer(cpu_millis: int) -> None:
    question = SpotQuestion(shape="plain", cpu_millis=cpu_millis, memory_bytes=500)
    kept = merge((), RECORDS)
    assert len(kept) < len(RECORDS)
    assert view(kept, question, NOW).since == view(RECORDS, question, NOW).since


def test_the_number_of_records_is_limited_to_the_latest() -> None:
    records = [failed(number / 60, shape=str(number)) for number in range(MAX_RECORDS + 9)]
    assert set(merge((), records)) == set(records[:MAX_RECORDS])


def test_records_older_than_two_hours_are_dropped() -> None:
    assert merge([failed(121, shape="old")], [failed(0)]) == (failed(0),)


def test_workloads_that_differ_only_in_requests_share_a_shape() -> None:
    plain = question_of(a_shape(), "a", MINUTE)
    assert question_of(a_shape(cpu_millis=9), "b", MINUTE).shape == plain.shape


def test_tolerations_that_admission_adds_to_every_pod_do_not_change_the_shape() -> None:
    added = tuple(
        Toleration(f"node.kubernetes.io/{state}", "Exists", "", "NoExecute")
        for state in ("not-ready", "unreachable")
    )
    admitted = question_of(a_shape(tolerations=added), "a", MINUTE)
    assert admitted.shape == question_of(a_shape(), "b", MINUTE).shape


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"other": (("nvidia.com/gpu", 1),)}, id="GPU"),
        pytest.param({"node_selector": (("disk", "ssd"),)}, id="node selector"),
        pytest.param({"node_terms": ((Requirement("zone", "In", ("a",)),),)}, id="affinity"),
        pytest.param({"tolerations": (Toleration("team", "Exists", "", ""),)}, id="toleration"),
        pytest.param({"anti_affinity": (("host", LabelSelector()),)}, id="anti-affinity"),
    ],
)
def test_a_shape_has_constraints_tolerations_and_devices(change: dict[str, Any]) -> None:
    plain, other = question_of(a_shape(), "a", MINUTE), a_shape(**change)
    assert question_of(other, "a", MINUTE).shape != plain.shape


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"anti_affinity": (("host", LabelSelector()),)}, id="anti-affinity"),
        pytest.param({"host_ports": (HostPort(80),)}, id="host port"),
        pytest.param({"unjudged": "topology spread"}, id="what is not judged"),
    ],
)
def test_a_workload_whose_pods_may_wait_for_other_reasons_shares_its_shape_with_no_other(
    change: dict[str, Any],
) -> None:
    shape = a_shape(**change)
    assert question_of(shape, "a", MINUTE).shape != question_of(shape, "b", MINUTE).shape


@pytest.mark.parametrize(
    ("ledger", "availability", "due_in"),
    [
        pytest.param(Ledger(), UNKNOWN, timedelta(0), id="new"),
        pytest.param(an_exhausted_ledger(), EXHAUSTED, timedelta(0), id="no probe yet"),
        pytest.param(
            an_exhausted_ledger(failed_probes=3, next_probe_at=NOW + 7 * MINUTE),
            EXHAUSTED,
            7 * MINUTE,
            id="failed probes",
        ),
        pytest.param(Ledger(spot_availability=AVAILABLE), AVAILABLE, timedelta(0), id="available"),
    ],
)
def test_the_ledger_of_an_older_version_is_respected(
    ledger: Ledger, availability: SpotAvailability, due_in: timedelta
) -> None:
    seen = view(with_ledger((), ledger, QUESTION, NOW), QUESTION, NOW)
    assert (seen.availability, seen.probe_due_in(NOW)) == (availability, due_in)


def test_a_failure_in_an_old_ledger_concerns_only_its_workload() -> None:
    record = from_ledger(an_exhausted_ledger(), QUESTION, NOW)
    assert record is not None
    assert record.shape == "workload/api-uid"
