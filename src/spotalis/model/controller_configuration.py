"""The operator's configuration as the controller and the webhook use it.

Plain values with the defaults. :mod:`spotalis.settings` reads them from a file, from environment
variables and from flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import msgspec

from spotalis.model.classification import NodeClassification
from spotalis.model.nodes import ProviderGroup
from spotalis.model.objects import LabelSelector, Namespace, Toleration
from spotalis.model.provider_groups import BUILT_IN_GROUPS


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceFilter:
    """The namespaces that Spotalis manages; the same for the controller and the webhook."""

    selector: LabelSelector = LabelSelector()
    """By the namespace's labels; the empty selector matches every namespace."""
    excluded: frozenset[str] = frozenset()
    """Never managed, whatever their labels."""
    watched: frozenset[str] = frozenset()
    """If not empty, the only namespaces whose workloads and pods are watched."""

    def watches(self, namespace: str) -> bool:
        """Whether pods and workloads of the namespace are watched."""
        return not self.watched or namespace in self.watched

    def admits(self, namespace: Namespace | None) -> bool:
        """Whether Spotalis manages workloads in this namespace; False for an unknown one."""
        if namespace is None or namespace.name in self.excluded:
            return False
        if not self.watches(namespace.name):
            return False
        return self.selector.matches(namespace.labels)


class APIRateLimiter(msgspec.Struct, frozen=True, kw_only=True):
    """Rate limit of requests to the API server (a token bucket; Lease requests go first)."""

    # controller-runtime's clients default to 20 requests per second; Spotalis has fewer clients,
    # which send in bursts.
    requests_per_second: float = 50.0
    burst: int = 100


class LeaderElection(msgspec.Struct, frozen=True, kw_only=True):
    """The Lease and its timing; the defaults are those of client-go (15 s, 10 s, 2 s)."""

    enabled: bool = True
    lease_name: str = "spotalis"
    lease_duration: timedelta = timedelta(seconds=15)
    renew_deadline: timedelta = timedelta(seconds=10)
    retry_period: timedelta = timedelta(seconds=2)


class StormBreaker(msgspec.Struct, frozen=True, kw_only=True):
    """When the loss of spot nodes stops all moves to spot in the cluster.

    See docs/reference/behaviour.md, "Interruptions".
    """

    threshold_percent: int = 30
    """A storm is declared when more than this percentage of the spot nodes is lost."""
    min_nodes: int = 3
    """No storm is declared for fewer lost nodes."""
    window: timedelta = timedelta(minutes=5)
    """Losses within this time count together."""
    cooldown: timedelta = timedelta(minutes=10)
    """No replica moves to spot until this time has passed since the last loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptionBreaker:
    """When interruptions keep the new spot replicas of a workload on on-demand.

    See docs/reference/behaviour.md, "Interruptions".
    """

    interruptions: int = 2
    """Interruptions of the workload's spot replicas that open the breaker; 0: never."""
    within: timedelta = timedelta(minutes=30)
    """Interruptions within this time count together."""
    open_for: timedelta = timedelta(minutes=60)
    """No replica starts on spot for this time; then one tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerConfiguration:
    """Everything that decides how workloads are treated."""

    namespace: str = "spotalis-system"
    """The operator's own: its Lease, ledgers and Service are here; never managed."""
    identity: str = ""
    """The name of this instance in the Lease; unique among the instances."""
    read_only: bool = False
    resync: timedelta = timedelta(seconds=30)
    cooldown: timedelta = timedelta(0)
    max_moves_in_flight: int = 20
    conditions: bool = True
    namespaces: NamespaceFilter = NamespaceFilter()
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Policy of enabled workloads that do not set it; annotation key without prefix to text."""
    node_groups: tuple[ProviderGroup, ...] = ()
    built_in_node_groups: bool = True
    spot_tolerations: tuple[Toleration, ...] = ()
    rate_limit: APIRateLimiter = APIRateLimiter()
    leader_election: LeaderElection = LeaderElection()
    storm: StormBreaker = StormBreaker()
    breaker: InterruptionBreaker = InterruptionBreaker()
    evict_early: bool = False
    pdb_override: bool = False
    classification: NodeClassification = field(init=False)
    """Derived from the three fields about nodes."""

    def __post_init__(self) -> None:
        """Exclude the namespaces that are never managed and derive ``classification``."""
        excluded = self.namespaces.excluded | {"kube-system", self.namespace}
        named = frozenset(group.name for group in self.node_groups)
        built_in = BUILT_IN_GROUPS if self.built_in_node_groups else ()
        classification = NodeClassification(
            groups=(*self.node_groups, *(g for g in built_in if g.name not in named)),
            named=named,
            extra_spot_tolerations=self.spot_tolerations,
        )
        # The dataclass is frozen; __setattr__ of object is the documented way to derive a field.
        object.__setattr__(self, "namespaces", replace(self.namespaces, excluded=excluded))
        object.__setattr__(self, "classification", classification)
