"""The built-in provider groups, in order (docs/reference/behaviour.md, "Which node is which")."""

from __future__ import annotations

from spotalis.model.nodes import NodeRule, NodeType, ProviderGroup
from spotalis.model.objects import Requirement, Toleration


def _is(node_type: NodeType, key: str, *values: str) -> NodeRule:
    operator = "In" if values else "Exists"
    return NodeRule(node_type, Requirement(key=key, operator=operator, values=values))


def _spot_taint(key: str, value: str = "") -> Toleration:
    operator = "Equal" if value else "Exists"
    return Toleration(key=key, operator=operator, value=value, effect="NoSchedule")


KARPENTER_API = "karpenter.sh"
"""The API group of NodePools and NodeClaims, and of Provisioners before v1beta1."""

BUILT_IN_GROUPS: tuple[ProviderGroup, ...] = (
    # CAST AI and Ocean before the clouds: they manage nodes that carry the cloud's labels too.
    # docs.cast.ai/docs/autoscaler-reference-node-labels-and-taints: a spot-fallback node is
    # on-demand capacity that stands in for spot, and carries the spot label as well.
    ProviderGroup(
        name="castai",
        marker="provisioner.cast.ai/managed-by",
        rules=(
            _is(NodeType.ON_DEMAND, "scheduling.cast.ai/spot-fallback", "true"),
            _is(NodeType.SPOT, "scheduling.cast.ai/spot", "true"),
        ),
        otherwise_on_demand=True,
        spot_tolerations=(_spot_taint("scheduling.cast.ai/spot"),),
    ),
    # docs.spot.io, Ocean labels and taints: values are `spot` and `od`.
    ProviderGroup(
        name="ocean",
        marker="spotinst.io/node-lifecycle",
        rules=(
            _is(NodeType.SPOT, "spotinst.io/node-lifecycle", "spot"),
            _is(NodeType.ON_DEMAND, "spotinst.io/node-lifecycle", "od"),
        ),
    ),
    # karpenter.sh/docs/concepts/nodepools, well-known labels; reserved is paid for: on-demand.
    ProviderGroup(
        name="karpenter",
        marker="karpenter.sh/capacity-type",
        rules=(
            _is(NodeType.SPOT, "karpenter.sh/capacity-type", "spot"),
            _is(NodeType.ON_DEMAND, "karpenter.sh/capacity-type", "on-demand", "reserved"),
        ),
        api_group=KARPENTER_API,
    ),
    # docs.aws.amazon.com/eks/latest/userguide/managed-node-groups.html, capacity types.
    ProviderGroup(
        name="eks",
        marker="eks.amazonaws.com/capacityType",
        rules=(
            _is(NodeType.SPOT, "eks.amazonaws.com/capacityType", "SPOT"),
            _is(
                NodeType.ON_DEMAND,
                "eks.amazonaws.com/capacityType",
                "ON_DEMAND",
                "CAPACITY_BLOCK",
            ),
        ),
    ),
    # cloud.google.com/kubernetes-engine/docs/concepts/spot-vms: standard nodes carry no label of
    # their own; gke-provisioning is the newer way to say all three.
    ProviderGroup(
        name="gke",
        marker="cloud.google.com/gke-nodepool",
        rules=(
            _is(NodeType.SPOT, "cloud.google.com/gke-spot", "true"),
            _is(NodeType.SPOT, "cloud.google.com/gke-preemptible", "true"),
            _is(NodeType.SPOT, "cloud.google.com/gke-provisioning", "spot", "preemptible"),
        ),
        otherwise_on_demand=True,
        spot_tolerations=(
            _spot_taint("cloud.google.com/gke-spot", "true"),
            _spot_taint("cloud.google.com/gke-preemptible", "true"),
        ),
    ),
    # learn.microsoft.com/azure/aks/spot-node-pool: spot pools always carry label and taint;
    # `priority` is the newer key of the same meaning, `regular` on all other pools.
    # The marker is not kubernetes.azure.com/agentpool, which is on every node too: Karpenter on AKS
    # rejects every pod whose affinity mentions that label or `agentpool`
    # (Azure/karpenter-provider-azure, pkg/apis/v1beta1/labels.go, RestrictedLabels).
    *(
        ProviderGroup(
            name=name,
            marker=marker,
            rules=(
                _is(NodeType.SPOT, "kubernetes.azure.com/scalesetpriority", "spot"),
                _is(NodeType.SPOT, "kubernetes.azure.com/priority", "spot"),
            ),
            otherwise_on_demand=True,
            spot_tolerations=(
                _spot_taint("kubernetes.azure.com/scalesetpriority", "spot"),
                _spot_taint("kubernetes.azure.com/priority", "spot"),
            ),
        )
        for name, marker in (
            ("aks", "kubernetes.azure.com/cluster"),
            ("aks-old", "agentpool"),
        )
    ),
    # docs.oracle.com/iaas/Content/ContEng/Tasks/contengusingpreemptiblecapacity.htm: label and
    # taint are set on preemptible nodes only; the shape label of OKE is on every node.
    ProviderGroup(
        name="oke",
        marker="oci.oraclecloud.com/fault-domain",
        rules=(_is(NodeType.SPOT, "oci.oraclecloud.com/oke-is-preemptible", "true"),),
        otherwise_on_demand=True,
        spot_tolerations=(_spot_taint("oci.oraclecloud.com/oke-is-preemptible"),),
    ),
    # docs.openshift.com, machine management, spot instances: the label has no value.
    ProviderGroup(
        name="openshift",
        marker="node.openshift.io/os_id",
        rules=(_is(NodeType.SPOT, "machine.openshift.io/interruptible-instance"),),
        otherwise_on_demand=True,
    ),
    # cluster-api.sigs.k8s.io, MachinePool and spot: the label is on interruptible nodes only, and
    # no label is on all others, so only spot can be told.
    ProviderGroup(
        name="cluster-api",
        marker="cluster.x-k8s.io/interruptible",
        rules=(_is(NodeType.SPOT, "cluster.x-k8s.io/interruptible"),),
    ),
    # Plain labels that people put on node pools of providers without one (DigitalOcean, bare
    # metal, kOps, self-managed groups).
    *(
        ProviderGroup(
            name=key,
            marker=key,
            rules=(
                _is(NodeType.SPOT, key, "spot", "Ec2Spot", "preemptible"),
                _is(NodeType.ON_DEMAND, key, "on-demand", "OnDemand", "ondemand", "normal"),
            ),
        )
        for key in ("node.kubernetes.io/lifecycle", "lifecycle", "capacity-type")
    ),
)
