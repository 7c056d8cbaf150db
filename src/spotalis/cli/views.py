"""What commands print, as values: JSON and YAML show them, tables are made from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

import msgspec

from spotalis.cli.autoscalers import Autoscaler
from spotalis.cli.names import SHORT
from spotalis.cli.waiting import last_move_at, waiting_for
from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.decision import Defer, Move
from spotalis.model.durations import format_duration
from spotalis.model.nodes import NodeType
from spotalis.model.objects import DisruptionBudget
from spotalis.model.policy_values import FOREVER, KEYS
from spotalis.planner.budget import DisruptionBudgets
from spotalis.planner.decide import ReconcilePlan
from spotalis.planner.forecast import Forecast
from spotalis.planner.observed import Observed, Replica

API_VERSION = "cli.spotalis.io/v1"


class Counts(msgspec.Struct, frozen=True, rename="camel"):
    """Replicas of each capacity type."""

    on_demand: int = 0
    spot: int = 0
    unknown: int = 0


class PolicyValue(msgspec.Struct, frozen=True):
    """A value of the policy, and where it is written."""

    value: str
    source: str


class WorkloadSplit(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The split of one workload."""

    namespace: str
    type: str
    """``Deployment``, ``StatefulSet`` or ``Rollout``."""
    name: str
    replicas: int
    """``spec.replicas``."""
    have: Counts
    """Replicas that hold a slot."""
    ready: Counts
    want: Counts
    pending: int
    """Replicas without a node."""
    status: str
    """A condition reason: docs/reasons lists them."""
    message: str
    policy: dict[str, PolicyValue]
    next_move_at: datetime | None = None
    """When a condition that now prevents moves ends; null if that is not known."""
    waiting_for: str = ""
    """The object or condition that prevents moves: ``pdb/strict``, ``window-2h``."""
    last_move_at: datetime | None = None
    """When the last move started of which the replacement is still there; null if none is."""
    scaled_by: Autoscaler | None = None
    """Null if nothing does, or if that was not read: ``plan`` does not."""
    age_seconds: int | None = None

    @property
    def short(self) -> str:
        """``deploy/api``."""
        return f"{SHORT[self.type]}/{self.name}"


class WorkloadSplitList(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What ``status -o json`` prints."""

    api_version: str = API_VERSION
    kind: str = "WorkloadSplitList"
    items: list[WorkloadSplit]
    notes: list[str]
    """What could not be read, and what is less exact because of it."""


class PlannedMove(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One eviction to come."""

    pod: str
    node: str
    target: str
    """``spot`` or ``on-demand``."""
    after_seconds: float
    probe: bool
    """Spot capacity is not known: this replica tests it."""
    waits_for: str
    """The condition that delays it; empty if it follows at once."""
    gates: list[str]
    """The objects on which it depends: ``pod/web-1`` for each pod whose replacement must be ready
    first, and ``pdb/strict`` for each PodDisruptionBudget that must allow it."""


class WorkloadPlan(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The moves of one workload to come."""

    split: WorkloadSplit
    moves: list[PlannedMove]
    duration_seconds: float
    end: str
    """The status after the last move."""
    end_message: str


class WorkloadPlanList(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What ``plan -o json`` prints."""

    api_version: str = API_VERSION
    kind: str = "WorkloadPlanList"
    items: list[WorkloadPlan]
    notes: list[str]


class NodeView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A node, and how many replicas are on it."""

    name: str
    type: str
    """``on-demand``, ``spot`` or ``unknown``."""
    ready: bool
    pods: int
    managed: int
    """Pods of opted-in workloads."""
    zone: str
    age_seconds: int | None
    note: str


class NodeViewList(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What ``status --by node -o json`` prints."""

    api_version: str = API_VERSION
    kind: str = "NodeList"
    items: list[NodeView]
    notes: list[str]


def workload_split(
    plan: ReconcilePlan, now: datetime, scaled_by: Autoscaler | None = None
) -> WorkloadSplit:
    """The split of a workload as its next reconcile sees it."""
    observed, decision = plan.observed, plan.decision
    workload, state = observed.workload, observed.state
    wait = decision.requeue_after if isinstance(decision, Defer) else None
    return WorkloadSplit(
        namespace=workload.namespace,
        type=workload.kind,
        name=workload.name,
        replicas=workload.replicas,
        have=_counts(observed.active),
        ready=_counts(replica for replica in observed.active if replica.pod.ready),
        want=Counts(state.desired_on_demand, state.desired_spot),
        pending=sum(1 for replica in observed.active if not replica.pod.node),
        status=str(decision.reason),
        message=decision.message,
        policy=policy_values(observed.configuration),
        next_move_at=now + wait if wait is not None else None,
        waiting_for=waiting_for(decision),
        last_move_at=last_move_at(observed),
        scaled_by=scaled_by,
        age_seconds=age_seconds(workload.created_at, now),
    )


def _counts(replicas: Iterable[Replica]) -> Counts:
    types = [replica.node_type for replica in replicas]
    return Counts(*map(types.count, (NodeType.ON_DEMAND, NodeType.SPOT, NodeType.UNKNOWN)))


def age_seconds(created: datetime | None, now: datetime) -> int | None:
    """The age of an object in whole seconds; None if its creation time is not known."""
    return None if created is None else max(0, int((now - created).total_seconds()))


def policy_values(configuration: WorkloadConfiguration) -> dict[str, PolicyValue]:
    """Every key of the policy with its effective value and its source."""
    policy = configuration.disruption
    values: Mapping[str, object] = {
        "enabled": configuration.enabled,
        "spot-percentage": configuration.spot_percentage,
        "min-on-demand": configuration.floor,
        "spot-fallback": configuration.spot_fallback,
        "max-moves-in-flight": policy.moves_in_flight,
        "disruption-schedule": policy.window.schedule if policy.window else None,
        "disruption-duration": policy.window.duration if policy.window else None,
        "disruption-timezone": policy.window.timezone.key if policy.window else None,
        "pdb-override": policy.pdb_override,
        "paused-until": policy.paused_until,
        "paused-reason": policy.paused_reason or None,
    }
    assert values.keys() == {"enabled", *KEYS}
    sources = configuration.sources
    return {
        key: PolicyValue(_text(value), sources.get(key, "default"))
        for key, value in values.items()
        if value is not None or key in sources
    }


@lru_cache(typed=True)  # the same defaults in every policy; 1 and true are different texts
def _text(value: object) -> str:
    match value:
        case None:
            return "not set"
        case bool():
            return str(value).lower()
        case timedelta() if value == timedelta.max:
            return "never"
        case timedelta():
            return format_duration(value)
        case datetime() if value == FOREVER:
            return "forever"
        case datetime():
            return value.isoformat(timespec="seconds")
    return str(value)


def workload_plan(
    split: WorkloadSplit, forecast: Forecast, budgets: Sequence[DisruptionBudget]
) -> WorkloadPlan:
    """The moves of a workload to come.

    Args:
        budgets: the PodDisruptionBudgets of its namespace.
    """
    of_pods = DisruptionBudgets(budgets)
    before: tuple[Move, ...] = ()
    moves = []
    for step in forecast.steps:
        earlier = [] if step.waited_for else [f"pod/{move.pod.name}" for move in before]
        moves += [
            PlannedMove(
                pod=move.pod.name,
                node=move.pod.node,
                target=str(move.target),
                after_seconds=step.after.total_seconds(),
                probe=move.probe,
                waits_for=str(step.waited_for.reason) if step.waited_for else "",
                gates=[*earlier, *(f"pdb/{name}" for name in of_pods.names(move.pod))],
            )
            for move in step.moves
        ]
        before = step.moves
    return WorkloadPlan(
        split=split,
        moves=moves,
        duration_seconds=forecast.duration.total_seconds(),
        end=str(forecast.end.reason),
        end_message=forecast.end.message,
    )


def on_node(observed: Observed, node_type: NodeType) -> dict[str, int]:
    """The active replicas of a type on each node; those without a node under ``""``."""
    counts: dict[str, int] = {}
    for replica in observed.active:
        if replica.node_type is node_type:
            counts[replica.pod.node] = counts.get(replica.pod.node, 0) + 1
    return dict(sorted(counts.items()))
