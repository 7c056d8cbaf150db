"""Places each new pod of an opted-in workload: the review, against the cluster as we know it."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from spotalis.controller.cluster import Cluster, ResolvedOwner
from spotalis.controller.observe import Observer
from spotalis.controller.reservations import Reservations
from spotalis.kube.client import ApiError, Client
from spotalis.kube.decode import DECODE_ERRORS
from spotalis.kube.resources import DEPLOYMENTS, REPLICASETS, STATEFULSETS
from spotalis.model.configuration import POD_DECISION, WorkloadConfiguration, read_configuration
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Owner, Workload
from spotalis.model.transport import TransportError
from spotalis.planner.observed import Observed, Reservation
from spotalis.planner.placement import NewPod, Placement, place
from spotalis.webhook import admission_review
from spotalis.webhook.admission_review import AdmissionRequest, PodObject
from spotalis.webhook.errors import InvalidAdmissionReview, NotLeader
from spotalis.webhook.forward import Forwarder
from spotalis.webhook.pod_patch import Operation, pod_patch

logger = logging.getLogger(__name__)

OWNER_WAIT_SECONDS = 0.2
"""A new ReplicaSet's first pods can come before the ReplicaSet does: watches race."""
NEWS_WAIT_SECONDS = 0.1
"""When the pods we see are already as many as wanted, our view is behind."""
FETCH_SECONDS = 0.5
"""To GET an owner that no watch has shown: the API server's patience is 2 s in all."""


@dataclass(frozen=True, slots=True)
class AdmissionDecision:
    """What was decided about one pod."""

    result: str
    """``spot``, ``on-demand``, or why the pod was left alone; a metric's label."""
    patch: tuple[Operation, ...] = ()
    answer: bytes = b""
    """The whole answer, if the leader has given it."""


class AdmissionHandler:
    """Answers reviews; never denies. Decisions of one workload follow each other without a pause
    between looking and reserving, and one replica makes them all, so a burst is split exactly."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        observer: Observer,
        reservations: Reservations,
        client: Client,
        forwarder: Forwarder,
        on_admission: Callable[[str], None] = lambda result: None,
    ) -> None:
        self._forwarder = forwarder
        self._cluster = cluster
        self._observer = observer
        self._reservations = reservations
        self._client = client
        self._on_admission = on_admission

    async def handle(self, body: bytes) -> bytes:
        """A review's body in, the answer's body out.

        Raises:
            InvalidAdmissionReview: the body is no AdmissionReview v1.
        """
        return await self._answer(body, forwarded=False)

    async def handle_forwarded(self, body: bytes) -> bytes:
        """The same for another replica, which takes us for the leader; never sent on.

        Raises:
            InvalidAdmissionReview: the body is no AdmissionReview v1.
            NotLeader: we do not lead, or know nothing yet.
        """
        if not (self._forwarder.leads and self._cluster.synced):
            raise NotLeader
        return await self._answer(body, forwarded=True)

    async def _answer(self, body: bytes, *, forwarded: bool) -> bytes:
        request = admission_review.read(body)
        if request.object is None:
            raise InvalidAdmissionReview("request.object is missing")
        self._observer.webhook_called = True
        verdict = await self._decide(request, request.object, None if forwarded else body)
        if verdict.answer:
            return verdict.answer
        self._on_admission(verdict.result)
        return admission_review.answer(
            request.uid, patch=verdict.patch, audit={"decision": verdict.result}
        )

    async def _decide(
        self, request: AdmissionRequest, pod: PodObject, body: bytes | None
    ) -> AdmissionDecision:
        """``body`` is the review as it came, if it may be sent on to the leader."""
        if not_ours := _not_ours(request):
            return AdmissionDecision(not_ours)
        owner = admission_review.controlling_owner(pod)
        if owner is None or owner.group != "apps" or owner.kind not in _KINDS:
            return AdmissionDecision("no-owner")
        cluster = self._cluster
        if not cluster.synced:
            return AdmissionDecision("cache-not-ready")
        namespace = cluster.namespaces.get("", request.namespace)
        if not cluster.settings.namespaces.admits(namespace):
            return AdmissionDecision("namespace-excluded")
        found = await self._find(request.namespace, owner)
        if found is None:
            return AdmissionDecision("owner-unknown")
        configuration = read_configuration(found.workload, namespace, cluster.settings.defaults)
        if why := self._why_left_alone(configuration):
            return AdmissionDecision(why)
        if self._is_placed(pod, owner):
            return AdmissionDecision("placed-already")
        answer = None if body is None else await self._forwarder.ask(body)
        if answer is not None:
            return AdmissionDecision("forwarded", answer=answer)
        return await self._place(request, pod, owner, found, configuration)

    def _why_left_alone(self, configuration: WorkloadConfiguration) -> str:
        """Why the pods of a workload are not placed; empty if they are."""
        if configuration.problems:
            return "invalid-policy"
        if not configuration.enabled:
            return "not-managed"
        if not configuration.has_policy:
            return "no-policy"
        if not self._cluster.nodes.groups_in_use():
            return "no-classifier"
        return "read-only" if self._cluster.settings.read_only else ""

    async def _find(self, namespace: str, owner: Owner) -> ResolvedOwner | None:
        """The workload behind the owner: from the stores, soon from a watch, or by one look."""
        found = self._cluster.find_owner(namespace, owner)
        if found is None and await self._cluster.wait_for_change(owner.uid, OWNER_WAIT_SECONDS):
            found = self._cluster.find_owner(namespace, owner)
        if found is None:
            try:
                async with asyncio.timeout(FETCH_SECONDS):
                    found = await self._fetch(namespace, owner)
            except (ApiError, TransportError, TimeoutError) as error:
                logger.warning("owner not read", extra={"fields": {"error": repr(error)}})
        return found

    async def _fetch(self, namespace: str, owner: Owner) -> ResolvedOwner | None:
        if owner.kind == "StatefulSet":
            workload = await self._client.get(STATEFULSETS, namespace, owner.name)
            if workload is None or workload.uid != owner.uid:
                return None
            return ResolvedOwner(workload, workload.uid, workload.replicas)
        made_by = await self._client.get(REPLICASETS, namespace, owner.name)
        if made_by is None or made_by.uid != owner.uid or made_by.owner is None:
            return None
        parent = made_by.owner
        if (parent.group, parent.kind) != ("apps", "Deployment"):
            return None
        deployment = await self._client.get(DEPLOYMENTS, namespace, parent.name)
        if deployment is None or deployment.uid != parent.uid:
            return None
        return ResolvedOwner(deployment, made_by.uid, made_by.replicas)

    def _is_placed(self, pod: PodObject, owner: Owner) -> bool:
        """A second call for a pod that we have just placed (reinvocation): nothing to add.

        A decision copied from a live pod into a template names a review that is long over.
        """
        text = (pod.metadata.annotations or {}).get(POD_DECISION)
        if text is None:
            return False
        try:
            made_by = msgspec.json.decode(text, type=_Decision).id
        except DECODE_ERRORS:
            return False
        return self._reservations.find(owner.uid, made_by) is not None

    async def _place(
        self,
        request: AdmissionRequest,
        pod: PodObject,
        owner: Owner,
        found: ResolvedOwner,
        configuration: WorkloadConfiguration,
    ) -> AdmissionDecision:
        observed = self._look(found.workload, configuration, owner)
        with suppress(TimeoutError):
            async with asyncio.timeout(NEWS_WAIT_SECONDS):
                # What comes first may be about another pod than the one that has gone.
                while _seen(observed, owner, request.name) >= found.owner_replicas:
                    await self._cluster.wait_for_change(owner.uid, NEWS_WAIT_SECONDS)
                    found = self._cluster.find_owner(request.namespace, owner) or found
                    observed = self._look(found.workload, configuration, owner)
        # From here to the reservation nothing waits: the next review sees this one's pod.
        at_most = found.owner_replicas - 1 - _seen(observed, owner, request.name)
        taken = len(self._reservations.of(owner.uid))
        if taken > max(0, at_most) and not request.dry_run:
            self._reservations.trim(owner.uid, at_most)
            observed = self._look(found.workload, configuration, owner)
        placement = place(observed, NewPod(owner=owner.uid, name=request.name))
        classification = self._cluster.settings.classification
        pinned = classification.pinned_to(admission_review.required_nodes(pod))
        rule, pin = placement.rule, self._cluster.nodes.pin(placement.node_type)
        if pinned is not NodeType.UNKNOWN:
            placement = dataclasses.replace(placement, node_type=pinned)
            rule, pin = "user-pinned", None
        if not request.dry_run:
            self._reserve(request, owner, placement)
        patch = pod_patch(pod, placement, request_uid=request.uid, rule=rule, pin=pin)
        return AdmissionDecision(str(placement.node_type), tuple(patch))

    def _look(
        self, workload: Workload, configuration: WorkloadConfiguration, owner: Owner
    ) -> Observed:
        return self._observer.for_placement(workload, configuration, owner.uid)

    def _reserve(self, request: AdmissionRequest, owner: Owner, placement: Placement) -> None:
        self._reservations.add(
            Reservation(
                request_uid=request.uid,
                owner=owner.uid,
                slot=placement.slot,
                node_type=placement.node_type,
                name=request.name,
                move=placement.move,
            )
        )


_KINDS = frozenset({"ReplicaSet", "StatefulSet"})


def _not_ours(request: AdmissionRequest) -> str:
    """Why a review is none of our business whatever the cluster holds; empty if it may be."""
    resource = request.resource
    if (resource.group, resource.resource) != ("", "pods") or request.sub_resource:
        return "not-a-pod"
    return "" if request.operation == "CREATE" else "not-a-creation"


class _Decision(msgspec.Struct):
    id: str = ""


def _seen(observed: Observed, owner: Owner, name: str) -> int:
    """Pods of this owner that hold a slot; not the one about to be replaced under its name."""
    return sum(
        1
        for replica in observed.active
        if replica.pod.owner is not None
        and replica.pod.owner.uid == owner.uid
        and not (name and replica.pod.name == name)
    )
