"""What a pod asks of the scheduler, read once into a value that can be compared and hashed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from spotalis.embedded.objects.owners import controller_uid
from spotalis.embedded.objects.pod_resources import pod_requests
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.selectors import (
    LabelSelector,
    NodeSelector,
    NodeTerm,
    Taint,
    Toleration,
    label_selector,
    node_selector,
    node_term,
    tolerates_all,
    tolerations_of,
)
from spotalis.model.objects import HostPort

_SCORING_DEFAULTS = {"cpu": 100, "memory": 200 * 2**20}
"""What a container without requests counts for in scores (pkg/scheduler/util/pod_resources.go)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadConstraint:
    """One topology spread constraint.

    Left out: ``minDomains``, ``matchLabelKeys`` and ``nodeTaintsPolicy``.
    """

    key: str
    max_skew: int
    required: bool
    """``DoNotSchedule`` as opposed to ``ScheduleAnyway``."""
    selector: LabelSelector
    honor_affinity: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AntiAffinity:
    """One required pod anti-affinity term, within the namespace of the pod."""

    key: str
    selector: LabelSelector


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRequirements:
    """Equal for all pods of a template, so that a result for one pod is valid for the others."""

    namespace: str
    labels: tuple[tuple[str, str], ...] = ()
    owner: str = ""
    """Uid of the controlling owner."""
    cpu: int = 0
    """Requested millicores."""
    memory: int = 0
    """Requested bytes."""
    other: tuple[tuple[str, int], ...] = ()
    """Extended resources, sorted."""
    scoring_cpu: int = 0
    """Requested millicores, where containers without a request count as 100 m."""
    scoring_memory: int = 0
    """Requested bytes, where containers without a request count as 200 MiB."""
    node_labels: tuple[tuple[str, str], ...] = ()
    """``spec.nodeSelector``."""
    affinity: NodeSelector | None = None
    """Required node affinity."""
    preferred: tuple[tuple[int, NodeTerm], ...] = ()
    """Preferred node affinity: weight and term."""
    tolerations: tuple[Toleration, ...] = ()
    spread: tuple[SpreadConstraint, ...] = ()
    anti_affinity: tuple[AntiAffinity, ...] = ()
    host_ports: tuple[HostPort, ...] = ()
    volumes: tuple[NodeSelector, ...] = ()
    """The node affinity of each volume that has one."""

    def matches_node(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a node satisfies the node selector and the required node affinity."""
        if any(labels.get(key) != value for key, value in self.node_labels):
            return False
        return self.affinity is None or self.affinity.matches(name, labels)

    def reaches_volumes(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether every volume can be attached to the node."""
        return all(volume.matches(name, labels) for volume in self.volumes)

    def tolerates(self, taints: Iterable[Taint], *effects: str) -> bool:
        """Whether the pod tolerates those of the taints that have one of the effects."""
        return tolerates_all(
            self.tolerations, (taint for taint in taints if taint.effect in effects)
        )


def requirements_of(pod: Object) -> PodRequirements:
    """Read a pod."""
    metadata, spec = pod["metadata"], pod["spec"]
    labels = metadata.get("labels") or {}
    affinity = spec.get("affinity") or {}
    node = affinity.get("nodeAffinity") or {}
    requests = pod_requests(spec)
    scoring = pod_requests(spec, _SCORING_DEFAULTS)
    return PodRequirements(
        namespace=metadata.get("namespace", ""),
        labels=tuple(sorted(labels.items())),
        owner="".join(controller_uid(pod)),
        cpu=requests.pop("cpu", 0),
        memory=requests.pop("memory", 0),
        other=tuple(sorted(requests.items())),
        scoring_cpu=scoring.get("cpu", 0),
        scoring_memory=scoring.get("memory", 0),
        node_labels=tuple(sorted((spec.get("nodeSelector") or {}).items())),
        affinity=node_selector(node.get("requiredDuringSchedulingIgnoredDuringExecution")),
        preferred=tuple(
            (int(one["weight"]), node_term(one["preference"]))
            for one in node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        ),
        tolerations=tolerations_of(pod),
        spread=tuple(_spread(one) for one in spec.get("topologySpreadConstraints") or ()),
        anti_affinity=_anti_affinity(affinity.get("podAntiAffinity") or {}),
        host_ports=tuple(_host_ports(spec)),
    )


def _host_ports(spec: Object) -> Iterator[HostPort]:
    sidecars = (c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")
    for container in (*spec["containers"], *sidecars):
        for port in container.get("ports") or ():
            number = port.get("hostPort") or (spec.get("hostNetwork") and port["containerPort"])
            if number:
                address = port.get("hostIP", "").removeprefix("0.0.0.0")  # noqa: S104
                yield HostPort(number, port.get("protocol", "TCP"), address)


def claims_of(pod: Object) -> list[str]:
    """Names of the PersistentVolumeClaims that a pod mounts."""
    sources = (one.get("persistentVolumeClaim") for one in pod["spec"].get("volumes") or ())
    return [source["claimName"] for source in sources if source]


def _spread(written: Object) -> SpreadConstraint:
    return SpreadConstraint(
        key=written["topologyKey"],
        max_skew=int(written.get("maxSkew", 1)),
        required=written.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
        selector=label_selector(written.get("labelSelector")) or LabelSelector(),
        honor_affinity=written.get("nodeAffinityPolicy", "Honor") == "Honor",
    )


def _anti_affinity(written: Object) -> tuple[AntiAffinity, ...]:
    return tuple(
        AntiAffinity(key=term["topologyKey"], selector=selector)
        for term in written.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        if (selector := label_selector(term.get("labelSelector"))) is not None
    )
