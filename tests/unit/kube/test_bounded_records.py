"""What a cached record keeps of an object does not grow with what a tenant writes into it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

from spotalis.kube import decode
from spotalis.model.objects import PREFIX, LabelSelector
from spotalis.model.policy_text import TooLong
from tests.support.api_objects import Json, a_pod, metadata, text

KIB = 1024


def growth_bytes(count: int, build: Callable[[int], object]) -> int:
    """Memory that is still in use after ``count`` values were built and the last one is kept."""
    kept: object = None
    for number in range(3):
        kept = build(number)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(3, count):
            kept = build(number)
        gc.collect()
        assert kept is not None
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def many_labels(number: int) -> dict[str, str]:
    return {f"label-{number}-{k:05}": "x" * 60 for k in range(5_000)}


def test_a_pod_that_is_relabelled_again_and_again_keeps_only_its_last_labels() -> None:
    def relabelled(number: int) -> object:
        return decode.pod(text(a_pod(labels=many_labels(number))))

    assert growth_bytes(20, relabelled) < 64 * KIB


def test_shapes_and_owners_are_dropped_with_their_last_pod() -> None:
    def changed(number: int) -> object:
        selector = {f"key-{number}-{k}": "x" * 60 for k in range(50)}
        owners = [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{number}-{k}", "uid": "u"}
            for k in range(1_000)
        ]
        owners[-1]["controller"] = True  # type: ignore[assignment]
        return decode.pod(text(a_pod(spec={"nodeSelector": selector}, ownerReferences=owners)))

    assert growth_bytes(20, changed) < 64 * KIB


def deployment(**fields: Any) -> Json:
    return {"metadata": metadata("api", **fields), "spec": {"template": {}}}


def test_annotations_that_are_not_read_are_not_kept() -> None:
    unread = {f"{PREFIX}x{k:03}": "x" * 250 for k in range(1_000)}
    record = decode.deployment(text(deployment(annotations=unread)))
    assert list(record.annotations) == [f"{PREFIX}x{k:03}" for k in range(6)]
    assert record.dropped_keys == 994


def test_a_key_that_is_read_is_kept_behind_any_number_of_others() -> None:
    labels = {f"{PREFIX}a{k:03}": "x" for k in range(100)} | {f"{PREFIX}enabled": "true"}
    record = decode.deployment(text(deployment(labels=labels)))
    assert record.labels[f"{PREFIX}enabled"] == "true"
    assert (len(record.labels), record.dropped_keys) == (7, 94)


def test_only_the_beginning_and_the_length_of_a_long_value_are_kept() -> None:
    annotations = {f"{PREFIX}spot-fallback": "1" * 250_000}
    value = decode.deployment(text(deployment(annotations=annotations))).annotations
    kept = value[f"{PREFIX}spot-fallback"]
    assert isinstance(kept, TooLong)
    assert (kept, kept.length) == ("1" * 40 + "...", 250_000)


def test_of_too_many_labels_those_that_are_read_by_name_are_kept() -> None:
    labels = many_labels(0) | {f"{PREFIX}capacity-type": "spot", "pod-template-hash": "7d"}
    kept = decode.pod(text(a_pod(labels=labels))).labels
    assert kept[f"{PREFIX}capacity-type"] == "spot"
    assert kept["pod-template-hash"] == "7d"
    assert 50 < len(kept) < 60


def test_a_selector_that_is_too_long_selects_nothing_and_is_not_kept() -> None:
    long = {"matchLabels": {f"key-{k}": "x" * 60 for k in range(1_000)}}
    budget = {"metadata": metadata("b"), "spec": {"selector": long}}
    assert decode.disruption_budget(text(budget)).selector is None
    workload = {"metadata": metadata("api"), "spec": {"selector": long, "template": {}}}
    assert decode.deployment(text(workload)).selector == LabelSelector()


def test_of_a_pod_with_thousands_of_claims_128_are_asked_about() -> None:
    volumes = [{"persistentVolumeClaim": {"claimName": f"c{k}"}} for k in range(5_000)]
    claims = decode.pod(text(a_pod(spec={"volumes": volumes}))).claims
    assert (len(claims), claims[0], claims[-1]) == (128, "c0", "c127")


def test_constraints_that_are_too_long_are_not_kept_and_make_the_shape_unjudged() -> None:
    term = {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}
    required = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term] * 5_000}
    }
    spec = {
        "affinity": {"nodeAffinity": required},
        "containers": [{"resources": {"requests": {"cpu": "2"}}}],
    }
    shape = decode.pod(text(a_pod(spec=spec))).shape
    assert (shape.cpu_millis, shape.node_terms) == (2000, ())
    assert shape.unjudged == "scheduling constraints of more than 8192 bytes"
