"""What a pod asks of the scheduler, read once into a value that can be compared and hashed."""

from __future__ import annotations

from dataclasses import dataclass

from spotalis.embedded.objects.amounts import millis, whole
from spotalis.embedded.objects.owners import controller_uid
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.query_selectors import from_object
from spotalis.model.objects import LabelSelector, NodeTerms, Requirement, Toleration, node_matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One topology spread constraint."""

    key: str
    skew: int
    hard: bool
    """``DoNotSchedule``."""
    selector: LabelSelector
    """With the values of ``matchLabelKeys`` in it."""
    least_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AntiAffinity:
    """One required pod anti-affinity term, within the pod's own namespace."""

    key: str
    selector: LabelSelector


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRequirements:
    """Equal for the pods of one template, so that a verdict on one is a verdict on all."""

    namespace: str
    labels: tuple[tuple[str, str], ...] = ()
    owner: str = ""
    """Uid of the controlling owner."""
    cpu: int = 0
    """Requested thousandths of a core."""
    memory: int = 0
    """Requested bytes."""
    other: tuple[tuple[str, int], ...] = ()
    """Extended resources, sorted."""
    node_selector: tuple[tuple[str, str], ...] = ()
    terms: NodeTerms = ()
    """Required node affinity."""
    preferred: tuple[tuple[int, tuple[Requirement, ...]], ...] = ()
    """Preferred node affinity: weight and expressions."""
    tolerations: tuple[Toleration, ...] = ()
    spreads: tuple[Spread, ...] = ()
    anti_affinity: tuple[AntiAffinity, ...] = ()
    volumes: tuple[NodeTerms, ...] = ()
    """From which nodes each of its volumes can be reached."""

    @property
    def scoring_cpu(self) -> int:
        """``cpu``, or a tenth of a core where nothing is requested (upstream's default)."""
        return self.cpu or 100

    @property
    def scoring_memory(self) -> int:
        """``memory``, or 200 MiB where nothing is requested (upstream's default)."""
        return self.memory or 200 * 2**20

    def affine(self, name: str, labels: dict[str, str]) -> bool:
        """Whether a node's labels satisfy the node selector and the required affinity."""
        if any(labels.get(key) != value for key, value in self.node_selector):
            return False
        if not self.terms:
            return True
        known = {**labels, _NAME_FIELD: name}
        return any(all(one.matches(known) for one in term) for term in self.terms if term)

    def reaches(self, labels: dict[str, str]) -> bool:
        """Whether all its volumes can be reached from a node with these labels."""
        return all(node_matches(labels, terms) for terms in self.volumes)


_NAME_FIELD = "metadata.name"
"""The only ``matchFields`` key there is; no label can have this name's meaning."""


def requirements_of(pod: Object) -> PodRequirements:
    """Read a pod."""
    metadata, spec = pod["metadata"], pod["spec"]
    labels = metadata.get("labels") or {}
    affinity = spec.get("affinity") or {}
    node = affinity.get("nodeAffinity") or {}
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    resources = _requests(spec)
    return PodRequirements(
        namespace=metadata.get("namespace", ""),
        labels=tuple(sorted(labels.items())),
        owner="".join(controller_uid(pod)),
        cpu=resources.pop("cpu", 0),
        memory=resources.pop("memory", 0),
        other=tuple(sorted(resources.items())),
        node_selector=tuple(sorted((spec.get("nodeSelector") or {}).items())),
        terms=node_terms(required),
        preferred=tuple(
            (int(one["weight"]), _expressions(one["preference"]))
            for one in node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        ),
        tolerations=tuple(toleration(one) for one in spec.get("tolerations") or ()),
        spreads=tuple(_spread(one, labels) for one in spec.get("topologySpreadConstraints") or ()),
        anti_affinity=_anti_affinity(affinity.get("podAntiAffinity") or {}),
    )


def claims_of(pod: Object) -> list[str]:
    """Names of the PersistentVolumeClaims that a pod mounts."""
    sources = (one.get("persistentVolumeClaim") for one in pod["spec"].get("volumes") or ())
    return [source["claimName"] for source in sources if source]


def node_terms(written: Object) -> NodeTerms:
    """A node selector as a value."""
    return tuple(_expressions(term) for term in written.get("nodeSelectorTerms") or ())


def toleration(written: Object) -> Toleration:
    """A toleration as a value."""
    return Toleration(
        key=written.get("key") or "",
        operator=written.get("operator") or "Equal",
        value=written.get("value") or "",
        effect=written.get("effect") or "",
    )


def _expressions(term: Object) -> tuple[Requirement, ...]:
    written = (*(term.get("matchExpressions") or ()), *(term.get("matchFields") or ()))
    return tuple(
        Requirement(key=one["key"], operator=one["operator"], values=tuple(one.get("values") or ()))
        for one in written
    )


def _spread(written: Object, labels: dict[str, str]) -> Spread:
    selector = from_object(written.get("labelSelector")) or LabelSelector()
    own = tuple(
        Requirement(key=key, operator="In", values=(labels[key],))
        for key in written.get("matchLabelKeys") or ()
        if key in labels
    )
    return Spread(
        key=written["topologyKey"],
        skew=int(written.get("maxSkew", 1)),
        hard=written.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
        selector=LabelSelector(requirements=(*selector.requirements, *own)),
        least_domains=int(written.get("minDomains") or 1),
        honor_affinity=written.get("nodeAffinityPolicy", "Honor") == "Honor",
        honor_taints=written.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )


def _anti_affinity(written: Object) -> tuple[AntiAffinity, ...]:
    return tuple(
        AntiAffinity(key=term["topologyKey"], selector=selector)
        for term in written.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        if (selector := from_object(term.get("labelSelector"))) is not None
    )


def _requests(spec: Object) -> dict[str, int]:
    """The sum of the containers, or the largest init container where that is more; and overhead."""
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        for name, amount in _amounts(container).items():
            total[name] = total.get(name, 0) + amount
    for container in spec.get("initContainers") or ():
        for name, amount in _amounts(container).items():
            total[name] = max(total.get(name, 0), amount)
    for name, text in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, 0) + _amount(name, text)
    return total


def _amounts(container: Object) -> dict[str, int]:
    resources = container.get("resources") or {}
    requests = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: _amount(name, text) for name, text in requests.items()}


def _amount(name: str, text: str) -> int:
    return millis(text) if name == "cpu" else whole(text)
