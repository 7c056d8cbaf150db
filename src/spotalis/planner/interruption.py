"""How providers say that they take a node (behaviour.md 6)."""

from __future__ import annotations

from spotalis.model.objects import Node

LEAVING_TAINTS: frozenset[str] = frozenset(
    {
        "karpenter.sh/disrupted",  # karpenter.sh/docs/concepts/disruption
        "aws-node-termination-handler/spot-itn",  # aws/aws-node-termination-handler, taints
        "cloud.google.com/impending-node-termination",  # GKE graceful node shutdown
        "remediator.kubernetes.azure.com/unschedulable",  # AKS node auto-drain
        "ToBeDeletedByClusterAutoscaler",  # kubernetes/autoscaler, FAQ
    }
)

LEAVING_CONDITIONS: frozenset[str] = frozenset(
    {
        "Terminating",  # OpenShift, machine-api termination handler
    }
)

AZURE_EVENTS: frozenset[str] = frozenset({"Preempt", "Terminate", "Redeploy"})
"""Events under AKS's condition VMEventScheduled that end the node; Freeze and Reboot do not."""


def notice(node: Node) -> str:
    """What says that this node is being taken; empty if nothing does."""
    if node.deleting_at is not None:
        return "deletion"
    for taint in node.taints:
        if taint.key in LEAVING_TAINTS:
            return taint.key
    for kind, status, reason in node.conditions:
        if status != "True":
            continue
        if kind in LEAVING_CONDITIONS:
            return kind
        if kind == "VMEventScheduled" and any(reason.startswith(event) for event in AZURE_EVENTS):
            return f"{kind}/{reason}"
    return ""
