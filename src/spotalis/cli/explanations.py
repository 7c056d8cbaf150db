"""The explanation of one object: as a value, and in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from spotalis.app.inspection import Inspection
from spotalis.cli.autoscalers import read_autoscalers
from spotalis.cli.names import SHORT, Target, not_found
from spotalis.cli.next_commands import next_commands
from spotalis.cli.output import duration
from spotalis.cli.views import (
    API_VERSION,
    WorkloadSplit,
    on_node,
    workload_split,
)
from spotalis.controller.cluster import WorkloadKey
from spotalis.kube.errors import ApiError
from spotalis.kube.resources import PODS
from spotalis.model.configuration import POD_DECISION
from spotalis.model.decision import Evict
from spotalis.model.environment import Clock
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Node, Pod, Workload
from spotalis.planner.candidates import obstacle
from spotalis.planner.decide import ReconcilePlan
from spotalis.planner.forecast import Forecast, forecast, start_time_of
from spotalis.planner.guards import MOVE_GUARDS, WORKLOAD_GUARDS, to_move
from spotalis.planner.observed import Observed

TYPES = (NodeType.ON_DEMAND, NodeType.SPOT, NodeType.UNKNOWN)


class Condition(msgspec.Struct, frozen=True):
    """One of the conditions that all must be met before a replica moves."""

    name: str
    meaning: str
    met: bool
    message: str = ""
    """Why it is not met."""


class WorkloadExplanation(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Why a workload is as it is."""

    api_version: str = API_VERSION
    kind: str = "WorkloadExplanation"
    split: WorkloadSplit
    arithmetic: str
    nodes: dict[str, dict[str, int]]
    """Replicas by capacity type and node."""
    conditions: list[Condition]
    spot_capacity: str
    warnings: list[str]
    next: list[str]
    commands: list[str]
    """What the user may want to do, each with its command."""


class Facts(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Why a pod, a node or a namespace is as it is."""

    api_version: str = API_VERSION
    kind: str
    name: str
    summary: str
    lines: list[str]


class Explainer:
    """Explains the objects of one cluster."""

    def __init__(
        self, inspection: Inspection, namespace: str, clock: Clock, flags: str = ""
    ) -> None:
        """``flags`` select the cluster; the commands in explanations repeat them."""
        self._flags = flags
        self._inspection = inspection
        self._cluster = inspection.cluster
        self._namespace = namespace
        self._clock = clock

    async def facts(self, target: Target) -> WorkloadExplanation | Facts:
        """The explanation as a value.

        Raises:
            CommandError: the object does not exist.
        """
        match target.kind:
            case "Pod":
                return await self._pod(target)
            case "Node":
                return self._node(target)
            case "Namespace":
                return self._of_namespace(target)
        return await self._workload(target)

    async def _workload(self, target: Target) -> WorkloadExplanation:
        key = WorkloadKey(target.kind, self._namespace, target.name)
        workload = self._cluster.find_workload(key)
        if workload is None:
            known = [
                found.name
                for found in self._cluster.workloads()
                if (found.kind, found.namespace) == (target.kind, self._namespace)
            ]
            raise not_found(target, self._namespace, known)
        configuration = self._inspection.configuration_of(workload)
        plan = await self._inspection.plan(workload, configuration)
        now = self._clock.now()
        observed = plan.observed
        autoscalers = await read_autoscalers(self._inspection, self._namespace)
        split = workload_split(plan, now, autoscalers.get(key))
        found = forecast(observed, now, start_time_of(observed.replicas))
        return WorkloadExplanation(
            split=split,
            arithmetic=_arithmetic(observed),
            nodes={str(t): on_node(observed, t) for t in TYPES if on_node(observed, t)},
            conditions=list(_conditions(plan, now)),
            spot_capacity=_spot_capacity(observed),
            warnings=[str(one) for one in (*configuration.problems, *configuration.warnings)],
            next=list(_next(found)),
            commands=list(
                next_commands(
                    split,
                    moves=bool(found.steps),
                    operator_namespace=self._cluster.settings.namespace,
                    flags=self._flags,
                )
            ),
        )

    async def _pod(self, target: Target) -> Facts:
        pod = self._cluster.pods.get(self._namespace, target.name)
        if pod is None:
            known = [found.name for found in self._cluster.pods.in_namespace(self._namespace)]
            raise not_found(target, self._namespace, known)
        name = f"{pod.namespace}/pod/{pod.name}"
        key = self._cluster.find_key(pod)
        workload = self._cluster.find_workload(key) if key else None
        lines = [f"  workload   {key or 'none: no workload owns the pod'}"]
        lines += await self._decision_lines(pod)
        lines.append(f"  node       {self._node_of(pod)}")
        if workload is None:
            return Facts(kind="PodExplanation", name=name, summary=_place(pod, None), lines=lines)
        plan = await self._inspection.plan(workload)
        replica = next((r for r in plan.observed.replicas if r.pod.uid == pod.uid), None)
        node_type = replica.node_type if replica else None
        lines.append(f"  next       {_fate(plan, pod)}")
        return Facts(kind="PodExplanation", name=name, summary=_place(pod, node_type), lines=lines)

    def _node_of(self, pod: Pod) -> str:
        if not pod.node:
            return "none yet"
        node_type = self._cluster.nodes.type_of(pod.node) or NodeType.UNKNOWN
        return f"{pod.node} ({node_type})"

    async def _decision_lines(self, pod: Pod) -> list[str]:
        """What the webhook decided when the pod was created."""
        if not pod.rule:
            return ["  decision   none: the webhook did not see the creation of the pod"]
        try:
            response = await self._inspection.client.raw("GET", PODS.path(pod.namespace, pod.name))
            annotations = json.loads(response.body)["metadata"]["annotations"]
            decision: dict[str, Any] = json.loads(annotations[POD_DECISION])
        except (ApiError, ValueError, KeyError, TypeError):
            return [f"  decision   by the rule {pod.rule}; its record cannot be read"]
        have, want = decision.get("have", [0, 0]), decision.get("want", [0, 0])
        lines = [f"  decision   {decision.get('class')}, slot {decision.get('slot')}"]
        pending = decision.get("pending", 0)
        lines.append(
            f"  counted    {have[0]} on-demand and {have[1]} spot replicas before it"
            + (f", {pending} of them just admitted" if pending else "")
            + f"; {want[0]} and {want[1]} are wanted"
        )
        lines.append(f"  rule       {pod.rule}: {_RULES.get(pod.rule, 'see docs')}")
        if pod.move:
            lines.append(f"  move       replaces the pod whose UID starts with {pod.move}")
        return lines

    def _node(self, target: Target) -> Facts:
        node = self._cluster.nodes.get(target.name)
        if node is None:
            raise not_found(target, "", [found.name for found in self._cluster.nodes.store])
        node_type = self._cluster.nodes.type_of(node.name) or NodeType.UNKNOWN
        lines = list(self._classification_lines(node, node_type))
        lines.append(f"  ready      {str(node.ready).lower()}")
        if self._cluster.nodes.is_terminating(node.name):
            lines.append("  notice     the provider reclaims this node; its pods hold no slot")
        elif node.cordoned:
            lines.append("  notice     cordoned: no pod is moved to it")
        managed: dict[str, int] = {}
        for pod in self._cluster.pods:
            key = self._cluster.find_key(pod) if pod.node == node.name else None
            if key is not None and self._cluster.find_configuration(key) is not None:
                managed[str(key)] = managed.get(str(key), 0) + 1
        count = self._cluster.placed.count_on(node.name)
        lines.append(f"  pods       {count}, {sum(managed.values())} managed")
        lines += [f"             {key} ({count})" for key, count in sorted(managed.items())]
        return Facts(
            kind="NodeExplanation", name=f"node/{node.name}", summary=str(node_type), lines=lines
        )

    def _classification_lines(self, node: Node, node_type: NodeType) -> Iterator[str]:
        classification = self._cluster.settings.classification
        group = classification.group_of(node.labels)
        if group is None:
            yield "  provider   none: no provider group covers its labels"
            markers = ", ".join(sorted({group.marker for group in classification.groups}))
            yield f"             looked for {markers}"
            yield "             fix: add a group to `nodeGroups` in the settings"
            return
        rule = next((r for r in group.rules if r.requirement.matches(node.labels)), None)
        matched = str(rule.requirement) if rule else f"{group.marker}, and no label of spot nodes"
        yield f"  provider   {group.name}"
        yield f"  rule       {matched} => {node_type}"

    def _of_namespace(self, target: Target) -> Facts:
        namespace = self._cluster.namespaces.get("", target.name)
        if namespace is None:
            raise not_found(target, "", [found.name for found in self._cluster.namespaces])
        managed = self._cluster.settings.namespaces.admits(namespace)
        lines = []
        for kind, mapping in (("label", namespace.labels), ("annotation", namespace.annotations)):
            for key, value in sorted(mapping.items()):
                if key.startswith("spotalis.io/"):
                    lines.append(f"  {kind:<10} {key}: {value}")
        lines = lines or ["  no label or annotation of Spotalis: workloads inherit nothing"]
        workloads = [one for one in self._cluster.workloads() if one.namespace == target.name]
        lines += [self._inherited(workload) for workload in sorted(workloads, key=_short)]
        summary = "managed" if managed else "never managed"
        return Facts(
            kind="NamespaceExplanation", name=f"ns/{target.name}", summary=summary, lines=lines
        )

    def _inherited(self, workload: Workload) -> str:
        configuration = self._inspection.configuration_of(workload)
        if not configuration.enabled:
            state = "invalid policy" if configuration.problems else "not opted in"
            return f"  {_short(workload)}: {state}"
        keys = [key for key, source in configuration.sources.items() if "namespace/" in source]
        inherits = f"inherits {', '.join(sorted(keys))}" if keys else "inherits nothing"
        return f"  {_short(workload)}: opted in, {inherits}"


_RULES = {
    "share": "the type that the split of the replicas so far and this one lacks",
    "slot": "the type of its ordinal",
    "fallback": "spot was exhausted, so a replica of a spot slot starts on on-demand",
    "unstable": "spot replicas of the workload were lost again and again",
    "user-pinned": "the pod template selects the capacity type",
    "overridden": "another admission webhook has chosen the capacity type",
}


def _short(workload: Workload) -> str:
    return f"{SHORT[workload.kind]}/{workload.name}"


def _place(pod: Pod, node_type: NodeType | None) -> str:
    if node_type is None:
        return "not a replica of a known workload"
    return f"on {node_type}" if pod.node else f"waits for a node of type {node_type}"


def _fate(plan: ReconcilePlan, pod: Pod) -> str:
    """What happens to a pod."""
    observed, decision = plan.observed, plan.decision
    if any(intent.pod == pod.uid for intent in observed.ledger.intents):
        return "it is being moved"
    if isinstance(decision, Evict) and any(move.pod.uid == pod.uid for move in decision.moves):
        return "it moves now"
    position = [replica.pod.uid for replica in observed.candidates]
    if pod.uid in position:
        rank = f"candidate {position.index(pod.uid) + 1} of {len(position)} for a move"
        return f"{rank}; {decision.reason}: {decision.message}"
    replica = next((r for r in observed.active if r.pod.uid == pod.uid), None)
    if replica is None:
        return "it holds no slot: it ends, or its node is being reclaimed"
    if replica.node_type is observed.state.surplus_type:
        if (why := obstacle(replica, observed)) is not None:
            return f"it should move, but {why}"
        return f"it stays; {decision.reason}: {decision.message}"
    return "it stays: no replica of its capacity type is to move"


def _arithmetic(observed: Observed) -> str:
    configuration, state = observed.configuration, observed.state
    if not configuration.has_policy:
        return "no spot-percentage is set: no replica is placed or moved"
    n, percent, floor = state.known, state.percent, state.floor
    share = n * percent // 100
    text = f"{n} replicas x {percent}% = {share} spot (rounded down)"
    if floor:
        text += f"; min-on-demand {floor} allows up to {max(0, n - floor)}"
    text += f" => {state.desired_on_demand} on-demand and {state.desired_spot} spot"
    if state.unknown:
        text += f"; {state.unknown} on nodes of unknown type are left out"
    return text


def _conditions(plan: ReconcilePlan, now: datetime) -> Iterator[Condition]:
    observed, decision = plan.observed, plan.decision
    all_met = True
    for guard in (*WORKLOAD_GUARDS, *MOVE_GUARDS):
        objection = guard(observed, now)
        all_met = all_met and objection is None
        yield Condition(
            name=guard.__name__.replace("_", "-"),
            meaning=(guard.__doc__ or "").split(". ")[0].split("\n")[0].rstrip("."),
            met=objection is None,
            message=f"{objection.reason}: {objection.message}" if objection else "",
        )
    if all_met and to_move(observed) and not isinstance(decision, Evict):
        yield Condition(
            name="choice",
            meaning="A replica may move, and its replacement has a place",
            met=False,
            message=f"{decision.reason}: {decision.message}",
        )


def _spot_capacity(observed: Observed) -> str:
    spot, seen = observed.spot, observed.spot_view
    parts = [f"spot is {seen.availability}"]
    if seen.since is not None:
        parts[0] += f" since {seen.since.isoformat(timespec='seconds')}"
    parts += [phrase for phrase in (seen.cause, spot.evidence) if phrase]
    if spot.free is not None:
        noun = "replica fits" if spot.free == 1 else "replicas fit"
        parts.append(f"{spot.free} more {noun} on Ready spot nodes")
    if spot.has_provisioner:
        parts.append("Karpenter adds nodes")
    if spot.node_arriving:
        parts.append("a spot node is starting")
    if seen.next_probe_at is not None:
        parts.append(f"next probe at {seen.next_probe_at.isoformat(timespec='seconds')}")
    return "; ".join(parts)


def _next(found: Forecast) -> Iterator[str]:
    for step in found.steps[:5]:
        names = ", ".join(f"{m.pod.name} ({m.pod.node or 'no node'})" for m in step.moves)
        why = f" after {step.waited_for.reason}" if step.waited_for else ""
        yield f"+{duration(step.after.total_seconds())}{why}: evict {names}"
    if len(found.steps) > 5:
        rest = sum(len(step.moves) for step in found.steps[5:])
        yield f"then {rest} more"
    yield f"{'then ' if found.steps else ''}{found.end.reason}: {found.end.message}"
