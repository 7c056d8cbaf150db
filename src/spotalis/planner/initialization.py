"""Which nodes are still being initialized.

See docs/reference/behaviour.md, "Spot shortage and return".

A node can be Ready and still refuse pods: agents of networks, storage and devices keep a startup
taint on it until they run.
"""

from __future__ import annotations

from spotalis.model.objects import Node, Taint

_KEYS = frozenset(
    {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/network-unavailable",
        "node.cloudprovider.kubernetes.io/uninitialized",
        "karpenter.sh/unregistered",
    }
)
_PREFIXES = (
    # The two conventions of cluster-autoscaler (FAQ, "startup taints").
    "startup-taint.cluster-autoscaler.kubernetes.io/",
    "ignore-taint.cluster-autoscaler.kubernetes.io/",
    "readiness.k8s.io/",  # node-readiness-controller
)
_SUFFIXES = ("not-ready", "notready")
"""``node.cilium.io/agent-not-ready``, ``ebs.csi.aws.com/agent-not-ready``,
``cni.istio.io/not-ready`` and others."""
_REGISTERED = "karpenter.sh/registered"
_INITIALIZED = "karpenter.sh/initialized"
"""Karpenter sets it once startup taints are gone and devices are there
(karpenter/pkg/controllers/nodeclaim/lifecycle/initialization.go)."""


def is_startup_taint(taint: Taint) -> bool:
    """Whether an agent removes the taint once the node is initialized."""
    return taint.key in _KEYS or taint.key.startswith(_PREFIXES) or taint.key.endswith(_SUFFIXES)


def is_initializing(node: Node) -> bool:
    """Whether the node has registered and does not take all its pods yet."""
    if not node.ready or any(is_startup_taint(taint) for taint in node.taints):
        return True
    return node.labels.get(_REGISTERED) == "true" and node.labels.get(_INITIALIZED) != "true"
