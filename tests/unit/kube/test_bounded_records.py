"""What a cached record keeps of an object does not grow with what a tenant writes into it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec

from spotalis.kube import decode
from spotalis.kube.decode.shared import SharedValues
from spotalis.model.constraints import NOT_KEPT
from spotalis.model.objects import PREFIX, LabelSelector
from spotalis.model.policy_text import TooLong
from tests.support.api_objects import Json, a_pod, metadata, text
from tests.support.large_objects import large_labels, large_selector, large_spec

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


def test_an_owner_whose_names_no_object_can_have_is_not_kept() -> None:
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "controller": True}
    owners = [reference | {"uid": "u" * 253}, reference | {"uid": "u" * 254}]
    kept = [decode.pod(text(a_pod(ownerReferences=[one]))).owner for one in owners]
    assert [owner is not None for owner in kept] == [True, False]


class Words(list[str]):
    """A value that allows weak references."""


def words(raw: bytes) -> Words:
    return Words(msgspec.json.decode(raw))


def test_a_namespace_has_a_share_and_values_give_theirs_back_with_their_last_use() -> None:
    shared = SharedValues(words, max_bytes=2_000)
    texts = [msgspec.json.encode([f"word-{n}"] * 10) for n in range(4)]
    first, second, third = (shared.find(one, "tenant") for one in texts[:3])
    assert first is not None
    assert second is not None
    assert third is None
    assert shared.find(texts[0], "tenant") is first
    assert shared.find(texts[2], "shop") is not None
    del first
    gc.collect()
    third = shared.find(texts[2], "tenant")
    assert third is not None
    assert shared.find(texts[3], "tenant") is None
    assert len(shared) == 2


def test_a_value_that_says_nothing_is_not_remembered() -> None:
    shared: SharedValues[Words] = SharedValues(lambda raw: None, max_bytes=2_000)
    for number in range(100):
        assert shared.find(b"%d" % number, "tenant") is None
    assert len(shared) == 0


def large_pod(number: int, namespace: str) -> Json:
    """A pod of 50 kB whose record would take 170 KiB."""
    return a_pod(
        str(number),
        namespace=namespace,
        labels=large_labels(number),
        spec=large_spec(number, claims=128),
    )


def test_the_pods_of_a_namespace_beyond_its_share_are_kept_without_labels_and_constraints() -> None:
    kept = [decode.pod(text(large_pod(n, "tenant"))) for n in range(150)]
    assert (len(kept[0].labels), len(kept[0].claims)) == (1_302, 128)
    assert kept[0].shape.node_terms
    last = kept[-1]
    assert last.labels == {f"{PREFIX}capacity-type": "spot"}
    assert (last.shape.cpu_millis, last.shape.node_terms, last.claims) == (2000, (), ())
    assert last.shape.unjudged == NOT_KEPT
    other = decode.pod(text(large_pod(0, "shop")))
    assert len(other.labels) == 1_302
    assert other.shape.node_terms


def test_selectors_of_a_namespace_beyond_its_share_select_nothing() -> None:
    def budget(number: int) -> object:
        meta = metadata(str(number), namespace="tenant")
        written = {"metadata": meta, "spec": {"selector": large_selector(number)}}
        return decode.disruption_budget(text(written)).selector

    kept = [budget(number) for number in range(50)]
    assert kept[0] is not None
    assert kept[-1] is None


def test_pod_templates_of_a_namespace_beyond_its_share_are_kept_without_labels() -> None:
    def template(number: int) -> Json:
        return {"metadata": {"labels": large_labels(number)}, "spec": large_spec(number)}

    kept = [
        decode.deployment(
            text(
                {
                    "metadata": metadata(str(number), namespace="tenant"),
                    "spec": {"selector": large_selector(number), "template": template(number)},
                }
            )
        )
        for number in range(150)
    ]
    assert len(kept[0].template_labels) == 1_302
    assert kept[0].selector.requirements
    assert list(kept[-1].template_labels) == [f"{PREFIX}capacity-type"]
    assert kept[-1].selector == LabelSelector()
    assert kept[-1].shape.unjudged == NOT_KEPT
