from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.kube import decode
from spotalis.model.objects import (
    LabelSelector,
    Owner,
    Pod,
    Requirement,
    Workload,
)
from tests.support.api_objects import Json, a_pod, condition, metadata, text

NINE = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
AT_NINE = "2026-11-23T09:00:00Z"


def pod(*args: Any, **fields: Any) -> Pod:
    return decode.pod(text(a_pod(*args, **fields)))


def controlled_by(kind: str, name: str, **fields: Any) -> Json:
    reference = {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": f"uid-{name}"}
    return {**reference, "controller": True, **fields}


class TestPod:
    def test_identity_and_placement(self) -> None:
        seen = pod("web-1", version=42, labels={"app": "web"})
        assert (seen.namespace, seen.name, seen.uid) == ("shop", "web-1", "uid-web-1")
        assert (seen.resource_version, seen.node, seen.phase) == ("42", "n1", "Running")
        assert (seen.labels, seen.created_at) == ({"app": "web"}, NINE)

    def test_raw_json_is_as_good_as_bytes(self) -> None:
        document = text(a_pod())
        assert decode.pod(msgspec.Raw(document)) == decode.pod(document)

    def test_nulls_of_required_fields_are_accepted(self) -> None:
        document = a_pod(labels=None, annotations=None, ownerReferences=None)
        document["spec"] |= {"containers": None, "initContainers": None, "tolerations": None}
        document["status"] = {"phase": "Pending", "conditions": None}
        seen = decode.pod(text(document))
        assert (seen.labels, seen.owner, seen.ready) == ({}, None, False)

    def test_a_pod_just_created_has_no_status(self) -> None:
        document = a_pod()
        del document["status"]
        assert decode.pod(text(document)).phase == "Pending"

    def test_only_the_controlling_owner_counts(self) -> None:
        references = [
            {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"},
            controlled_by("ReplicaSet", "web-7c9"),
        ]
        seen = pod(ownerReferences=references)
        assert seen.owner == Owner("apps", "ReplicaSet", "web-7c9", "uid-web-7c9")
        assert pod(ownerReferences=references[:1]).owner is None

    def test_the_core_group_is_empty(self) -> None:
        reference = controlled_by("ReplicationController", "rc", apiVersion="v1")
        assert pod(ownerReferences=[reference]).owner == Owner(
            "", "ReplicationController", "rc", "uid-rc"
        )

    def test_ready_with_its_transition_time(self) -> None:
        seen = pod(conditions=[condition("Ready", since=AT_NINE)])
        assert (seen.ready, seen.ready_at) == (True, NINE)
        seen = pod(conditions=[condition("Ready", "False", since=AT_NINE)])
        assert (seen.ready, seen.ready_at) == (False, None)

    def test_unschedulable_with_its_transition_time(self) -> None:
        conditions = [condition("PodScheduled", "False", "Unschedulable", AT_NINE)]
        seen = pod(conditions=conditions, generation=1)
        assert (seen.unschedulable, seen.unschedulable_since) == (True, NINE)

    @pytest.mark.parametrize(
        ("generation", "created", "is_known"),
        [
            pytest.param(1, AT_NINE, True, id="the spec was never changed"),
            pytest.param(2, AT_NINE, False, id="a gate may have been removed"),
            pytest.param(2, "2026-01-01T08:59:00Z", False, id="a gate added by an early webhook"),
            pytest.param(None, AT_NINE, False, id="before 1.33, since its creation"),
            pytest.param(None, "2026-01-01T08:59:00Z", True, id="before 1.33, later"),
        ],
    )
    def test_the_transition_time_may_be_that_of_a_scheduling_gate(
        self, generation: int | None, created: str, is_known: bool
    ) -> None:
        conditions = [condition("PodScheduled", "False", "Unschedulable", AT_NINE)]
        seen = pod(conditions=conditions, generation=generation, creationTimestamp=created)
        assert seen.unschedulable
        assert seen.unschedulable_since == (NINE if is_known else None)

    def test_a_condition_without_a_transition_time(self) -> None:
        seen = pod(conditions=[condition("PodScheduled", "False", "Unschedulable")])
        assert (seen.unschedulable, seen.unschedulable_since) == (True, None)

    @pytest.mark.parametrize(
        ("status", "reason"), [("False", "SchedulingGated"), ("True", ""), ("Unknown", "")]
    )
    def test_gated_or_scheduled_is_not_unschedulable(self, status: str, reason: str) -> None:
        assert not pod(conditions=[condition("PodScheduled", status, reason)]).unschedulable

    def test_terminating(self) -> None:
        assert pod(deletionTimestamp=AT_NINE).deleting_at == NINE

    @pytest.mark.parametrize(
        ("written", "slot"),
        [("0", 0), ("17", 17), ("", None), ("-1", None), ("1.5", None), ("a", None), ("٣", None)],
    )
    def test_slot(self, written: str, slot: int | None) -> None:
        assert pod(annotations={"spotalis.io/slot": written}).slot == slot

    def test_a_slot_with_too_many_digits_is_none(self) -> None:
        assert pod(annotations={"spotalis.io/slot": "9" * 5000}).slot is None

    def test_decision(self) -> None:
        decision = '{"class":"spot","have":[2,6],"rule":"floor","id":"6f1"}'
        seen = pod(annotations={"spotalis.io/decision": decision})
        assert (seen.rule, seen.request_uid) == ("floor", "6f1")

    @pytest.mark.parametrize(
        "decision",
        [
            "",
            "null",
            "[]",
            "7",
            "{",
            '{"rule":7}',
            '{"rule":null}',
            "[" * 900,
            '{"rule":"' + "x" * 2000 + '"}',
        ],
    )
    def test_a_malformed_decision_is_none(self, decision: str) -> None:
        seen = pod(annotations={"spotalis.io/decision": decision})
        assert (seen.rule, seen.request_uid) == ("", "")

    @pytest.mark.parametrize(
        ("annotations", "protected"),
        [
            ({"karpenter.sh/do-not-disrupt": "true"}, True),
            ({"karpenter.sh/do-not-disrupt": "false"}, False),
            ({"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}, True),
            ({"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}, False),
            ({"descheduler.alpha.kubernetes.io/prefer-no-eviction": "true"}, True),
            ({"descheduler.alpha.kubernetes.io/prefer-no-eviction": ""}, True),
            ({"karpenter.sh/do-not-disrupt": "5m"}, True),
            ({"karpenter.sh/do-not-disrupt": ""}, False),
            ({"karpenter.sh/do-not-evict": "true"}, True),
            ({"karpenter.sh/do-not-evict": "false"}, False),
            ({"descheduler.alpha.kubernetes.io/evict": "false"}, True),
            ({"descheduler.alpha.kubernetes.io/evict": "true"}, False),
            ({"autoscaling.cast.ai/removal-disabled": "true"}, True),
            ({"autoscaling.cast.ai/removal-disabled": "false"}, False),
            ({"karpenter.sh/disruption-cost": "100"}, False),
            ({}, False),
        ],
    )
    def test_protected(self, annotations: Json, protected: bool) -> None:
        assert pod(annotations=annotations).protected is protected

    @pytest.mark.parametrize(
        ("labels", "protected"),
        [
            ({"autoscaling.cast.ai/removal-disabled": "true"}, True),
            ({"autoscaling.cast.ai/removal-disabled": "false"}, False),
            ({"spotinst.io/restrict-scale-down": "true"}, True),
            ({"karpenter.sh/do-not-disrupt": "true"}, False),
        ],
    )
    def test_protected_by_a_label(self, labels: Json, protected: bool) -> None:
        assert pod(labels=labels).protected is protected

    def test_pods_of_one_workload_share_labels_and_owner(self) -> None:
        fields = {"labels": {"app": "w"}, "ownerReferences": [controlled_by("ReplicaSet", "w-1")]}
        one, two = pod("one", **fields), pod("two", **fields)
        assert one.labels is two.labels
        assert one.owner is two.owner
        assert one.namespace is two.namespace

    @pytest.mark.parametrize(
        "broken",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'{"metadata":{}}',
            b'{"metadata":{"name":1,"namespace":"n"},"spec":{}}',
            text(a_pod(labels={"a": 1})),
            text(a_pod(labels=["a"])),
            text(a_pod(creationTimestamp="yesterday")),
            text(a_pod(spec={"containers": [{"resources": {"requests": {"cpu": "much"}}}]})),
            text(a_pod(spec={"tolerations": "all"})),
            text(a_pod(annotations={"spotalis.io/slot": "@"})).replace(b"@", b"\xff"),
            b'{"metadata":' * 5000,
        ],
    )
    def test_anything_but_a_pod_is_undecodable(self, broken: bytes) -> None:
        with pytest.raises(decode.DECODE_ERRORS):
            decode.pod(broken)

    @given(st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=5))
    def test_labels_and_annotations_may_hold_any_text(self, keys: dict[str, str]) -> None:
        assert pod(labels=keys, annotations=keys).labels == keys


def workload(kind: str, spec: Json | None = None, status: Json | None = None, **meta: Any) -> Json:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app"}]}}
    selector = {"matchLabels": {"app": "web"}}
    return {
        "kind": kind,
        "metadata": metadata("web", version=7, generation=3, **meta),
        "spec": {"replicas": 10, "selector": selector, "template": template, **(spec or {})},
        "status": status or {},
    }


def deployment(**fields: Any) -> Workload:
    return decode.deployment(text(workload("Deployment", **fields)))


def stateful_set(**fields: Any) -> Workload:
    return decode.stateful_set(text(workload("StatefulSet", **fields)))


class TestWorkload:
    def test_both_kinds_become_the_same_record(self) -> None:
        assert deployment().kind == "Deployment"
        assert stateful_set().kind == "StatefulSet"

    def test_counts(self) -> None:
        counts = {"observedGeneration": 2, "replicas": 9, "updatedReplicas": 8}
        seen = deployment(
            spec={"replicas": 10, "minReadySeconds": 5},
            status=counts,
        )
        assert (seen.generation, seen.observed_generation) == (3, 2)
        assert (seen.replicas, seen.status_replicas) == (10, 9)
        assert (seen.updated_replicas, seen.min_ready_seconds) == (8, 5)

    @pytest.mark.parametrize(("written", "replicas"), [(None, 1), (0, 0), (3, 3)])
    def test_absent_replicas_are_one(self, written: int | None, replicas: int) -> None:
        assert deployment(spec={"replicas": written}).replicas == replicas

    def test_only_keys_of_spotalis_are_kept(self) -> None:
        own, other = {"spotalis.io/enabled": "true"}, {"kubectl.kubernetes.io/last": "{}"}
        seen = deployment(labels={**own, **other}, annotations={**own, **other})
        assert (seen.labels, seen.annotations) == (own, own)

    def test_keys_and_labels_of_the_template(self) -> None:
        meta = {
            "labels": {"app": "web", "spotalis.io/capacity-type": "spot"},
            "annotations": {"spotalis.io/slot": "1", "x": "y"},
        }
        container = {"resources": {"requests": {"cpu": "1"}}}
        seen = deployment(
            spec={"template": {"metadata": meta, "spec": {"containers": [container]}}}
        )
        assert seen.template_keys == ("spotalis.io/capacity-type", "spotalis.io/slot")
        assert seen.template_labels == meta["labels"]
        assert seen.shape.cpu_millis == 1000

    def test_selector(self) -> None:
        expression = {"key": "tier", "operator": "NotIn", "values": ["x"]}
        labels = {"b": "2", "a": "1"}
        seen = deployment(
            spec={"selector": {"matchLabels": labels, "matchExpressions": [expression]}}
        )
        assert seen.selector == LabelSelector(
            (
                Requirement("a", "In", ("1",)),
                Requirement("b", "In", ("2",)),
                Requirement("tier", "NotIn", ("x",)),
            )
        )

    def test_fields_of_stateful_sets(self) -> None:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 4}}
        seen = stateful_set(
            spec={"updateStrategy": strategy, "ordinals": {"start": 5}},
            status={"currentRevision": "web-1", "updateRevision": "web-2"},
        )
        assert (seen.current_revision, seen.update_revision) == ("web-1", "web-2")
        assert (seen.partition, seen.first_ordinal) == (4, 5)
        assert (seen.ordered, seen.on_delete) == (True, False)

    def test_on_delete_and_parallel(self) -> None:
        spec = {"updateStrategy": {"type": "OnDelete"}, "podManagementPolicy": "Parallel"}
        seen = stateful_set(spec=spec)
        assert (seen.ordered, seen.on_delete) == (False, True)

    def test_a_deployment_is_never_ordered(self) -> None:
        assert not deployment().ordered
