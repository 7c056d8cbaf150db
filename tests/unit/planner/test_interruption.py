"""How providers announce that they reclaim a node, with the objects that they write."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from spotalis.kube import decode
from spotalis.model.objects import Node, NodeCondition, Taint
from spotalis.planner.interruption import (
    NOTICE_TTL,
    SIGNALS,
    NodeState,
    accepts_new_pods,
    first_seen,
    interruption_notices,
    is_removed_by_autoscaler,
    node_state,
)
from tests.support.builders import LONG_AGO, NOW, a_node

MINUTE = timedelta(minutes=1)
STAMP = "2026-11-23T09:55:00Z"
AT = datetime.fromisoformat(STAMP)
PREEMPT = (
    "Preempt Scheduled: Mon, 23 Nov 2026 09:55:45 GMT. For more information, see "
    "https://aka.ms/aks/scheduledevents. EventId: 40B7BD88-C56E-44E4-93F6-75CEDACE2869"
)


def node(spec: dict[str, Any] | None = None, *conditions: dict[str, Any], **meta: Any) -> Node:
    """A node as it comes from the API server, with what every kubelet writes beside."""
    usual = [
        {"type": kind, "status": "False", "reason": "Fine", "lastTransitionTime": STAMP}
        for kind in ("MemoryPressure", "DiskPressure", "FrequentKubeletRestart", "VMEventOld")
    ]
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    if not any(one["type"] == "Ready" for one in conditions):
        usual.append(ready)
    document = {
        "metadata": {"name": "n", "uid": "n", **meta},
        "spec": spec or {},
        "status": {"conditions": [*usual, *conditions]},
    }
    return decode.node(json.dumps(document).encode())


def tainted(key: str, value: str = "", effect: str = "NoSchedule", **more: str) -> Node:
    taint = {"key": key, "effect": effect, **({"value": value} if value else {}), **more}
    return node({"taints": [{"key": "team", "value": "a", "effect": "NoSchedule"}, taint]})


def says(
    kind: str, reason: str, message: str = "", status: str = "True", stamp: str = STAMP
) -> Node:
    condition = {"type": kind, "status": status, "reason": reason, "message": message}
    return node(None, {**condition, "lastTransitionTime": stamp, "lastHeartbeatTime": STAMP})


SHUTTING_DOWN = "node is shutting down"

AS_WRITTEN: list[Any] = [
    pytest.param(
        node(None, deletionTimestamp=STAMP, finalizers=["karpenter.sh/termination"]),
        "deletion",
        AT,
        id="a node being deleted, held by Karpenter's finalizer",
    ),
    pytest.param(
        tainted("karpenter.sh/disrupted", timeAdded=STAMP),
        "karpenter.sh/disrupted",
        AT,
        id="Karpenter v1",
    ),
    pytest.param(
        tainted("karpenter.sh/disruption", "disrupting"),
        "karpenter.sh/disruption",
        None,
        id="Karpenter v1beta1",
    ),
    pytest.param(
        tainted(
            "aws-node-termination-handler/spot-itn",
            "spot-itn-0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4",
        ),
        "aws-node-termination-handler/spot-itn",
        None,
        id="AWS's termination handler, spot interruption, PreferNoSchedule or NoSchedule",
    ),
    pytest.param(
        tainted("aws-node-termination-handler/asg-lifecycle-termination", "asg-lifecycle-term-1"),
        "aws-node-termination-handler/asg-lifecycle-termination",
        None,
        id="AWS's termination handler, scale-in of the group",
    ),
    pytest.param(
        tainted("cloud.google.com/impending-node-termination"),
        "cloud.google.com/impending-node-termination",
        None,
        id="GKE's maintenance handler",
    ),
    pytest.param(
        says("Ready", "KubeletNotReady", SHUTTING_DOWN, "False"),
        f"Ready: {SHUTTING_DOWN}",
        AT,
        id="graceful node shutdown",
    ),
    pytest.param(
        says("Ready", "KubeletNotReady", f"[PLEG is not healthy, {SHUTTING_DOWN}]", "False"),
        f"Ready: {SHUTTING_DOWN}",
        AT,
        id="graceful node shutdown among other troubles",
    ),
    pytest.param(
        says("VMEventScheduled", "VMEventScheduled", PREEMPT),
        "VMEventScheduled: Preempt",
        AT,
        id="AKS, the event in the message",
    ),
    pytest.param(
        says("VMEventScheduled", "PreemptScheduled", "Preempt Scheduled"),
        "VMEventScheduled: Preempt",
        AT,
        id="AKS preempts, the event in the reason",
    ),
    pytest.param(
        says("VMEventScheduled", "TerminateScheduled"),
        "VMEventScheduled: Terminate",
        AT,
        id="AKS terminates",
    ),
    pytest.param(
        says("VMEventScheduled", "RedeployScheduled"),
        "VMEventScheduled: Redeploy",
        AT,
        id="AKS redeploys",
    ),
    pytest.param(
        says("PreemptionScheduled", "SpotEvictionIncoming", PREEMPT),
        "PreemptionScheduled",
        AT,
        id="AKS, the condition that Karpenter on Azure reads",
    ),
    pytest.param(
        tainted("remediator.kubernetes.azure.com/unschedulable"),
        "remediator.kubernetes.azure.com/unschedulable",
        None,
        id="AKS's remediator",
    ),
    pytest.param(
        tainted("remediator.aks.microsoft.com/unschedulable"),
        "remediator.aks.microsoft.com/unschedulable",
        None,
        id="AKS's remediator under its older name",
    ),
    pytest.param(
        says(
            "Terminating",
            "TerminationRequested",
            "The cloud provider has marked this instance for termination",
        ),
        "Terminating",
        AT,
        id="OpenShift's termination handler",
    ),
    pytest.param(
        tainted("ToBeDeletedByClusterAutoscaler", str(int(AT.timestamp()))),
        "ToBeDeletedByClusterAutoscaler",
        AT,
        id="cluster-autoscaler, its value is when",
    ),
    pytest.param(
        tainted("ToBeDeletedByClusterAutoscaler"),
        "ToBeDeletedByClusterAutoscaler",
        None,
        id="cluster-autoscaler, without a value",
    ),
]

NO_NOTICE: list[Any] = [
    pytest.param(node(), id="nothing said"),
    pytest.param(says("Ready", "KubeletNotReady", "PLEG is not healthy", "False"), id="not Ready"),
    pytest.param(says("Ready", "NodeStatusUnknown", "", "Unknown"), id="a silent kubelet"),
    pytest.param(node({"unschedulable": True}), id="a cordon"),
    pytest.param(
        tainted("DeletionCandidateOfClusterAutoscaler", "1700000000", "PreferNoSchedule"),
        id="a candidate for deletion is only that",
    ),
    pytest.param(tainted("node.kubernetes.io/not-ready", effect="NoExecute"), id="a sick node"),
    pytest.param(says("VMEventScheduled", "FreezeScheduled", "Freeze Scheduled"), id="a freeze"),
    pytest.param(says("VMEventScheduled", "RebootScheduled", "Reboot Scheduled"), id="a reboot"),
    pytest.param(
        says("VMEventScheduled", "NoVMEventScheduled", "VM has no scheduled event", "False"),
        id="AKS has nothing scheduled",
    ),
    pytest.param(says("VMEventScheduled", "PreemptScheduled", "", "Unknown"), id="AKS is not sure"),
    pytest.param(says("Terminating", "TerminationRequested", "", "False"), id="withdrawn"),
]


@pytest.mark.parametrize(("node", "word", "since"), AS_WRITTEN)
def test_a_node_is_terminating_if_its_provider_announces_it(
    node: Node, word: str, since: datetime | None
) -> None:
    (notice,) = interruption_notices(node)
    assert (notice.signal, notice.is_terminating, notice.since) == (word, True, since)
    assert node_state(node, first_seen(node, None, NOW), NOW) is NodeState.TERMINATING
    assert not accepts_new_pods(node)


@pytest.mark.parametrize("node", NO_NOTICE)
def test_signals_that_only_resemble_a_notice_are_ignored(node: Node) -> None:
    assert list(interruption_notices(node)) == []
    assert node_state(node, {}, NOW) is NodeState.ACTIVE
    assert accepts_new_pods(node)


def test_a_rebalance_recommendation_only_stops_moves_to_the_node() -> None:
    warned = tainted("aws-node-termination-handler/rebalance-recommendation", "rebalance-1")
    assert node_state(warned, first_seen(warned, None, NOW), NOW) is NodeState.UNSCHEDULABLE
    assert not accepts_new_pods(warned)


def test_every_signal_has_an_example_and_a_source() -> None:
    written = [case.values[0] for case in AS_WRITTEN]
    written.append(tainted("aws-node-termination-handler/rebalance-recommendation"))
    for signal in SIGNALS:
        assert any(signal.detect(one) for one in written), signal
        assert signal.provider
        assert signal.meaning
        assert "/" in signal.source


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(0), NodeState.TERMINATING),
        (NOTICE_TTL - timedelta(seconds=1), NodeState.TERMINATING),
        (NOTICE_TTL, NodeState.UNSCHEDULABLE),
        (24 * NOTICE_TTL, NodeState.UNSCHEDULABLE),
    ],
)
def test_a_notice_counts_for_15_minutes_and_then_only_stops_moves_to_the_node(
    age: timedelta, expected: NodeState
) -> None:
    leaving = tainted("karpenter.sh/disrupted")
    since = first_seen(leaving, {}, NOW - age)
    assert node_state(leaving, since, NOW) is expected
    assert not accepts_new_pods(leaving)


def test_a_second_notice_counts_for_another_15_minutes() -> None:
    draining = Taint("karpenter.sh/disrupted", effect="NoSchedule")
    taken = Taint("aws-node-termination-handler/spot-itn", effect="NoSchedule")
    since = first_seen(a_node(taints=[draining]), {}, NOW - 2 * NOTICE_TTL)
    both = a_node(taints=[draining, taken])
    since = first_seen(both, since, NOW)
    assert node_state(both, since, NOW) is NodeState.TERMINATING


def test_a_notice_that_was_withdrawn_and_returns_starts_again() -> None:
    warned, calm = tainted("karpenter.sh/disrupted"), node()
    since = first_seen(warned, {}, NOW - 2 * NOTICE_TTL)
    since = first_seen(calm, since, NOW - NOTICE_TTL)
    assert since == {}
    assert node_state(warned, first_seen(warned, since, NOW), NOW) is NodeState.TERMINATING


class TestTheObjectsOwnStamp:
    def test_it_counts_at_the_first_sight_of_the_node(self) -> None:
        """A restart forgets when it saw the notice."""
        old = says("Terminating", "TerminationRequested", stamp="2026-11-23T09:00:00Z")
        assert first_seen(old, None, NOW) == {"Terminating": LONG_AGO}
        assert node_state(old, first_seen(old, None, NOW), NOW) is NodeState.UNSCHEDULABLE

    def test_it_does_not_for_a_node_that_is_known(self) -> None:
        """AKS's condition keeps its stamp when a Freeze becomes a Preempt."""
        freeze = NodeCondition("VMEventScheduled", "True", "FreezeScheduled", since=LONG_AGO)
        preempt = msgspec.structs.replace(freeze, reason="PreemptScheduled")
        since = first_seen(a_node(conditions=(freeze,)), None, LONG_AGO)
        taken = a_node(conditions=(preempt,))
        assert node_state(taken, first_seen(taken, since, NOW), NOW) is NodeState.TERMINATING

    def test_it_never_counts_from_the_future(self) -> None:
        ahead = Taint("karpenter.sh/disrupted", since=NOW + 30 * MINUTE)
        assert first_seen(a_node(taints=[ahead]), None, NOW) == {"karpenter.sh/disrupted": NOW}


def test_a_value_that_is_not_a_time_is_ignored() -> None:
    (notice,) = interruption_notices(tainted("ToBeDeletedByClusterAutoscaler", "soon"))
    assert notice.since is None


def test_a_value_of_too_many_digits_is_read_as_seconds() -> None:
    milliseconds = str(int(AT.timestamp() * 1000))
    (notice,) = interruption_notices(tainted("ToBeDeletedByClusterAutoscaler", milliseconds))
    assert notice.since == AT.astimezone(UTC)


DISRUPTED = Taint("karpenter.sh/disrupted", effect="NoSchedule")
SCALE_DOWN = Taint("ToBeDeletedByClusterAutoscaler", effect="NoSchedule")
SPOT_ITN = Taint("aws-node-termination-handler/spot-itn", effect="NoSchedule")
REBALANCE = Taint("aws-node-termination-handler/rebalance-recommendation")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([{}], False, id="no notice"),
        pytest.param([{"taints": (DISRUPTED,)}], True, id="Karpenter replaces it"),
        pytest.param(
            [{"taints": (DISRUPTED,)}, {"taints": (DISRUPTED,), "deleting_at": NOW}],
            True,
            id="Karpenter replaces it, then deletes it",
        ),
        pytest.param(
            [{"deleting_at": NOW}, {"taints": (DISRUPTED,), "deleting_at": NOW}],
            False,
            id="Karpenter learns that it is reclaimed",
        ),
        pytest.param([{"deleting_at": NOW}], False, id="deleted"),
        pytest.param([{"taints": (SCALE_DOWN,)}], True, id="cluster autoscaler removes it"),
        pytest.param([{"taints": (SPOT_ITN,)}], False, id="AWS reclaims it"),
        pytest.param(
            [{"taints": (SPOT_ITN,)}, {"taints": (SPOT_ITN, DISRUPTED)}],
            False,
            id="AWS reclaims it, then Karpenter drains it",
        ),
        pytest.param(
            [{"taints": (REBALANCE,)}, {"taints": (REBALANCE, DISRUPTED)}],
            True,
            id="Karpenter replaces it after a recommendation",
        ),
    ],
)
def test_an_autoscaler_removes_a_node_if_its_notice_came_first(
    steps: list[dict[str, Any]], expected: bool
) -> None:
    seen, since = a_node(), dict[str, datetime]()
    for minute, step in enumerate(steps):
        seen = a_node(**step)
        since = first_seen(seen, since, NOW + minute * MINUTE)
    assert is_removed_by_autoscaler(seen, since) is expected


@pytest.mark.parametrize("before", [None, {}], ids=["after a restart", "in one change"])
def test_the_provider_reclaims_a_node_whose_deletion_and_taint_are_seen_at_once(
    before: dict[str, datetime] | None,
) -> None:
    seen = a_node(taints=(DISRUPTED,), deleting_at=NOW - MINUTE)
    assert not is_removed_by_autoscaler(seen, first_seen(seen, before, NOW))
