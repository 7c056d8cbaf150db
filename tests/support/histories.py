"""The history of one workload as values: without a clock, an API server or threads.

Pods are admitted through ``place`` and chosen for eviction through ``plan``. Lost nodes and
scale-downs delete pods as the real controllers do: a ReplicaSet deletes unready pods first, then
those with the lowest deletion cost, and a StatefulSet its highest ordinals. Every replacement runs
on the capacity type that it was placed on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeAlias

import msgspec

from spotalis.model.decision import Decision, Defer, Evict, Hold
from spotalis.model.disruption import MoveLimit
from spotalis.model.nodes import NodeType
from spotalis.planner.observed import Observed, Replica
from spotalis.planner.placement import NewPod, Placement, place
from spotalis.planner.reserved_slots import Reservation
from tests.support.builders import (
    DEPLOYMENT,
    LONG_AGO,
    NOW,
    STATEFUL_SET,
    a_configuration,
    a_replica,
    decision_of,
    owner_of,
    reserved,
    workload_named_api,
)

Step: TypeAlias = tuple[str, int]
"""An event, and the pod or the number of pods that it concerns: see :meth:`History.play`."""

Place: TypeAlias = Callable[[Observed, NewPod], Placement]
Plan: TypeAlias = Callable[[Observed, datetime], Decision]


class StillMovingError(AssertionError):
    """The planner continues to evict although all its moves are complete."""


class History:
    """One workload and its pods.

    Args:
        adopted: capacity types of the pods that run before Spotalis starts; their slots, if any,
            are their ordinals.
        gives_back: the webhook releases reservations that exceed what the owner can still create.
        refusals: number of times that the API server rejects each pod of :meth:`come_to_rest`
            after its admission.
    """

    def __init__(
        self,
        *,
        kind: str = DEPLOYMENT,
        replicas: int | None = None,
        percent: int = 70,
        floor: int = 2,
        moves: int = 1,
        adopted: Sequence[NodeType] = (),
        place: Place = place,
        plan: Plan = decision_of,
        gives_back: bool = True,
        refusals: int = 0,
    ) -> None:
        self.kind = kind
        self.wanted = len(adopted) if replicas is None else replicas
        self.percent = percent
        self.floor = floor
        self.moves = moves
        self.evicted: list[str] = []
        """Names of evicted pods, in order."""
        self._place = place
        self._plan = plan
        self._gives_back = gives_back
        self._refusals = refusals
        self._number = 0
        self._unseen: list[Replica] = []
        self._reservations: list[Reservation] = []
        self._seen = [self._adopt(slot, node_type) for slot, node_type in enumerate(adopted)]

    @property
    def living(self) -> list[Replica]:
        """All pods, whether or not the operator has seen them."""
        return [*self._seen, *self._unseen]

    @property
    def observed(self) -> Observed:
        """The state that the operator sees."""
        present = len(self.living)
        return Observed(
            workload=workload_named_api(kind=self.kind, replicas=self.wanted, present=present),
            configuration=a_configuration(
                percent=self.percent, floor=self.floor, moves=MoveLimit(count=self.moves)
            ),
            replicas=tuple(self._seen),
            reservations=reserved(*self._reservations),
        )

    def decide(self) -> Decision:
        """The current decision of the planner."""
        return self._plan(self.observed, NOW)

    def play(self, steps: Sequence[Step]) -> None:
        """Execute steps in order. Steps that are not possible now do nothing."""
        for what, number in steps:
            match what:
                case "create":
                    self.create()
                case "refuse":
                    self.create(refused=True)
                case "see":
                    self.see(number)
                case "ready":
                    self.make_ready(number)
                case "lose":
                    self.lose(number)
                case "evict":
                    self.evict()
                case "scale":
                    self.scale(number)
                case "percent":
                    self.percent = number
                case "floor":
                    self.floor = number
                case _:
                    raise ValueError(what)

    def create(self, *, refused: bool = False) -> None:
        """The owner's controller creates a pod. The webhook admits it; then it may be rejected."""
        name = self._next_name()
        if name is None:
            return
        new = NewPod(owner=owner_of(self.kind).uid, name=name if self.kind == STATEFUL_SET else "")
        if self._gives_back:
            at_most = max(0, self.wanted - 1 - len(self._seen))
            self._reservations = self._reservations[max(0, len(self._reservations) - at_most) :]
        placement = self._place(self.observed, new)
        request_uid = f"request-{self._number}"
        self._reservations.append(
            Reservation(
                request_uid=request_uid,
                namespace="shop",
                owner=new.owner,
                slot=placement.slot,
                node_type=placement.node_type,
                name=new.name,
            )
        )
        if not refused:
            self._unseen.append(self._make(name, placement, request_uid))

    def see(self, number: int) -> None:
        """The operator sees the first pods that it has not seen yet."""
        for replica in self._unseen[:number]:
            self._seen.append(replica)
            uid = replica.pod.request_uid
            self._reservations = [r for r in self._reservations if r.request_uid != uid]
        del self._unseen[:number]

    def make_ready(self, number: int) -> None:
        """The first pods that are not ready become ready, in the order in which they were seen."""
        for pods in (self._seen, self._unseen):
            pods[:number] = [_ready(replica) for replica in pods[:number]]
            number -= min(number, len(pods))

    def lose(self, which: int) -> None:
        """A pod is lost with its node."""
        if self.living:
            self._remove(self.living[which % len(self.living)])

    def evict(self) -> Decision:
        """Execute one decision of the planner."""
        decision = self.decide()
        if isinstance(decision, Evict):
            for move in decision.moves:
                (gone,) = (r for r in self._seen if r.pod.uid == move.pod.uid)
                self._remove(gone)
                self.evicted.append(move.pod.name)
        return decision

    def scale(self, replicas: int) -> None:
        """Set another number of replicas. Surplus pods are deleted at once."""
        self.wanted = replicas
        excess = max(0, len(self.living) - replicas)
        if self.kind == STATEFUL_SET:
            going = [r for r in self.living if _ordinal(r) >= replicas]
        else:
            going = sorted(self.living, key=_first_to_go)[:excess]
        for replica in going:
            self._remove(replica)

    def wait(self) -> None:
        """Wait until every pod is seen and every reservation has expired."""
        self.see(len(self._unseen))
        self._reservations.clear()

    def come_to_rest(self) -> Decision:
        """End all faults: every pod is created, seen and ready, and every move completes.

        Returns:
            The last decision of the planner, which contains no move.
        """
        for _ in range(10 * len(self.living) + 10 * self.wanted + 10):
            self.wait()
            self._fill_up()
            if not isinstance(decision := self.evict(), Evict):
                return decision
        raise StillMovingError(f"{len(self.evicted)} evictions: {self.evicted[-8:]}")

    def _fill_up(self) -> None:
        while True:
            self.see(len(self._unseen))
            self.make_ready(len(self._seen))
            if self._next_name() is None:
                return
            for _ in range(self._refusals):
                self.create(refused=True)
            self.create()

    def _next_name(self) -> str | None:
        self._number += 1
        if self.kind == STATEFUL_SET:
            taken = {_ordinal(replica) for replica in self.living}
            free = (ordinal for ordinal in range(self.wanted) if ordinal not in taken)
            return next((f"api-{ordinal}" for ordinal in free), None)
        return f"api-6c9f7d-{self._number}" if len(self.living) < self.wanted else None

    def _make(self, name: str, placement: Placement, request_uid: str) -> Replica:
        return a_replica(
            name=name,
            uid=f"{name}-uid-{self._number}",
            node_type=placement.node_type,
            node=f"{placement.node_type}-{self._number}",
            owner=owner_of(self.kind),
            slot=placement.slot,
            request_uid=request_uid,
            rule=placement.rule,
            ready=False,
        )

    def _adopt(self, slot: int, node_type: NodeType) -> Replica:
        return a_replica(name=f"api-{slot}", node_type=node_type, owner=owner_of(self.kind))

    def _remove(self, gone: Replica) -> None:
        for pods in (self._seen, self._unseen):
            pods[:] = [replica for replica in pods if replica is not gone]


def is_exact(decision: Decision) -> bool:
    """The planner waits until the number of pods equals the number of replicas."""
    assert isinstance(decision, Hold | Defer)
    return isinstance(decision, Hold)


def _ordinal(replica: Replica) -> int:
    return int(replica.pod.name.rpartition("-")[2])


def _first_to_go(replica: Replica) -> tuple[bool, int, str]:
    slot = replica.pod.slot
    return replica.pod.ready, 0 if slot is None else 10000 - slot, replica.pod.uid


def _ready(replica: Replica) -> Replica:
    pod = msgspec.structs.replace(replica.pod, ready=True, ready_at=LONG_AGO)
    return msgspec.structs.replace(replica, pod=pod)
