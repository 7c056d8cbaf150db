"""The operator's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from spotalis.model.nodes import BUILT_IN_GROUPS, NodeClassification
from spotalis.model.objects import LabelSelector, Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceFilter:
    """Which namespaces are decided, evicted and patched; the same for controller and webhook."""

    selector: LabelSelector = LabelSelector()
    """Of the Namespace's labels; empty selects all."""
    excluded: frozenset[str] = frozenset({"kube-system"})
    """Never touched whatever their labels say; the operator's own namespace is added to it."""

    def admits(self, namespace: Namespace | None) -> bool:
        """Whether workloads of this namespace are ours to look at; an unknown one is not."""
        if namespace is None or namespace.name in self.excluded:
            return False
        return self.selector.matches(namespace.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class APIRateLimiter:
    """How fast the operator may talk to the API server (a token bucket; leases go first)."""

    requests_per_second: float = 50.0
    """controller-runtime's clients default to 20; ours are fewer and come in bursts."""
    burst: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderElection:
    """The Lease and its times; defaults are those of client-go (15 s, 10 s, 2 s)."""

    enabled: bool = True
    name: str = "spotalis"
    lease: timedelta = timedelta(seconds=15)
    renew_deadline: timedelta = timedelta(seconds=10)
    retry: timedelta = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerConfiguration:
    """Everything an operator of Spotalis may set."""

    namespace: str = "spotalis-system"
    """Where the operator itself lives: its Lease, and the one namespace it never touches."""
    identity: str = ""
    """This replica's name in the Lease; the composition root adds a random part."""
    read_only: bool = False
    resync: timedelta = timedelta(seconds=30)
    """A safety net under the watches; never under 5 s."""
    cooldown: timedelta = timedelta(0)
    """Rest of a workload after a move is over."""
    moves_in_flight: int = 20
    """Evictions in flight in the whole cluster."""
    conditions: bool = True
    """Keep condition ``spotalis.io/Balanced`` on Deployments (a right to patch their status)."""
    namespaces: NamespaceFilter = NamespaceFilter()
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Values for enabled workloads that do not say; key without prefix to text."""
    classification: NodeClassification = NodeClassification(BUILT_IN_GROUPS)
    rate: APIRateLimiter = APIRateLimiter()
    leader_election: LeaderElection = LeaderElection()
