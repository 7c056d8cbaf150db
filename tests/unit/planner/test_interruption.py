"""How providers say that they take a node (behaviour.md 6)."""

from __future__ import annotations

import pytest

from spotalis.model.objects import Node, Taint
from spotalis.planner.interruption import notice
from tests.support.builders import LONG_AGO, a_node


def tainted(key: str, effect: str = "NoSchedule", value: str = "") -> Node:
    return a_node(taints=[Taint(key="team", effect="NoSchedule"), Taint(key, value, effect)])


def says(kind: str, reason: str, status: str = "True") -> Node:
    return a_node(conditions=(("FrequentKubeletRestart", "False", "Fine"), (kind, status, reason)))


@pytest.mark.parametrize(
    ("node", "said"),
    [
        pytest.param(a_node(), "", id="nothing said"),
        pytest.param(a_node(ready=False), "", id="not Ready is not a notice"),
        pytest.param(a_node(cordoned=True), "", id="nor is a cordon"),
        pytest.param(a_node(deleting_at=LONG_AGO), "deletion", id="deletion"),
        pytest.param(tainted("karpenter.sh/disrupted"), "karpenter.sh/disrupted", id="Karpenter"),
        pytest.param(
            tainted("aws-node-termination-handler/spot-itn", value="1700000000"),
            "aws-node-termination-handler/spot-itn",
            id="AWS's termination handler",
        ),
        pytest.param(
            tainted("aws-node-termination-handler/rebalance-recommendation"),
            "",
            id="a rebalance recommendation is none",
        ),
        pytest.param(
            tainted("cloud.google.com/impending-node-termination"),
            "cloud.google.com/impending-node-termination",
            id="GKE's graceful shutdown",
        ),
        pytest.param(
            tainted("remediator.kubernetes.azure.com/unschedulable"),
            "remediator.kubernetes.azure.com/unschedulable",
            id="AKS's remediator",
        ),
        pytest.param(
            tainted("ToBeDeletedByClusterAutoscaler", value="1700000000"),
            "ToBeDeletedByClusterAutoscaler",
            id="cluster-autoscaler",
        ),
        pytest.param(
            tainted("DeletionCandidateOfClusterAutoscaler", "PreferNoSchedule"),
            "",
            id="a candidate for deletion is only that",
        ),
        pytest.param(
            says("VMEventScheduled", "Preempt"), "VMEventScheduled/Preempt", id="AKS preempts"
        ),
        pytest.param(
            says("VMEventScheduled", "PreemptScheduled"),
            "VMEventScheduled/PreemptScheduled",
            id="AKS preempts, in the longer word",
        ),
        pytest.param(
            says("VMEventScheduled", "Terminate"), "VMEventScheduled/Terminate", id="AKS terminates"
        ),
        pytest.param(
            says("VMEventScheduled", "Redeploy"), "VMEventScheduled/Redeploy", id="AKS redeploys"
        ),
        pytest.param(says("VMEventScheduled", "Freeze"), "", id="a freeze passes"),
        pytest.param(says("VMEventScheduled", "Reboot"), "", id="so does a reboot"),
        pytest.param(says("VMEventScheduled", "Preempt", "False"), "", id="withdrawn"),
        pytest.param(says("VMEventScheduled", "Preempt", "Unknown"), "", id="not known"),
        pytest.param(says("Terminating", "Requested"), "Terminating", id="OpenShift"),
        pytest.param(says("Terminating", "Requested", "False"), "", id="OpenShift, withdrawn"),
        pytest.param(tainted("node.kubernetes.io/not-ready", "NoExecute"), "", id="a sick node"),
    ],
)
def test_a_node_is_leaving_when_its_provider_says_so(node: Node, said: str) -> None:
    assert notice(node) == said
