"""Checks the safety invariants (S1, S2, S3, S7, S9 in docs/concepts/safety.md) at every event.

The oracle sees all events of the API server and never changes anything. It checks the floor against
what the sender of an eviction could know: the floor and the nodes in its cache when it sent the
eviction, and the replicas that others removed between the list that authorized the eviction and its
commit (S1, open). Without delays and interference, this is the strict form of S1.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from spotalis.app.operator import Operator
from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.ledgers import GROUP_MEMORY
from spotalis.controller.open_moves import COUNTED_FOR
from spotalis.controller.spot_memory import NAME as SPOT_MEMORY
from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.errors import ApiError
from spotalis.embedded.server.writes import DeleteOptions
from spotalis.embedded.store import StoreEvent
from spotalis.model.ledger import Ledger
from spotalis.model.nodes import NodeType
from spotalis.model.replicas import desired_spot
from spotalis.model.spot_knowledge import SpotKnowledge, SpotRecord
from spotalis.model.transport import Request
from tests.simulation.history import History, WorkloadSpec

OPERATOR_NAMESPACE = "spotalis-system"
NAMESPACE = "default"
_NUMBER = "simulation/send"
STAMPS_SECONDS = 1.0
"""Precision of the API server's timestamps: a pod created at 9.9 s has the timestamp 9."""

ALLOWED = re.compile(
    r"(POST|PUT) /apis/coordination\.k8s\.io/v1/namespaces/spotalis-system/leases(/spotalis)?"
    r"|(POST|PUT|DELETE) /api/v1/namespaces/spotalis-system/configmaps"
    r"(/spotalis-ledger-[0-9a-f-]+|/spotalis-provider-groups|/spotalis-spot)?"
    r"|(POST|PATCH) /api/v1/namespaces/default/events(/[^/]+)?"
    r"|PATCH /apis/apps/v1/namespaces/default/deployments/[^/]+/status"
    r"|POST /api/v1/namespaces/default/pods/[^/]+/eviction"
)
"""All writes that a running operator may send, except for certificates.

docs/reference/behaviour.md, "What is written into the cluster".
"""


@dataclass(frozen=True, kw_only=True)
class SentEviction:
    """An eviction, with the state of its sender's cache."""

    process: str
    workload: str
    uid: str
    floor: int
    on_demand_nodes: frozenset[str]
    listed: int | None
    """Revision of the process's last list of the workload's pods."""
    falls_back: bool
    """No ledger has an intent for the pod, so the pod waits for a node."""


class Oracle:
    """Follows one run and collects violations."""

    def __init__(
        self, history: History, cluster: EmbeddedCluster, seconds: Callable[[], float]
    ) -> None:
        self.violations: list[str] = []
        self.trace: list[str] = []
        self.evicted: Counter[str] = Counter()
        """Evictions by purpose: ``move``, ``fallback`` or ``useless``."""
        self.evicted_at = 0.0
        self.floor_reached = 0
        """Number of evictions that left exactly the floor ready."""
        self.ledgers: dict[str, Ledger] = {}
        self.spot_records: tuple[SpotRecord, ...] = ()
        self._story = history
        self._store = cluster.store
        self._seconds = seconds
        self._specs: dict[str, WorkloadSpec] = {spec.name: spec for spec in history.workloads}
        self._sent: dict[str, SentEviction] = {}
        self._listed: dict[tuple[str, str], int] = {}
        self._reduced: defaultdict[str, list[int]] = defaultdict(list)
        self._was_ready: dict[str, bool] = {}
        self._created_at: dict[str, float] = {}
        """Creation time of each pod, by UID."""
        self._evicted_at: dict[str, float] = {}
        """By pod UID, in seconds."""
        """UIDs of pods that operators have evicted."""
        self._evicting = False
        self._evict = cluster.api.evict
        cluster.api.evict = self._on_eviction  # type: ignore[method-assign]
        cluster.store.follow("pods", self._pod_changed)
        cluster.store.follow("configmaps", self._ledger_changed)

    def log(self, words: str) -> None:
        """Add an entry to the trace."""
        self.trace.append(f"{self._seconds():9.3f}  {words}")

    def record_violation(self, words: str) -> None:
        """Add a violation."""
        self.log(f"VIOLATION: {words}")
        self.violations.append(words)

    # -- requests of operators -------------------------------------------------------------------

    def sending(self, process: str, operator: Operator, request: Request) -> Request:
        """Check a request before its fault is chosen, and add a number to evictions."""
        if request.method == "GET":
            return request
        if not ALLOWED.fullmatch(f"{request.method} {request.path}"):
            self.record_violation(f"S2: {process} writes {request.method} {request.path}")
        if not request.path.endswith("/eviction"):
            return request
        body = msgspec.json.decode(request.body)
        name = request.path.split("/")[-2]
        uid = body["deleteOptions"].get("preconditions", {}).get("uid", "")
        if not uid or body["deleteOptions"].keys() - {"preconditions"}:
            self.record_violation(f"S2: {process} evicts {name} with {body['deleteOptions']}")
        return self._numbered(process, operator, request, body, name, uid)

    def _numbered(
        self,
        process: str,
        operator: Operator,
        request: Request,
        body: dict[str, Any],
        name: str,
        uid: str,
    ) -> Request:
        workload = name.split("-")[0]
        view = operator.cluster
        key = WorkloadKey(self._specs[workload].kind, NAMESPACE, workload)
        configuration = view.find_configuration(key)
        invalid = configuration is None or configuration.problems
        if not view.health.can_move(key.kind, NAMESPACE) or not operator.elector.leads or invalid:
            self.record_violation(f"S7: {process} evicts {name} while it must not")
        elif configuration and configuration.disruption.paused_until is not None:
            self.record_violation(f"S7: {process} evicts {name} of a paused workload")
        number = str(len(self._sent))
        nodes = (
            n
            for n in view.nodes.of_type(NodeType.ON_DEMAND)
            if not view.nodes.is_terminating(n.name)
        )
        self._sent[number] = SentEviction(
            process=process,
            workload=workload,
            uid=uid,
            floor=0 if configuration is None else configuration.floor,
            on_demand_nodes=frozenset(node.name for node in nodes),
            listed=self._listed.get((process, workload)),
            falls_back=not any(
                intent.pod == uid for ledger in self.ledgers.values() for intent in ledger.intents
            ),
        )
        self.log(f"{process}: sends eviction {number} of {name}")
        body["metadata"]["annotations"] = {_NUMBER: number}
        return replace(request, body=msgspec.json.encode(body))

    def listed(self, process: str, request: Request, version: str) -> None:
        """Record the revision of a list."""
        selector = dict(request.query).get("labelSelector", "")
        for name in self._specs if request.path.endswith("/pods") else ():
            if name in selector:
                self._listed[process, name] = int(version)

    # -- events of the API server ----------------------------------------------------------------

    async def _on_eviction(
        self,
        namespace: str,
        name: str,
        options: DeleteOptions = DeleteOptions(),
        *,
        body: Object | None = None,
        **how: Any,
    ) -> None:
        given = body or {}
        number = (given.get("metadata", {}).get("annotations") or {}).get(_NUMBER, "")
        sent = self._sent.get(number)
        pod = self._store.get("pods", namespace, name)
        ending = pod is not None and _is_terminating(pod)
        purpose = "" if sent is None or pod is None or ending else self._classify(sent, pod)
        ready = [] if sent is None else self._ready_on_demand(sent)
        self._evicting = sent is not None
        try:
            await self._evict(namespace, name, options, body=body, **how)
        except ApiError as refused:
            if sent is not None:
                self.log(f"api: rejects eviction {number} of {name}: {refused.status}")
            raise
        finally:
            self._evicting = False
        if sent is None or ending or pod is None:
            return
        self.evicted[purpose] += 1
        self.evicted_at = self._seconds()
        self.log(f"api: eviction {number} of {name} ({purpose}); {len(ready)} on-demand were ready")
        uid = pod["metadata"]["uid"]
        if sent.falls_back:
            self._check_fallback(sent, pod)
        if uid in ready:
            self._check_floor(sent, name, len(ready) - 1)
        self._evicted_at[uid] = self._seconds()
        self._count_in_flight(sent.workload)

    def _check_fallback(self, sent: SentEviction, pod: Object) -> None:
        """S9: a replica falls back only while it is not ready, and after spot-fallback.

        It may have a node by then: for an unready pod the API server ignores the resourceVersion
        precondition (tests/conformance/scripts/budgets.py), and an eviction can arrive late.
        """
        name = pod["metadata"]["name"]
        if is_ready(pod):
            self.record_violation(f"S9: {sent.process} let {name} fall back, which is ready")
        if any(ahead for ahead, _ in self._story.clocks):
            return  # with a wrong clock, any waiting time is possible
        waited = self._seconds() - self._created_at[pod["metadata"]["uid"]]
        fallback_seconds = self._specs[sent.workload].fallback_seconds
        if waited < fallback_seconds - STAMPS_SECONDS:
            self.record_violation(
                f"S9: {sent.process} let {name} wait {waited:.1f} of {fallback_seconds} s"
            )

    def _count_in_flight(self, workload: str) -> None:
        """S3: the number of ready replicas that were evicted and whose replacements are not ready.

        The limit for the cluster is checked only for a single operator without faults: two
        operators that lead at the same time may each use the limit. Moves toward the minimum
        and moves that are older than 5 minutes do not count.
        """
        open_moves = {
            ledger.workload.split("/")[-1]: sum(
                intent.pod in self._evicted_at and self._was_ready[intent.pod]
                for intent in ledger.intents
            )
            for ledger in self.ledgers.values()
        }
        count = open_moves.get(workload, 0)
        if count > self._specs[workload].moves:
            self.record_violation(f"S3: {count} ready replicas of {workload} in flight at once")
        everywhere = sum(map(self._count_held_places, self.ledgers.values()))
        if not self._story.has_faults and everywhere > self._story.max_moves_in_flight:
            self.record_violation(f"S3: {everywhere} ready replicas in flight at once")

    def _count_held_places(self, ledger: Ledger) -> int:
        has_floor = self._specs[ledger.workload.split("/")[-1]].floor > 0
        return sum(
            self._was_ready[intent.pod]
            and self._seconds() - self._evicted_at[intent.pod] < COUNTED_FOR.total_seconds()
            and not (has_floor and intent.target is NodeType.ON_DEMAND)
            for intent in ledger.intents
            if intent.pod in self._evicted_at
        )

    def _check_floor(self, sent: SentEviction, name: str, left: int) -> None:
        """S1: the floor minus the replicas that others removed since the list remains ready."""
        self.floor_reached += left == sent.floor
        if sent.listed is None:
            self.record_violation(f"S1: {sent.process} evicted {name} without a list of its own")
            return
        foreign = sum(revision > sent.listed for revision in self._reduced[sent.workload])
        if left < sent.floor - foreign:
            self.record_violation(
                f"S1: {sent.process} evicted {name}: {left} ready on-demand are left, the floor "
                f"is {sent.floor}, others took {foreign} since its list"
            )

    def _ready_on_demand(self, sent: SentEviction) -> list[str]:
        """UIDs of ready replicas on nodes that the sender's cache shows as on-demand."""
        return [
            pod["metadata"]["uid"]
            for pod in self.pods_of(sent.workload)
            if is_ready(pod) and not _is_terminating(pod)
            and pod["spec"].get("nodeName") in sent.on_demand_nodes
        ]  # fmt: skip

    def _classify(self, sent: SentEviction, pod: Object) -> str:
        if not pod["spec"].get("nodeName"):
            return "fallback"
        workload = self._store.get(
            self._specs[sent.workload].kind.lower() + "s", NAMESPACE, sent.workload
        )
        if workload is None:
            return "useless"
        staying = [each for each in self.pods_of(sent.workload) if not _is_terminating(each)]
        on_spot = sum(node_type_of(each) is NodeType.SPOT for each in staying)
        on_demand = sum(node_type_of(each) is NodeType.ON_DEMAND for each in staying)
        wanted = desired_on_spot(workload)
        replicas = workload["spec"]["replicas"]
        surplus = {
            NodeType.SPOT: on_spot - wanted,
            NodeType.ON_DEMAND: on_demand - (replicas - wanted),
        }
        return "move" if surplus.get(node_type_of(pod), 0) > 0 else "useless"

    def pods_of(self, workload: str) -> list[Object]:
        """All pods of a workload."""
        return [
            pod
            for pod in self._store.list("pods", NAMESPACE)
            if pod["metadata"].get("labels", {}).get("app") == workload
        ]

    def _pod_changed(self, change: StoreEvent) -> None:
        self._log_change(change)
        if change.old is None:
            self._created_at[change.new["metadata"]["uid"]] = self._seconds()
        if self._evicting or change.old is None or not _is_ready_on_demand(change.old):
            return
        if change.type == "DELETED" or not _is_ready_on_demand(change.new):
            workload = change.new["metadata"].get("labels", {}).get("app", "")
            self._reduced[workload].append(change.revision)

    def _log_change(self, change: StoreEvent) -> None:
        metadata, name = change.new["metadata"], change.new["metadata"]["name"]
        node = change.new["spec"].get("nodeName", "")
        if change.old is None:
            annotations = metadata.get("annotations") or {}
            why = annotations.get("spotalis.io/decision", "no admission request")
            self.log(f"api: {name} is created: {node_type_of(change.new)} ({why})")
        elif change.type == "DELETED":
            self.log(f"api: {name} is removed")
        elif node and not change.old["spec"].get("nodeName"):
            self.log(f"api: {name} is bound to {node}")
        elif is_ready(change.new) != is_ready(change.old):
            self.log(f"api: {name} is {'' if is_ready(change.new) else 'not '}ready")
        elif metadata.get("deletionTimestamp") and not change.old["metadata"].get(
            "deletionTimestamp"
        ):
            self.log(f"api: {name} is being deleted")

    def _ledger_changed(self, change: StoreEvent) -> None:
        name: str = change.new["metadata"]["name"]
        if name == GROUP_MEMORY:
            return
        if name == SPOT_MEMORY:
            knowledge = msgspec.json.decode(change.new["data"]["spot"], type=SpotKnowledge)
            self.spot_records = knowledge.records
            self.log(f"api: spot {[str(record) for record in self.spot_records]}")
            return
        if change.type == "DELETED":
            self.ledgers.pop(name, None)
            self.log(f"api: {name[-6:]} is deleted")
            return
        ledger = msgspec.json.decode(change.new["data"]["ledger"], type=Ledger)
        self.ledgers[name] = ledger
        said = ", ".join(
            f"{i.name}>{i.target} by {i.instance[:5]}#{i.attempts}{' taken' * i.taken_over}"
            for i in ledger.intents
        )
        self.log(f"api: {name[-6:]} has intents [{said}] futile {ledger.futile_moves}")
        workload = ledger.workload.split("/")[-1]
        ready = {p["metadata"]["uid"] for p in self.pods_of(workload) if is_ready(p)}
        for intent in ledger.intents:
            self._was_ready.setdefault(intent.pod, intent.pod in ready)


def is_ready(pod: Object) -> bool:
    """Whether the pod's condition Ready is True."""
    return any(
        each["type"] == "Ready" and each["status"] == "True"
        for each in (pod.get("status") or {}).get("conditions") or ()
    )


def _is_terminating(pod: Object) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return bool(pod["metadata"].get("deletionTimestamp")) or phase in ("Failed", "Succeeded")


def node_type_of(pod: Object) -> NodeType:
    """Capacity type by the name of the node, or by the label if the pod has no node."""
    node = pod["spec"].get("nodeName") or pod["metadata"].get("labels", {}).get(
        "spotalis.io/capacity-type", ""
    )
    if node.startswith("on-demand"):
        return NodeType.ON_DEMAND
    return NodeType.SPOT if node.startswith("spot") else NodeType.UNKNOWN


def _is_ready_on_demand(pod: Object) -> bool:
    on_demand = (pod["spec"].get("nodeName") or "").startswith("on-demand")
    return on_demand and is_ready(pod) and not _is_terminating(pod)


def desired_on_spot(workload: Object) -> int:
    """The desired number of spot replicas of a workload object."""
    annotations = workload["metadata"]["annotations"]
    percent = int(annotations["spotalis.io/spot-percentage"])
    floor = int(annotations["spotalis.io/min-on-demand"])
    return desired_spot(workload["spec"]["replicas"], percent, floor)
