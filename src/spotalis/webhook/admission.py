"""Assigns a capacity type to each new pod of a managed workload."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from spotalis import logs
from spotalis.controller.cluster import Cluster
from spotalis.controller.observe import Observer
from spotalis.controller.owners import NoWorkload, ResolvedOwner
from spotalis.controller.reservations import Reservations
from spotalis.kube.client import Client
from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PINNED_RULES, USER_PINNED, Owner
from spotalis.model.possible_types import selects_compute_class
from spotalis.planner.placement import NewPod, PlacementView, place_in
from spotalis.planner.reserved_slots import Reservation
from spotalis.webhook.admission_review import (
    AdmissionRequest,
    decode_request,
    encode_response,
)
from spotalis.webhook.errors import NotLeader
from spotalis.webhook.forward import Forwarder
from spotalis.webhook.handler import HandlerResponse
from spotalis.webhook.owner_lookup import OwnerLookup
from spotalis.webhook.places import Places
from spotalis.webhook.pod_patch import Operation, pod_patch
from spotalis.webhook.reinvocation import choice_of_others, override_patch, restore_patch

log = logs.get(__name__)

FULL_WAIT_SECONDS = 0.1
"""Time for a change while the cache shows as many pods as desired, which means it is stale."""
MAX_WAITS = 64
"""Requests that wait for their owner, or for such a change, half of them of one namespace. The
other connections (webhook/server.py) are left for requests that need not wait."""

_OWNER_KINDS = frozenset({"ReplicaSet", "StatefulSet"})


class AdmissionResult(StrEnum):
    """The capacity type assigned to a pod, or why the pod is unchanged: a metric label."""

    SPOT = "spot"
    ON_DEMAND = "on-demand"
    NOT_A_POD = "not-a-pod"
    NOT_A_CREATION = "not-a-creation"
    NO_OWNER = "no-owner"
    OWNER_UNKNOWN = "owner-unknown"
    NO_WORKLOAD = "no-workload"
    CACHE_NOT_READY = "cache-not-ready"
    NAMESPACE_EXCLUDED = "namespace-excluded"
    INVALID_POLICY = "invalid-policy"
    NOT_MANAGED = "not-managed"
    NO_POLICY = "no-policy"
    NO_CLASSIFIER = "no-classifier"
    READ_ONLY = "read-only"
    COMPUTE_CLASS = "compute-class"
    CONSTRAINTS_TOO_LONG = "constraints-too-long"
    """The pod's scheduling constraints; it is counted by the node on which it runs."""
    PLACED_ALREADY = "placed-already"
    FORWARDED = "forwarded"
    """The leader decided; the response contains its result."""


_WITHOUT_OWNER = frozenset(
    {
        AdmissionResult.NOT_A_POD,
        AdmissionResult.NOT_A_CREATION,
        AdmissionResult.NO_OWNER,
        AdmissionResult.OWNER_UNKNOWN,
        AdmissionResult.CACHE_NOT_READY,
        AdmissionResult.NAMESPACE_EXCLUDED,
    }
)
"""Results of requests that any client can invent: their owner was not found."""


@dataclass(frozen=True, slots=True)
class AdmissionDecision:
    """The decision about one pod."""

    result: AdmissionResult
    patch: tuple[Operation, ...] = ()
    response: bytes = b""
    """The complete response of the leader, if it decided."""


class AdmissionHandler:
    """Answers admission requests; never denies one.

    Observing a workload and reserving the slot of a new pod is one step without an await, and
    one instance decides about all pods, so that a burst of pods is split exactly.
    """

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
        self._waits = Places(MAX_WAITS)
        self._owners = OwnerLookup(cluster, client, self._waits)
        self._on_admission = on_admission

    async def handle(self, body: bytes) -> HandlerResponse:
        """Answer an AdmissionReview of the API server.

        Raises:
            InvalidAdmissionReview: the body is not an AdmissionReview of v1.
        """
        return await self._handle(body, is_forwarded=False)

    async def handle_forwarded(self, body: bytes) -> HandlerResponse:
        """Answer an AdmissionReview that another instance forwards; never forwards it again.

        Raises:
            InvalidAdmissionReview: the body is not an AdmissionReview of v1.
            NotLeader: this instance does not lead, or its caches are not synced.
        """
        if not self._forwarder.leads:
            raise NotLeader
        return await self._handle(body, is_forwarded=True)

    async def _handle(self, body: bytes, *, is_forwarded: bool) -> HandlerResponse:
        request = decode_request(body)
        decision = await self._decide(request, None if is_forwarded else body)
        if decision.response:
            return HandlerResponse(decision.response, is_known_client=True)
        self._on_admission(decision.result)
        audit = {"decision": str(decision.result)}
        response = encode_response(request.uid, patch=decision.patch, audit=audit)
        return HandlerResponse(response, is_known_client=decision.result not in _WITHOUT_OWNER)

    async def _decide(self, request: AdmissionRequest, body: bytes | None) -> AdmissionDecision:
        """Decide about a pod; ``body`` is the request to forward, None if it must not be."""
        if ignored := _ignored(request):
            return AdmissionDecision(ignored)
        owner = request.owner
        if owner is None or owner.group != "apps" or owner.kind not in _OWNER_KINDS:
            return AdmissionDecision(AdmissionResult.NO_OWNER)
        cluster = self._cluster
        kind = "StatefulSet" if owner.kind == "StatefulSet" else "Deployment"
        if not cluster.health.can_place(kind, request.namespace):
            if body is None:
                raise NotLeader
            return AdmissionDecision(AdmissionResult.CACHE_NOT_READY)
        namespace = cluster.namespaces.get("", request.namespace)
        if not cluster.settings.namespaces.admits(namespace):
            return AdmissionDecision(AdmissionResult.NAMESPACE_EXCLUDED)
        resolved = await self._owners.find(request.namespace, owner)
        if resolved is None:
            return AdmissionDecision(AdmissionResult.OWNER_UNKNOWN)
        # Any client that reaches the port can invent a pod, but not the UID of an existing owner.
        self._observer.webhook_called = True
        if isinstance(resolved, NoWorkload):
            return AdmissionDecision(AdmissionResult.NO_WORKLOAD)
        configuration = cluster.policy_of(resolved.workload)
        if unmanaged := self._unmanaged(configuration):
            return AdmissionDecision(unmanaged)
        if request.has_long_constraints:
            return AdmissionDecision(AdmissionResult.CONSTRAINTS_TOO_LONG)
        if (reservation := self._reservation_of(request, owner)) is not None:
            return self._check_again(request, reservation)
        response = None if body is None else await self._forwarder.forward(body)
        if response is not None:
            return AdmissionDecision(AdmissionResult.FORWARDED, response=response)
        view = await self._observe(request, owner, resolved, configuration)
        return self._place(request, owner, view)

    def _unmanaged(self, configuration: WorkloadConfiguration) -> AdmissionResult | None:
        """Return why the pods of a workload are not placed; None if they are."""
        if configuration.problems:
            return AdmissionResult.INVALID_POLICY
        if not configuration.enabled:
            return AdmissionResult.NOT_MANAGED
        if not configuration.has_policy:
            return AdmissionResult.NO_POLICY
        if not self._cluster.nodes.groups_in_use():
            return AdmissionResult.NO_CLASSIFIER
        return AdmissionResult.READ_ONLY if self._cluster.settings.read_only else None

    def _reservation_of(self, request: AdmissionRequest, owner: Owner) -> Reservation | None:
        """The reservation of a pod that was placed a moment before; None in its first request.

        The decision of a live pod that was copied into a pod template has no open reservation.
        """
        earlier = request.decision.id
        if not earlier:
            return None
        return self._reservations.find(request.namespace, owner.uid, earlier)

    def _check_again(
        self, request: AdmissionRequest, reservation: Reservation
    ) -> AdmissionDecision:
        """Answer a reinvocation: another webhook may have changed the capacity type."""
        nodes, placed_on = self._cluster.nodes, reservation.node_type
        pin = nodes.pin(placed_on)
        if pin is None or request.decision.rule in PINNED_RULES:
            return AdmissionDecision(AdmissionResult.PLACED_ALREADY)
        pod = request.decode_pod()
        chosen = choice_of_others(pod, placed_on, pin, nodes.pinned_to)
        if chosen is None:
            patch = restore_patch(pod, placed_on, pin, nodes.pinned_to)
            return AdmissionDecision(AdmissionResult.PLACED_ALREADY, tuple(patch))
        log.warning(
            "Another webhook has changed the capacity type of a pod",
            namespace=request.namespace,
            owner=reservation.owner,
            placed_on=str(placed_on),
            chosen=str(chosen),
        )
        if not request.dry_run:
            moved = msgspec.structs.replace(reservation, node_type=chosen)
            self._reservations.add(moved)
        return AdmissionDecision(AdmissionResult(chosen), tuple(override_patch(pod, pin, chosen)))

    async def _observe(
        self,
        request: AdmissionRequest,
        owner: Owner,
        resolved: ResolvedOwner,
        configuration: WorkloadConfiguration,
    ) -> PlacementView:
        """Observe the workload of a new pod, at a time when there is room for the pod.

        While the cache shows as many pods as desired, it is stale: a pod that is gone is still
        there. Waits up to ``FULL_WAIT_SECONDS`` for changes, which may be about other pods, unless
        ``MAX_WAITS`` is reached. It does not await after the last observation, so the next request
        sees the reservation.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FULL_WAIT_SECONDS
        while True:
            view = self._observer.for_placement(
                resolved.workload, configuration, owner.uid, request.name
            )
            room = resolved.owner_replicas - view.pods
            remaining = deadline - loop.time()
            if room <= 0 and remaining > 0 and self._waits.take(request.namespace):
                try:
                    await self._cluster.wait_for_change(request.namespace, owner.uid, remaining)
                finally:
                    self._waits.release(request.namespace)
                again = self._cluster.find_owner(request.namespace, owner)
                resolved = again if isinstance(again, ResolvedOwner) else resolved
            # An owner never creates more pods than desired: the pods of reservations beyond that
            # were rejected after admission.
            elif request.dry_run or not self._reservations.trim(
                request.namespace, owner.uid, room - 1
            ):
                return view

    def _place(
        self, request: AdmissionRequest, owner: Owner, view: PlacementView
    ) -> AdmissionDecision:
        pod = request.decode_pod()
        placement = place_in(view, NewPod(owner=owner.uid, name=request.name))
        nodes, constraints = self._cluster.nodes, pod.node_constraints()
        pinned = nodes.pinned_to(constraints)
        if pinned is NodeType.UNKNOWN and selects_compute_class(constraints):
            return AdmissionDecision(AdmissionResult.COMPUTE_CLASS)
        rule, pin = placement.rule, nodes.pin(placement.node_type)
        if pinned is not NodeType.UNKNOWN:
            placement = dataclasses.replace(placement, node_type=pinned)
            rule, pin = USER_PINNED, None
        if not request.dry_run:
            self._reservations.add(
                Reservation(
                    request_uid=request.uid,
                    namespace=request.namespace,
                    owner=owner.uid,
                    slot=placement.slot,
                    node_type=placement.node_type,
                    name=request.name,
                    move=placement.move,
                )
            )
        patch = pod_patch(pod, placement, request_uid=request.uid, rule=rule, pin=pin)
        return AdmissionDecision(AdmissionResult(placement.node_type), tuple(patch))


def _ignored(request: AdmissionRequest) -> AdmissionResult | None:
    """Return why a request is ignored whatever the state of the cluster; None if it is not."""
    resource = request.resource
    if (resource.group, resource.resource) != ("", "pods") or request.sub_resource:
        return AdmissionResult.NOT_A_POD
    return None if request.operation == "CREATE" else AdmissionResult.NOT_A_CREATION
