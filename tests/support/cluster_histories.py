"""Random histories of the cluster as one workload sees it: pods, nodes, moves and time."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from spotalis.controller.autoscaler import AutoscalerEvents
from spotalis.controller.cluster import Cluster
from spotalis.controller.ledgers import LEDGER_PREFIX, Ledgers
from spotalis.controller.observe import Observer
from spotalis.controller.reservations import Reservations
from spotalis.controller.spot_memory import NAME as SPOT_MEMORY
from spotalis.controller.terminations import Terminations
from spotalis.controller.volumes import Volumes
from spotalis.kube.client import Client
from spotalis.kube.store import Event, EventType, StoreWriter
from spotalis.model.configuration import POD_CAPACITY_TYPE
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.ledger import MOVE_CHARACTERS, Intent, Ledger, LedgerObject
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Node, Owner, Pod, PodShape, ReplicaSet, Requirement, Taint
from spotalis.model.possible_types import NODE_POOL, NodePool
from spotalis.model.spot_knowledge import SpotRecord
from spotalis.planner.breaker import with_breaker
from spotalis.planner.interruption import NOTICE_TTL
from spotalis.planner.observed import Observed
from spotalis.planner.placement import NewPod, place, place_in, view_of
from spotalis.planner.reserved_slots import Reservation
from spotalis.planner.spot_capacity import next_pod_shape
from spotalis.planner.spot_knowledge import NOTHING_KNOWN, question_of, view, with_ledger
from tests.support.builders import (
    DEPLOYMENT,
    ON_DEMAND,
    SPOT,
    STATEFUL_SET,
    a_configuration,
    a_node,
    a_pod,
    a_shape,
    owner_of,
    workload_named_api,
)
from tests.support.loaded_rng import LoadedRandom
from tests.support.manual_clock import ManualClock
from tests.support.scripted_transport import ScriptedTransport

NEW = owner_of(DEPLOYMENT)
OLD = Owner(group="apps", kind="ReplicaSet", name="api-54bd9c", uid="api-54bd9c-uid")
OTHER = Owner(group="apps", kind="ReplicaSet", name="web-1", uid="web-1-uid")
SET = owner_of(STATEFUL_SET)
CONFIGURATION = a_configuration(percent=50, floor=1)

NODES = ("node-1", "node-2", "node-3")
NUMBERS = st.integers(0, 4)
MOVES = st.sampled_from(("", *(f"api-{number}-uid-0"[:MOVE_CHARACTERS] for number in range(3))))
TYPES = st.sampled_from((SPOT, ON_DEMAND))
TAINTS: tuple[tuple[Taint, ...], ...] = (
    (),
    (Taint("aws-node-termination-handler/spot-itn", effect="NoSchedule"),),
    (Taint("karpenter.sh/disrupted", effect="NoSchedule"),),
)
LABELS = (
    {"karpenter.sh/capacity-type": "spot", NODE_POOL: "mixed", "team": "a"},
    {"karpenter.sh/capacity-type": "on-demand", NODE_POOL: "mixed", "team": "a"},
    {"team": "a"},
)
IN_NODE_POOL = a_shape(500, node_selector=((NODE_POOL, "mixed"),))
SHAPES = (
    a_shape(500),
    a_shape(1000),
    a_shape(500, node_selector=(("karpenter.sh/capacity-type", "spot"),)),
    IN_NODE_POOL,
    a_shape(500, node_selector=(("team", "a"),)),
)
IS_SPOT = Requirement("karpenter.sh/capacity-type", "In", ("spot",))
POOLS: tuple[tuple[NodePool, ...], ...] = ((), (("mixed", (IS_SPOT,)),))


class Histories(RuleBasedStateMachine):
    """Pods, nodes, moves and the time change; placements follow."""

    kind = DEPLOYMENT
    owners: tuple[Owner, ...] = (NEW, OLD, OTHER)
    places_after_every_step = True

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        client = Client(ScriptedTransport([]), clock=self.clock, rng=LoadedRandom())
        settings = ControllerConfiguration()
        self.reservations = Reservations(self.clock)
        self.cluster = Cluster(settings, self.reservations, lambda key: None, self.clock)
        self.ledgers = Ledgers(client, self.cluster.ledgers, settings.namespace)
        self.terminations = Terminations(self.cluster, client)
        self.observer = Observer(
            cluster=self.cluster,
            ledgers=self.ledgers,
            terminations=self.terminations,
            reservations=self.reservations,
            volumes=Volumes(client, self.clock),
            autoscaler=AutoscalerEvents(client),
            clock=self.clock,
            instance="me",
        )
        self.workload = workload_named_api(kind=self.kind, replicas=6)
        self.pod_writer = StoreWriter(self.cluster.pods)
        self.node_writer = StoreWriter(self.cluster.nodes.store)
        self.version = 0
        writer = StoreWriter(self.cluster.replica_sets)
        parent = Owner(group="apps", kind="Deployment", name="api", uid=self.workload.uid)
        for owner in (NEW, OLD) if self.kind == DEPLOYMENT else ():
            replica_set = ReplicaSet(
                namespace="shop", name=owner.name, uid=owner.uid, owner=parent, replicas=6
            )
            change = writer.apply(Event(EventType.ADDED, replica_set))
            assert change is not None
            self.cluster.on_replica_set_change(change)
        for number, name in enumerate(NODES):
            self.put_node(name, 0, LABELS[number % 2], ())
            self.put_pod(number, 0, 0, SPOT, "share", name, 0, "", SHAPES[0], False, "Running")
        for number in (3, 4):
            self.put_pod(number, 0, 0, SPOT, "", "", 0, "", SHAPES[number], False, "Pending")

    @invariant()
    def places_as_defined(self) -> None:
        if self.places_after_every_step:
            for owner in dict.fromkeys(self.owners[:2]):
                self.check(owner.uid, "")

    @rule(
        number=NUMBERS,
        of=st.integers(0, 2),
        generation=st.integers(0, 1),
        placed_on=TYPES,
        rule=st.sampled_from(("", "share", "user-pinned")),
        node=st.sampled_from(("", *NODES)),
        age=st.integers(0, 2),
        move=MOVES,
        shape=st.sampled_from(SHAPES),
        is_leaving=st.booleans(),
        phase=st.sampled_from(("Running", "Pending", "Failed")),
    )
    def put_pod(
        self,
        number: int,
        of: int,
        generation: int,
        placed_on: str,
        rule: str,
        node: str,
        age: int,
        move: str,
        shape: PodShape,
        is_leaving: bool,
        phase: str,
    ) -> None:
        name = f"api-{number}"
        pod = a_pod(
            name,
            uid=f"{name}-uid-{generation}",
            owner=self.owners[of % len(self.owners)],
            node=node,
            slot=number // 2,
            labels={"app": "api", POD_CAPACITY_TYPE: str(placed_on)},
            rule=rule,
            request_uid=f"request-{number}",
            move=move,
            shape=shape,
            phase=phase,
            created_at=self.clock.now() - age * timedelta(minutes=1),
            deleting_at=self.clock.now() if is_leaving else None,
        )
        self.apply_pod(EventType.MODIFIED, pod)

    @rule(number=NUMBERS)
    def delete_pod(self, number: int) -> None:
        pod = self.cluster.pods.get("shop", f"api-{number}")
        if pod is not None:
            self.apply_pod(EventType.DELETED, pod)

    @rule(
        name=st.sampled_from(NODES),
        generation=st.integers(0, 1),
        labels=st.sampled_from(LABELS),
        taints=st.sampled_from(TAINTS),
    )
    def put_node(
        self, name: str, generation: int, labels: dict[str, str], taints: tuple[Taint, ...]
    ) -> None:
        uid = f"{name}-uid-{generation}"
        now = self.clock.now()
        node = a_node(name, uid=uid, labels=labels, taints=taints, created_at=now)
        self.apply_node(EventType.MODIFIED, node)

    @rule(name=st.sampled_from(NODES))
    def delete_node(self, name: str) -> None:
        node = self.cluster.nodes.get(name)
        if node is not None:
            self.apply_node(EventType.DELETED, node)

    @rule(pools=st.sampled_from(POOLS))
    def list_node_pools(self, pools: tuple[NodePool, ...]) -> None:
        self.cluster.nodes.node_pools = pools

    @rule(number=NUMBERS, generation=st.integers(0, 1))
    def evict(self, number: int, generation: int) -> None:
        self.terminations.record(f"api-{number}-uid-{generation}")

    @rule(number=NUMBERS)
    def retain_evicted(self, number: int) -> None:
        self.terminations.retain({f"api-{number}-uid-0"})

    @rule(seconds=st.sampled_from((10.0, 31.0, 300.0, NOTICE_TTL.total_seconds(), 3600.0)))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(number=NUMBERS, slot=NUMBERS, node_type=TYPES, move=MOVES)
    def reserve(self, number: int, slot: int, node_type: NodeType, move: str) -> None:
        self.reservations.add(
            Reservation(
                request_uid=f"request-{number}",
                namespace="shop",
                owner=self.owners[0].uid,
                slot=slot,
                node_type=node_type,
                name=f"api-{slot}" if self.kind == STATEFUL_SET else "",
                move=move,
            )
        )

    @rule(
        moves=st.lists(st.tuples(NUMBERS, TYPES), max_size=2, unique_by=lambda one: one[0]),
        until=st.sampled_from((None, -10, 10)),
        interruptions=st.integers(0, 1),
    )
    def write_ledger(
        self, moves: list[tuple[int, NodeType]], until: int | None, interruptions: int
    ) -> None:
        now, minute = self.clock.now(), timedelta(minutes=1)
        intents = tuple(
            Intent(pod=f"api-{number}-uid-0", name=f"api-{number}", target=to, instance="me")
            for number, to in moves
        )
        self.write_object(
            LEDGER_PREFIX + self.workload.uid,
            ledger=Ledger(
                workload="Deployment/shop/api",
                intents=intents,
                unstable_until=None if until is None else now + until * minute,
                interrupted_at=(now - minute,) * interruptions,
            ),
        )

    @rule(which=st.sampled_from((0, 1)), found=st.booleans())
    def learn_about_spot(self, which: int, found: bool) -> None:
        question = question_of(
            msgspec.structs.replace(self.workload.shape, cpu_millis=SHAPES[which].cpu_millis),
            self.workload.uid,
            CONFIGURATION.spot_fallback,
            "shop",
        )
        record = SpotRecord(
            shape=question.shape,
            namespace="shop",
            at=self.clock.now(),
            cpu_millis=question.cpu_millis,
            found=found,
            waited_seconds=CONFIGURATION.spot_fallback // timedelta(seconds=1),
        )
        self.write_object(SPOT_MEMORY, spot=(record,))

    @rule(first=st.integers(0, 1), replicas=st.integers(0, 8))
    def change_workload(self, first: int, replicas: int) -> None:
        first = first if self.kind == STATEFUL_SET else 0
        self.workload = msgspec.structs.replace(
            self.workload, first_ordinal=first, replicas=replicas
        )

    @rule(owner=st.integers(0, 1), number=st.one_of(st.none(), NUMBERS))
    def place_pod(self, owner: int, number: int | None) -> None:
        self.check(self.owners[owner % 2].uid, "" if number is None else f"api-{number}")

    def teardown(self) -> None:
        for owner in self.owners[:2]:
            self.check(owner.uid, "")

    def check(self, owner: str, name: str) -> None:
        """Compare the placement of the next pod with the definition."""
        if self.kind == STATEFUL_SET:
            name = name or "api-9"
        pod = NewPod(owner=owner, name=name)
        expected = self.observed()
        found = self.observer.for_placement(self.workload, CONFIGURATION, owner, name)
        assert found == view_of(expected, pod)
        assert place_in(found, pod) == place(expected, pod)

    def observed(self) -> Observed:
        """The workload as it is, evaluated from the beginning."""
        now, stored = self.clock.now(), self.ledgers.cached(self.workload.uid)
        ledger = (stored.ledger if stored else None) or Ledger()
        observed = self.observer.without_ledger(self.workload, CONFIGURATION)
        spot_view, records = NOTHING_KNOWN, self.ledgers.spot.records
        if records or not ledger.is_empty:
            pods = [replica.pod for replica in observed.replicas]
            shape = next_pod_shape(self.workload, pods, self.cluster.nodes.without_pins)
            question = question_of(shape, self.workload.uid, CONFIGURATION.spot_fallback, "shop")
            spot_view = view(with_ledger(records, ledger, question, now), question, now)
        observed = dataclasses.replace(observed, ledger=ledger, spot_view=spot_view)
        return with_breaker(observed, now)

    def apply_pod(self, event: EventType, pod: Pod) -> None:
        self.version += 1
        pod = msgspec.structs.replace(pod, resource_version=str(self.version))
        change = self.pod_writer.apply(Event(event, pod))
        assert change is not None
        self.cluster.on_pod_change(change)

    def apply_node(self, event: EventType, node: Node) -> None:
        self.version += 1
        node = msgspec.structs.replace(node, resource_version=str(self.version))
        change = self.node_writer.apply(Event(event, node))
        assert change is not None
        self.cluster.on_node_change(change)

    def write_object(self, name: str, **fields: Any) -> None:
        self.version += 1
        written = LedgerObject(
            namespace=self.cluster.settings.namespace,
            name=name,
            resource_version=str(self.version),
            **fields,
        )
        self.ledgers.writer.apply(Event(EventType.MODIFIED, written))
