"""What the operator reads of nodes, budgets, volumes, Leases, Events and other objects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from spotalis.kube import decode
from spotalis.model.objects import (
    Lease,
    Node,
    NodeCondition,
    Owner,
    Requirement,
    Taint,
)
from spotalis.model.single_objects import Volume, VolumeClaim
from tests.support.api_objects import Json, a_pod, condition, metadata, text
from tests.support.volumes import ZONE, a_claim, a_volume

NINE = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
AT_NINE = "2026-11-23T09:00:00Z"


class TestNode:
    def node(self, spec: Json | None = None, **status: Any) -> Node:
        meta = metadata("n1", labels={"karpenter.sh/capacity-type": "spot"})
        return decode.node(text({"metadata": meta, "spec": spec or {}, "status": status}))

    def test_allocatable_resources(self) -> None:
        seen = self.node(
            allocatable={"cpu": "3920m", "memory": "16Gi", "pods": "110", "nvidia.com/gpu": "1"},
            conditions=[condition("Ready")],
        )
        assert (seen.cpu_millis, seen.memory_bytes, seen.pods) == (3920, 16 * 1024**3, 110)
        assert (seen.other, seen.ready, seen.cordoned) == ((("nvidia.com/gpu", 1),), True, False)
        assert seen.labels == {"karpenter.sh/capacity-type": "spot"}

    def test_taints_and_cordon(self) -> None:
        taints = [
            {"key": "spot", "value": "yes", "effect": "NoSchedule", "timeAdded": AT_NINE},
            {"key": "k"},
        ]
        seen = self.node(spec={"taints": taints, "unschedulable": True})
        assert seen.taints == (Taint("spot", "yes", "NoSchedule", NINE), Taint("k"))
        assert seen.cordoned

    def test_the_kubelets_own_conditions_are_left_out(self) -> None:
        own = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"]
        conditions = [condition(kind) for kind in own]
        assert self.node(conditions=conditions).conditions == ()

    def test_conditions_of_providers_are_kept(self) -> None:
        event = condition("VMEventScheduled", "True", "VMEventScheduled", AT_NINE)
        event["message"] = "Preempt Scheduled: soon"
        conditions = [event, condition("Aaa", "True")]
        assert self.node(conditions=conditions).conditions == (
            NodeCondition("Aaa", "True"),
            NodeCondition(
                "VMEventScheduled", "True", "VMEventScheduled", "Preempt Scheduled: soon", NINE
            ),
        )

    @pytest.mark.parametrize("status", ["False", "Unknown"])
    def test_false_conditions_of_problem_detectors_are_left_out(self, status: str) -> None:
        assert self.node(conditions=[condition("VMEventScheduled", status)]).conditions == ()

    def test_the_reason_of_not_ready_is_kept(self) -> None:
        seen = self.node(conditions=[condition("Ready", "Unknown", "NodeStatusUnknown")])
        assert not seen.ready
        assert seen.conditions == (NodeCondition("Ready", "Unknown", "NodeStatusUnknown"),)

    def test_a_node_that_has_just_registered(self) -> None:
        seen = decode.node(text({"metadata": metadata("n1")}))
        assert (seen.ready, seen.cpu_millis, seen.taints) == (False, 0, ())


def test_a_replica_set_links_a_pod_to_its_deployment() -> None:
    owner: Json = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "uid-web"}
    owner["controller"] = True
    meta = metadata("web-7c9", ownerReferences=[owner])
    document = {"metadata": meta, "spec": {"replicas": 3}, "status": {"replicas": 2}}
    seen = decode.replica_set(text(document))
    assert seen.owner == Owner("apps", "Deployment", "web", "uid-web")
    assert (seen.replicas, seen.status_replicas) == (3, 2)


def test_a_namespace_keeps_its_labels_and_our_annotations() -> None:
    meta = metadata(
        "shop", labels={"team": "a"}, annotations={"spotalis.io/enabled": "true", "x": "y"}
    )
    seen = decode.namespace(text({"metadata": meta}))
    assert (seen.labels, seen.annotations) == ({"team": "a"}, {"spotalis.io/enabled": "true"})


class TestDisruptionBudget:
    def test_counts(self) -> None:
        status = {"disruptionsAllowed": 1, "currentHealthy": 9, "desiredHealthy": 8}
        document = {
            "metadata": metadata("web", generation=2),
            "spec": {"selector": {}, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
            "status": {**status, "observedGeneration": 1},
        }
        seen = decode.disruption_budget(text(document))
        assert (seen.disruptions_allowed, seen.current_healthy, seen.desired_healthy) == (1, 9, 8)
        assert (seen.generation, seen.observed_generation) == (2, 1)
        assert seen.always_allow_unhealthy

    @pytest.mark.parametrize("spec", [{}, {"selector": None}])
    def test_no_selector_selects_nothing(self, spec: Json) -> None:
        document = {"metadata": metadata("web"), "spec": spec}
        assert decode.disruption_budget(text(document)).selector is None

    def test_an_empty_selector_selects_everything(self) -> None:
        document = {"metadata": metadata("web"), "spec": {"selector": {}}}
        selector = decode.disruption_budget(text(document)).selector
        assert selector is not None
        assert selector.matches({"any": "label"})


@pytest.mark.parametrize(
    ("volumes", "claims"),
    [
        (None, ()),
        ([{"name": "token", "projected": {"sources": []}}], ()),
        (
            [
                {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}},
                {"name": "scratch", "emptyDir": {}},
                {"name": "logs", "persistentVolumeClaim": {"claimName": "logs-db-0"}},
            ],
            ("data-db-0", "logs-db-0"),
        ),
        ([{"name": "own", "ephemeral": {"volumeClaimTemplate": {}}}], ()),
    ],
    ids=["none", "no claim", "two claims", "one that goes with the pod"],
)
def test_a_pod_names_the_claims_that_it_mounts(volumes: object, claims: tuple[str, ...]) -> None:
    assert tuple(decode.pod(text(a_pod(spec={"volumes": volumes}))).claims) == claims


def test_a_claim_says_which_volume_it_is_bound_to() -> None:
    bound = decode.volume_claim(text(a_claim("data-db-0", "disk-1")))
    assert bound == VolumeClaim(namespace="", name="data-db-0", volume="disk-1")
    free = {"metadata": {"name": "data-db-1", "namespace": "shop"}, "spec": {}}
    assert decode.volume_claim(text(free)) == VolumeClaim(namespace="shop", name="data-db-1")


def test_a_volume_says_which_nodes_reach_it() -> None:
    assert decode.volume(text(a_volume("disk-1", ""))) == Volume(name="disk-1")
    assert decode.volume(text(a_volume("disk-1", "b"))) == Volume(
        name="disk-1", node_terms=((Requirement(ZONE, "In", ("b",)),),)
    )


def test_a_lease_keeps_its_times_as_written() -> None:
    spec = {
        "holderIdentity": "a_1",
        "leaseDurationSeconds": 15,
        "leaseTransitions": 2,
        "renewTime": "2026-11-23T09:00:00.000001Z",
        "acquireTime": "2026-11-23T08:00:00.000000Z",
    }
    document = {"metadata": metadata("spotalis", annotations={"a": "b"}), "spec": spec}
    assert decode.lease(text(document)) == Lease(
        namespace="shop",
        name="spotalis",
        uid="uid-spotalis",
        resource_version="1",
        holder="a_1",
        duration_seconds=15,
        transitions=2,
        renewed_at="2026-11-23T09:00:00.000001Z",
        acquired_at="2026-11-23T08:00:00.000000Z",
        annotations={"a": "b"},
    )


def test_a_released_lease_has_no_holder() -> None:
    spec = {"holderIdentity": None, "leaseDurationSeconds": None, "renewTime": None}
    document = {"metadata": metadata("spotalis"), "spec": spec}
    assert decode.lease(text(document)).holder == ""


def test_a_secret_keeps_its_data_and_its_json() -> None:
    document = text({"metadata": metadata("tls", version=3), "data": {"tls.crt": "UEVN"}})
    seen = decode.secret(document)
    assert (seen.name, seen.resource_version) == ("tls", "3")
    assert (seen.data, seen.json) == ({"tls.crt": b"PEM"}, document)
    assert decode.secret(text({"metadata": metadata("tls")})).data == {}


@pytest.mark.parametrize(
    "stamps", [{"lastTimestamp": AT_NINE, "eventTime": None}, {"eventTime": AT_NINE}]
)
def test_an_event_names_its_object_and_its_latest_observation(stamps: Json) -> None:
    document = {"metadata": metadata("e"), "involvedObject": {"uid": "u"}, **stamps}
    seen = decode.event(text(document))
    assert (seen.involved_uid, seen.at) == ("u", NINE)


def test_a_webhook_configuration_lists_the_ca_bundle_of_each_webhook() -> None:
    webhooks = [{"name": "a", "clientConfig": {"caBundle": "UEVN"}}, {"name": "b"}]
    seen = decode.webhook_configuration(
        text({"metadata": metadata("spotalis"), "webhooks": webhooks})
    )
    assert seen.ca_bundles == (("a", b"PEM"), ("b", b""))
    assert decode.webhook_configuration(text({"metadata": metadata("x")})).ca_bundles == ()
