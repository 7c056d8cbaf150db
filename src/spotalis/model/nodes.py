"""Classify nodes by their labels: each provider has a group of ordered rules.

See docs/reference/behaviour.md, "Which node is which".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from spotalis.model.objects import PodShape, Requirement, Toleration


class NodeType(StrEnum):
    """The capacity type of a node; the values are Karpenter's."""

    SPOT = "spot"
    ON_DEMAND = "on-demand"
    UNKNOWN = "unknown"

    @property
    def other(self) -> NodeType:
        """The opposite type; unknown for unknown."""
        match self:
            case NodeType.SPOT:
                return NodeType.ON_DEMAND
            case NodeType.ON_DEMAND:
                return NodeType.SPOT
            case NodeType.UNKNOWN:
                return NodeType.UNKNOWN


@dataclass(frozen=True, slots=True)
class NodeRule:
    """A label requirement that identifies nodes of one capacity type."""

    node_type: NodeType
    requirement: Requirement


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderGroup:
    """The rules for one provider's nodes."""

    name: str
    marker: str
    """A label that all nodes of this provider have; other nodes are ignored."""
    rules: tuple[NodeRule, ...]
    """The first matching rule decides."""
    otherwise_on_demand: bool = False
    """Nodes with the marker that match no rule are on-demand (only spot nodes are labelled)."""
    spot_tolerations: tuple[Toleration, ...] = ()
    """Tolerations that pods need on this provider's spot nodes."""

    def classify(self, labels: Mapping[str, str]) -> NodeType:
        """The type of a node with these labels; unknown if this group does not cover it."""
        if self.marker not in labels:
            return NodeType.UNKNOWN
        for rule in self.rules:
            if rule.requirement.matches(labels):
                return rule.node_type
        return NodeType.ON_DEMAND if self.otherwise_on_demand else NodeType.UNKNOWN

    @property
    def keys(self) -> frozenset[str]:
        """The label keys of the rules."""
        return frozenset(rule.requirement.key for rule in self.rules)

    def terms(self, node_type: NodeType) -> tuple[tuple[Requirement, ...], ...]:
        """Node affinity terms that match exactly this group's nodes of one capacity type.

        A node matches if all expressions of at least one term hold. Each term excludes the earlier
        rules of the other type, because the first rule decides. ``otherwise_on_demand`` adds a term
        with the marker and without the labels of all rules.
        """
        terms: list[tuple[Requirement, ...] | None] = []
        excluded: list[Requirement] = []
        marker = Requirement(key=self.marker, operator="Exists")
        for rule in self.rules:
            only = rule.requirement
            if rule.node_type is not node_type:
                excluded.append(_negated(only))
            elif only.operator in ("In", "Exists"):
                terms.append(_all_of(only, *excluded))
            else:  # also matches nodes without the label, of any provider
                terms.append(_all_of(marker, only, *excluded))
        if node_type is NodeType.ON_DEMAND and self.otherwise_on_demand:
            terms.append(_all_of(marker, *(_negated(rule.requirement) for rule in self.rules)))
        return tuple(term for term in terms if term is not None)

    @property
    def uncovered_terms(self) -> tuple[tuple[Requirement, ...], ...]:
        """Node affinity terms that match exactly the nodes that this group does not cover."""
        unmarked = (Requirement(key=self.marker, operator="DoesNotExist"),)
        if self.otherwise_on_demand:
            return (unmarked,)
        no_rule = tuple(_negated(rule.requirement) for rule in self.rules)
        if self.keys == {self.marker}:
            return (no_rule,)  # an absent label has none of the values either
        return (unmarked, no_rule)


def _negated(requirement: Requirement) -> Requirement:
    opposite = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}
    return Requirement(
        key=requirement.key, operator=opposite[requirement.operator], values=requirement.values
    )


def _all_of(*requirements: Requirement) -> tuple[Requirement, ...] | None:
    """One term of all requirements, simplified; None if no node can match it."""
    listed = {r.key: r for r in requirements if r.operator == "In"}
    term: list[Requirement] = []
    for requirement in dict.fromkeys(requirements):
        key = requirement.key
        if key not in listed:
            term.append(requirement)
        elif requirement == listed[key]:
            same = [r for r in requirements if r.key == key]
            left = tuple(v for v in requirement.values if all(r.matches({key: v}) for r in same))
            if not left:
                return None
            term.append(Requirement(key=key, operator="In", values=left))
    return tuple(term)


@dataclass(frozen=True, slots=True)
class Pin:
    """Constraints that bind a pod to one capacity type; added when the pod is admitted."""

    node_selector: tuple[tuple[str, str], ...] = ()
    terms: tuple[tuple[Requirement, ...], ...] = ()
    """Alternatives; combined with each of the pod's own terms (AND)."""
    tolerations: tuple[Toleration, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeClassification:
    """The provider groups in order; the first that covers a node decides."""

    groups: tuple[ProviderGroup, ...]
    named: frozenset[str] = frozenset()
    """Groups named in the settings: pins include them even if no node matches."""
    extra_spot_tolerations: tuple[Toleration, ...] = ()

    def classify(self, labels: Mapping[str, str]) -> NodeType:
        """The type of a node with these labels; unknown if no group covers it."""
        for group in self.groups:
            answer = group.classify(labels)
            if answer is not NodeType.UNKNOWN:
                return answer
        return NodeType.UNKNOWN

    def group_of(self, labels: Mapping[str, str]) -> ProviderGroup | None:
        """The group that covers a node with these labels."""
        for group in self.groups:
            if group.classify(labels) is not NodeType.UNKNOWN:
                return group
        return None

    def pin(self, node_type: NodeType, groups: tuple[ProviderGroup, ...]) -> Pin | None:
        """The constraints that bind a pod to ``node_type``; None if ``groups`` is empty.

        A node selector if one key with one value decides, else required node affinity with one or
        more terms per group. Each group's terms exclude the nodes that an earlier group covers.
        Tolerations are added for spot only.
        """
        if not groups:
            return None
        terms = _terms(node_type, groups)
        if not terms:
            return None
        tolerations: tuple[Toleration, ...] = ()
        if node_type is NodeType.SPOT:
            wanted = [t for group in groups for t in group.spot_tolerations]
            wanted += self.extra_spot_tolerations
            tolerations = tuple(dict.fromkeys(wanted))
        if len(terms) == 1 and len(terms[0]) == 1:
            only = terms[0][0]
            if only.operator == "In" and len(only.values) == 1:
                return Pin(node_selector=((only.key, only.values[0]),), tolerations=tolerations)
        return Pin(terms=terms, tolerations=tolerations)

    def pinned_to(self, shape: PodShape) -> NodeType:
        """The only capacity type on whose nodes a pod of this shape may run, judged by labels.

        Unknown unless all alternatives of the node selector and required affinity lead to the same
        type.
        """
        selector = tuple(
            Requirement(key=key, operator="In", values=(value,))
            for key, value in shape.node_selector
        )
        terms = shape.node_terms or ((),)
        answers = {self._implied((*selector, *term)) for term in terms}
        return answers.pop() if len(answers) == 1 else NodeType.UNKNOWN

    def _implied(self, requirements: tuple[Requirement, ...]) -> NodeType:
        """The only type that satisfies all requirements, or unknown."""
        for group in self.groups:
            about = [r for r in requirements if r.key in group.keys or r.key == group.marker]
            if not any(r.key in group.keys for r in about):
                continue
            possible = {
                group.classify({group.marker: "", **labels})
                for labels in _label_combinations(group)
                if all(r.matches({group.marker: "", **labels}) for r in about)
            }
            # Excluding one type leaves the other; nodes of unknown type are ignored.
            possible.discard(NodeType.UNKNOWN)
            if len(possible) == 1:
                return possible.pop()
        return NodeType.UNKNOWN


def _terms(
    node_type: NodeType, groups: Iterable[ProviderGroup]
) -> tuple[tuple[Requirement, ...], ...]:
    """Terms that match exactly the nodes that these groups, in order, classify as ``node_type``."""
    terms: list[tuple[Requirement, ...] | None] = []
    uncovered: list[tuple[Requirement, ...]] = [()]
    for group in groups:
        own = group.terms(node_type)
        terms += [_all_of(*term, *before) for term in own for before in uncovered]
        uncovered = [(*term, *more) for term in uncovered for more in group.uncovered_terms]
    return tuple(dict.fromkeys(term for term in terms if term is not None))


def _label_combinations(group: ProviderGroup) -> Iterable[dict[str, str]]:
    """All combinations of label values that the rules distinguish.

    Each key is absent, has a listed value, or has some other value. A group has at most three keys,
    so there are few combinations.
    """
    combinations: list[dict[str, str]] = [{}]
    for key in sorted(group.keys):
        values = [""]
        for rule in group.rules:
            if rule.requirement.key == key:
                values += rule.requirement.values
        choices = [*dict.fromkeys(values), "\x00some other value"]
        combinations = [
            w | extra for w in combinations for extra in ({}, *({key: c} for c in choices))
        ]
    return combinations


def _is(node_type: NodeType, key: str, *values: str) -> NodeRule:
    operator = "In" if values else "Exists"
    return NodeRule(node_type, Requirement(key=key, operator=operator, values=values))


def _spot_taint(key: str, value: str = "") -> Toleration:
    operator = "Equal" if value else "Exists"
    return Toleration(key=key, operator=operator, value=value, effect="NoSchedule")


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
    # Agent pools: the label without a domain is the older of the two and still on every node.
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
            ("aks", "kubernetes.azure.com/agentpool"),
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
