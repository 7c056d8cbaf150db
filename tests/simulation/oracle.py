"""What must hold after every event of the API server (safety.md D.2); it sees all, and only looks.

The floor is held against what an eviction's sender could know: the floor and the nodes that its
cache showed when it sent, and the replicas that others took away between the list that authorised
it and its commit (S1, open). Where nothing lagged and nobody interfered that is S1, closed.
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
from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.errors import ApiError
from spotalis.embedded.store import StoreEvent
from spotalis.model.ledger import Ledger
from spotalis.model.nodes import NodeType
from spotalis.model.replicas import desired_spot
from spotalis.model.transport import Request
from tests.simulation.story import Owned, Story

HOME = "spotalis-system"
NAMESPACE = "default"
_NUMBER = "simulation/send"
STAMPS_SECONDS = 1.0
"""The API server's stamps have no fractions: what came at 9.9 s is stamped 9."""

ALLOWED = re.compile(
    r"(POST|PUT) /apis/coordination\.k8s\.io/v1/namespaces/spotalis-system/leases(/spotalis)?"
    r"|(POST|PUT|DELETE) /api/v1/namespaces/spotalis-system/configmaps"
    r"(/spotalis-ledger-[0-9a-f-]+)?"
    r"|(POST|PATCH) /apis/events\.k8s\.io/v1/namespaces/default/events(/[^/]+)?"
    r"|PATCH /apis/apps/v1/namespaces/default/deployments/[^/]+/status"
    r"|POST /api/v1/namespaces/default/pods/[^/]+/eviction"
)
"""All that a running operator may write (behaviour.md 9); certificates are the process's."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """An eviction as its sender saw the world."""

    process: str
    workload: str
    uid: str
    floor: int
    on_demand_nodes: frozenset[str]
    listed: int | None
    """Revision of the last list of the workload's pods that the process had read."""
    falls_back: bool
    """No ledger means it: its pod waits for a node."""


class Oracle:
    """Follows one history; ``broken`` says what did not hold."""

    def __init__(
        self, story: Story, cluster: EmbeddedCluster, seconds: Callable[[], float]
    ) -> None:
        self.broken: list[str] = []
        self.trace: list[str] = []
        self.evicted: Counter[str] = Counter()
        """By what they were good for: ``move``, ``fallback`` or ``useless``."""
        self.evicted_at = 0.0
        self.floor_pressed = 0
        """Commits after which exactly the floor was left: how often it mattered."""
        self.ledgers: dict[str, Ledger] = {}
        self._story = story
        self._store = cluster.store
        self._seconds = seconds
        self._owned: dict[str, Owned] = {owned.name: owned for owned in story.workloads}
        self._sent: dict[str, Sent] = {}
        self._listed: dict[tuple[str, str], int] = {}
        self._reduced: defaultdict[str, list[int]] = defaultdict(list)
        self._was_ready: dict[str, bool] = {}
        self._came: dict[str, float] = {}
        """When each pod was created, by UID."""
        self._gone: set[str] = set()
        """UIDs that we have evicted."""
        self._evicting = False
        self._evict = cluster.api.evict
        cluster.api.evict = self._evicted  # type: ignore[method-assign]
        cluster.store.follow("pods", self._pod_changed)
        cluster.store.follow("configmaps", self._ledger_changed)

    def say(self, words: str) -> None:
        """Add to the trace."""
        self.trace.append(f"{self._seconds():9.3f}  {words}")

    def accuse(self, words: str) -> None:
        """Something did not hold."""
        self.say(f"BROKEN: {words}")
        self.broken.append(words)

    # -- what processes do -----------------------------------------------------------------------

    def sending(self, process: str, operator: Operator, request: Request) -> Request:
        """Look at a request before its fate is known; evictions get a number to be known by."""
        if request.method == "GET":
            return request
        if not ALLOWED.fullmatch(f"{request.method} {request.path}"):
            self.accuse(f"S2: {process} writes {request.method} {request.path}")
        if not request.path.endswith("/eviction"):
            return request
        body = msgspec.json.decode(request.body)
        name = request.path.split("/")[-2]
        uid = body["deleteOptions"].get("preconditions", {}).get("uid", "")
        if not uid or body["deleteOptions"].keys() - {"preconditions"}:
            self.accuse(f"S2: {process} evicts {name} with {body['deleteOptions']}")
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
        key = WorkloadKey(self._owned[workload].kind, NAMESPACE, workload)
        wishes = view.configuration(key)
        if not view.synced or not operator.elector.leads or wishes is None or wishes.problems:
            self.accuse(f"S7: {process} evicts {name} and is not to")
        elif wishes.disruption.paused_until is not None:
            self.accuse(f"S7: {process} evicts {name} of a paused workload")
        number = str(len(self._sent))
        nodes = (
            n
            for n in view.nodes.of_type(NodeType.ON_DEMAND)
            if not view.nodes.is_terminating(n.name)
        )
        self._sent[number] = Sent(
            process=process,
            workload=workload,
            uid=uid,
            floor=0 if wishes is None else wishes.floor,
            on_demand_nodes=frozenset(node.name for node in nodes),
            listed=self._listed.get((process, workload)),
            falls_back=not any(
                intent.pod == uid for ledger in self.ledgers.values() for intent in ledger.intents
            ),
        )
        self.say(f"{process}: sends eviction {number} of {name}")
        body["metadata"]["annotations"] = {_NUMBER: number}
        return replace(request, body=msgspec.json.encode(body))

    def listed(self, process: str, request: Request, version: str) -> None:
        """A list was answered."""
        selector = dict(request.query).get("labelSelector", "")
        for name in self._owned if request.path.endswith("/pods") else ():
            if name in selector:
                self._listed[process, name] = int(version)

    # -- what the API server does ----------------------------------------------------------------

    async def _evicted(self, namespace: str, name: str, **options: Any) -> None:
        body = options.get("body") or {}
        number = (body.get("metadata", {}).get("annotations") or {}).get(_NUMBER, "")
        sent = self._sent.get(number)
        pod = self._store.get("pods", namespace, name)
        ending = pod is not None and _ends(pod)
        sort = "" if sent is None or pod is None or ending else self._sort(sent, pod)
        serving = [] if sent is None else self._serving(sent)
        self._evicting = sent is not None
        try:
            await self._evict(namespace, name, **options)
        except ApiError as refused:
            if sent is not None:
                self.say(f"api: refuses eviction {number} of {name}: {refused.status}")
            raise
        finally:
            self._evicting = False
        if sent is None or ending or pod is None:
            return
        self.evicted[sort] += 1
        self.evicted_at = self._seconds()
        self.say(f"api: eviction {number} of {name} ({sort}); {len(serving)} on-demand served")
        uid = pod["metadata"]["uid"]
        if sent.falls_back:
            self._question(sent, pod)
        if uid in serving:
            self._weigh(sent, name, len(serving) - 1)
        self._gone.add(uid)
        self._count_in_flight(sent.workload)

    def _question(self, sent: Sent, pod: Object) -> None:
        """S9: a replica falls back only while it does not serve, and after the owner's patience.

        That it still has no node cannot be had: for a pod that is not ready the API server heeds no
        resourceVersion (tests/conformance/scripts/budgets.py), and an eviction may come late.
        """
        name = pod["metadata"]["name"]
        if is_ready(pod):
            self.accuse(f"S9: {sent.process} let {name} fall back, which serves")
        if any(ahead for ahead, _ in self._story.clocks):
            return  # by a wrong clock anybody has waited long enough
        waited = self._seconds() - self._came[pod["metadata"]["uid"]]
        patience = self._owned[sent.workload].patience
        if waited < patience - STAMPS_SECONDS:
            self.accuse(f"S9: {sent.process} let {name} wait {waited:.1f} of {patience} s")

    def _count_in_flight(self, workload: str) -> None:
        """S3: evicted when ready, and the ledger has not seen their replacements serve.

        The cluster's own limit is asked of a single undisturbed operator only: two that believe
        that they lead, each with ledgers of its own to write, may each use it up.
        """
        open_moves = {
            ledger.workload.split("/")[-1]: sum(
                intent.pod in self._gone and self._was_ready[intent.pod]
                for intent in ledger.intents
            )
            for ledger in self.ledgers.values()
        }
        count = open_moves.get(workload, 0)
        if count > self._owned[workload].moves:
            self.accuse(f"S3: {count} ready replicas of {workload} in flight at once")
        everywhere = sum(open_moves.values())
        if not self._story.disturbed and everywhere > self._story.in_flight:
            self.accuse(f"S3: {everywhere} ready replicas in flight at once")

    def _weigh(self, sent: Sent, name: str, left: int) -> None:
        """S1: what is left against the floor, less what others took since the list."""
        self.floor_pressed += left == sent.floor
        if sent.listed is None:
            self.accuse(f"S1: {sent.process} evicted {name} without a list of its own")
            return
        foreign = sum(revision > sent.listed for revision in self._reduced[sent.workload])
        if left < sent.floor - foreign:
            self.accuse(
                f"S1: {sent.process} evicted {name}: {left} ready on-demand are left, the floor "
                f"is {sent.floor}, others took {foreign} since its list"
            )

    def _serving(self, sent: Sent) -> list[str]:
        """UIDs of the ready on-demand replicas, on the nodes that the sender believed in."""
        return [
            pod["metadata"]["uid"]
            for pod in self.pods_of(sent.workload)
            if is_ready(pod) and not _ends(pod)
            and pod["spec"].get("nodeName") in sent.on_demand_nodes
        ]  # fmt: skip

    def _sort(self, sent: Sent, pod: Object) -> str:
        if not pod["spec"].get("nodeName"):
            return "fallback"
        workload = self._store.get(
            self._owned[sent.workload].kind.lower() + "s", NAMESPACE, sent.workload
        )
        if workload is None:
            return "useless"
        staying = [one for one in self.pods_of(sent.workload) if not _ends(one)]
        on_spot = sum(class_of(one) is NodeType.SPOT for one in staying)
        on_demand = sum(class_of(one) is NodeType.ON_DEMAND for one in staying)
        wanted = wanted_on_spot(workload)
        replicas = workload["spec"]["replicas"]
        surplus = {
            NodeType.SPOT: on_spot - wanted,
            NodeType.ON_DEMAND: on_demand - (replicas - wanted),
        }
        return "move" if surplus.get(class_of(pod), 0) > 0 else "useless"

    def pods_of(self, workload: str) -> list[Object]:
        """All pods that there are of a workload."""
        return [
            pod
            for pod in self._store.list("pods", NAMESPACE)
            if pod["metadata"].get("labels", {}).get("app") == workload
        ]

    def _pod_changed(self, change: StoreEvent) -> None:
        self._tell_of(change)
        if change.old is None:
            self._came[change.new["metadata"]["uid"]] = self._seconds()
        if self._evicting or change.old is None or not _counts(change.old):
            return
        if change.type == "DELETED" or not _counts(change.new):
            workload = change.new["metadata"].get("labels", {}).get("app", "")
            self._reduced[workload].append(change.revision)

    def _tell_of(self, change: StoreEvent) -> None:
        metadata, name = change.new["metadata"], change.new["metadata"]["name"]
        node = change.new["spec"].get("nodeName", "")
        if change.old is None:
            why = (metadata.get("annotations") or {}).get("spotalis.io/decision", "no review")
            self.say(f"api: {name} comes: {class_of(change.new)} ({why})")
        elif change.type == "DELETED":
            self.say(f"api: {name} is gone")
        elif node and not change.old["spec"].get("nodeName"):
            self.say(f"api: {name} goes to {node}")
        elif is_ready(change.new) != is_ready(change.old):
            self.say(f"api: {name} is {'' if is_ready(change.new) else 'not '}ready")
        elif metadata.get("deletionTimestamp") and not change.old["metadata"].get(
            "deletionTimestamp"
        ):
            self.say(f"api: {name} is to end")

    def _ledger_changed(self, change: StoreEvent) -> None:
        name: str = change.new["metadata"]["name"]
        if change.type == "DELETED":
            self.ledgers.pop(name, None)
            self.say(f"api: {name[-6:]} forgets")
            return
        ledger = msgspec.json.decode(change.new["data"]["ledger"], type=Ledger)
        self.ledgers[name] = ledger
        said = ", ".join(
            f"{i.name}>{i.target} by {i.instance[:5]}#{i.attempts}{' taken' * i.taken_over}"
            for i in ledger.intents
        )
        self.say(
            f"api: {name[-6:]} means [{said}] {ledger.spot_availability} "
            f"futile {ledger.futile_moves}"
        )
        workload = ledger.workload.split("/")[-1]
        ready = {p["metadata"]["uid"] for p in self.pods_of(workload) if is_ready(p)}
        for intent in ledger.intents:
            self._was_ready.setdefault(intent.pod, intent.pod in ready)


def is_ready(pod: Object) -> bool:
    """Condition Ready is True."""
    return any(
        one["type"] == "Ready" and one["status"] == "True"
        for one in (pod.get("status") or {}).get("conditions") or ()
    )


def _ends(pod: Object) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return bool(pod["metadata"].get("deletionTimestamp")) or phase in ("Failed", "Succeeded")


def class_of(pod: Object) -> NodeType:
    """Of its node, whose name says it; of one without a node, what our label says."""
    node = pod["spec"].get("nodeName") or pod["metadata"].get("labels", {}).get(
        "spotalis.io/capacity-type", ""
    )
    if node.startswith("on-demand"):
        return NodeType.ON_DEMAND
    return NodeType.SPOT if node.startswith("spot") else NodeType.UNKNOWN


def _counts(pod: Object) -> bool:
    on_demand = (pod["spec"].get("nodeName") or "").startswith("on-demand")
    return on_demand and is_ready(pod) and not _ends(pod)


def wanted_on_spot(workload: Object) -> int:
    """By the arithmetic, from what the owner has written."""
    annotations = workload["metadata"]["annotations"]
    percent = int(annotations["spotalis.io/spot-percentage"])
    floor = int(annotations["spotalis.io/min-on-demand"])
    return desired_spot(workload["spec"]["replicas"], percent, floor)
