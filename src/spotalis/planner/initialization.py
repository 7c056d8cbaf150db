"""Which nodes are still being initialized.

See docs/reference/behaviour.md, "Spot shortage and return".

A node can be Ready and still refuse pods: agents of networks, storage and devices keep a startup
taint on it until they run.
"""

from __future__ import annotations

from spotalis.model.objects import Node, PodShape, Taint

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
_ACCELERATOR_LABELS = frozenset(
    {
        "cloud.google.com/gke-accelerator",
        "k8s.amazonaws.com/accelerator",
        "kubernetes.azure.com/accelerator",
        "accelerator",
        "nvidia.com/gpu.present",
    }
)
"""Labels of nodes that have GPUs: those by which cluster-autoscaler knows them
(cluster-autoscaler/cloudprovider, GPULabel), and that of the NVIDIA GPU operator."""


def is_startup_taint(taint: Taint) -> bool:
    """Whether an agent removes the taint once the node is initialized."""
    return taint.key in _KEYS or taint.key.startswith(_PREFIXES) or taint.key.endswith(_SUFFIXES)


def is_initializing(node: Node) -> bool:
    """Whether the node has registered and does not take all its pods yet."""
    if not node.ready or any(is_startup_taint(taint) for taint in node.taints):
        return True
    return node.labels.get(_REGISTERED) == "true" and node.labels.get(_INITIALIZED) != "true"


def awaits_devices(node: Node, shape: PodShape) -> bool:
    """Whether the labels of a node promise GPUs, and it does not list a device that the pod needs.

    Its device plugin has not registered yet. cluster-autoscaler takes such a node for unready too
    (cluster-autoscaler/processors/customresources/gpu_processor.go).
    """
    listed = {name for name, _ in node.other}
    return bool(_ACCELERATOR_LABELS & node.labels.keys()) and any(
        name not in listed for name, _ in shape.other
    )
