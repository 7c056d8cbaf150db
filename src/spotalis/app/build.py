"""Wires the parts of the operator together."""

from __future__ import annotations

from dataclasses import dataclass

from spotalis.app.operator import Operator
from spotalis.app.reconcile_loop import ReconcileLoop
from spotalis.app.status_reporter import StatusReporter
from spotalis.app.watches import Watches
from spotalis.controller.autoscaler import AutoscalerEvents
from spotalis.controller.cluster import Cluster
from spotalis.controller.condition import ConditionWriter
from spotalis.controller.events import EventRecorder
from spotalis.controller.evictor import Evictor
from spotalis.controller.groups_in_use import GroupsInUse
from spotalis.controller.leadership import LeaderElector
from spotalis.controller.ledgers import Ledgers
from spotalis.controller.observe import Observer
from spotalis.controller.queue import WorkQueue
from spotalis.controller.reconcile import Reconciler
from spotalis.controller.reservations import Reservations
from spotalis.controller.sweep import Sweeper
from spotalis.controller.telemetry import Telemetry
from spotalis.controller.terminations import Terminations
from spotalis.controller.volumes import Volumes
from spotalis.kube.client import Client
from spotalis.kube.limiter import RateLimiter
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.environment import Clock, Random
from spotalis.model.transport import Transport
from spotalis.webhook.admission import AdmissionHandler
from spotalis.webhook.forward import Forwarder, PeerClient


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """The parts that several others use."""

    settings: ControllerConfiguration
    clock: Clock
    rng: Random
    client: Client
    cluster: Cluster
    reservations: Reservations
    ledgers: Ledgers
    terminations: Terminations
    volumes: Volumes
    observer: Observer
    instance: str


def build_operator(
    transport: Transport,
    *,
    settings: ControllerConfiguration,
    clock: Clock,
    rng: Random,
    telemetry: Telemetry | None = None,
    peer_client: PeerClient | None = None,
) -> Operator:
    """Make an operator that is not started.

    Args:
        transport: to the API server.
        settings: the configuration, with the identity of this instance.
        clock: the system's, or virtual time.
        rng: for jitter and names.
        telemetry: receives reports; by default they are dropped.
        peer_client: sends admission requests to the leader; without it none are forwarded.
    """
    telemetry = telemetry or Telemetry()
    rate = settings.rate_limit
    limiter = RateLimiter(rate.requests_per_second, rate.burst, clock)
    on_request = telemetry.on_request
    client = Client(transport, clock=clock, rng=rng, limiter=limiter, on_request=on_request)
    # The queue and the elector call the loop, which is made last, only once they run.
    queue = WorkQueue(
        lambda key: loop.process(key),
        clock=clock,
        rng=rng,
        on_failure=telemetry.on_reconcile_error,
    )
    shared = _build_shared(settings, clock, rng, client, queue)
    elector = LeaderElector(
        client,
        settings=settings.leader_election,
        namespace=settings.namespace,
        identity=settings.identity,
        clock=clock,
        rng=rng,
        on_change=lambda leads: loop.on_leadership_change(leads),
    )
    loop = _build_loop(shared, queue, elector, telemetry)
    return Operator(
        client=client,
        cluster=shared.cluster,
        watches=_build_watches(shared, queue, telemetry),
        elector=elector,
        reconcile_loop=loop,
        groups_in_use=_build_groups_in_use(shared, client, loop),
        admission=AdmissionHandler(
            cluster=shared.cluster,
            observer=shared.observer,
            reservations=shared.reservations,
            # Reads of unknown owners have a limit of their own (webhook/owner_lookup.py).
            client=Client(transport, clock=clock, rng=rng, on_request=on_request),
            forwarder=Forwarder(elector, peer_client, clock=clock, on_forward=telemetry.on_forward),
            on_admission=telemetry.on_admission,
        ),
    )


def _build_shared(
    settings: ControllerConfiguration, clock: Clock, rng: Random, client: Client, queue: WorkQueue
) -> _Shared:
    reservations = Reservations(clock)
    cluster = Cluster(settings, reservations, queue.add, clock)
    ledgers = Ledgers(client, cluster.ledgers, settings.namespace)
    terminations = Terminations(cluster, client)
    volumes = Volumes(client, clock)
    # The number distinguishes this process from an earlier one with the same identity, whose
    # intents must be taken over first.
    instance = f"{settings.identity}/{rng.getrandbits(48):012x}"
    return _Shared(
        settings=settings,
        clock=clock,
        rng=rng,
        client=client,
        cluster=cluster,
        reservations=reservations,
        ledgers=ledgers,
        terminations=terminations,
        volumes=volumes,
        observer=Observer(
            cluster=cluster,
            ledgers=ledgers,
            terminations=terminations,
            reservations=reservations,
            volumes=volumes,
            autoscaler=AutoscalerEvents(client),
            clock=clock,
            instance=instance,
        ),
        instance=instance,
    )


def _build_loop(
    shared: _Shared, queue: WorkQueue, elector: LeaderElector, telemetry: Telemetry
) -> ReconcileLoop:
    def can_evict() -> bool:
        return loop.can_evict()

    client, clock, cluster, ledgers = shared.client, shared.clock, shared.cluster, shared.ledgers
    terminations, instance = shared.terminations, shared.instance
    reconciler = Reconciler(
        cluster=cluster,
        observer=shared.observer,
        ledgers=ledgers,
        evictor=Evictor(
            cluster=cluster,
            ledgers=ledgers,
            terminations=terminations,
            client=client,
            clock=clock,
            instance=instance,
            can_evict=can_evict,
        ),
        clock=clock,
        instance=instance,
        can_evict=can_evict,
        on_news=lambda: loop.enqueue_waiting(),
    )
    events = EventRecorder(client, clock, shared.settings.identity)
    loop = ReconcileLoop(
        cluster=cluster,
        queue=queue,
        elector=elector,
        reconciler=reconciler,
        reporter=StatusReporter(cluster, events, ConditionWriter(client, clock)),
        sweeper=Sweeper(
            cluster=cluster,
            ledgers=ledgers,
            terminations=terminations,
            volumes=shared.volumes,
            client=client,
        ),
        telemetry=telemetry,
        clock=clock,
    )
    return loop


def _build_groups_in_use(shared: _Shared, client: Client, loop: ReconcileLoop) -> GroupsInUse:
    return GroupsInUse(
        cluster=shared.cluster,
        ledgers=shared.ledgers,
        client=client,
        can_write=lambda: loop.can_evict() and shared.cluster.health.is_settled(),
        on_change=loop.enqueue_all,
    )


def _build_watches(shared: _Shared, queue: WorkQueue, telemetry: Telemetry) -> Watches:
    return Watches(
        client=shared.client,
        cluster=shared.cluster,
        ledgers=shared.ledgers,
        observer=shared.observer,
        enqueue=queue.add,
        on_watch=telemetry.on_watch,
        clock=shared.clock,
    )
