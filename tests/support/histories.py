"""What happens to one workload over time, as values: no clock, no API server, no threads.

Pods are admitted through ``place``, chosen for eviction through ``plan``, and taken away by node
losses and scale-downs as the real controllers would: a ReplicaSet deletes unready pods first and
then those with the lowest deletion cost, a StatefulSet its highest ordinals. Every replacement
lands on the class it was placed on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeAlias

import msgspec

from spotalis.model.decision import Decision, Defer, Evict, Hold
from spotalis.model.disruption import MoveLimit
from spotalis.model.nodes import NodeType
from spotalis.planner.observed import Observed, Replica, Reservation
from spotalis.planner.placement import NewPod, Placement, place
from spotalis.planner.plan import plan
from tests.support.builders import (
    DEPLOYMENT,
    LONG_AGO,
    NOW,
    STATEFUL_SET,
    a_configuration,
    a_replica,
    owner_of,
    workload_named_api,
)

Step: TypeAlias = tuple[str, int]
"""What happens, and to which pod or to how many: see :meth:`History.play`."""

Place: TypeAlias = Callable[[Observed, NewPod], Placement]
Plan: TypeAlias = Callable[[Observed, datetime], Decision]


class StillMovingError(AssertionError):
    """The planner goes on evicting although everything it asked for was done."""


class History:
    """One workload and its pods.

    Args:
        adopted: classes of the pods that run already when Spotalis comes; their slots, if any,
            are their ordinals.
        gives_back: the webhook gives reservations back that exceed what the owner can still make.
        refusals: so often the API server refuses each pod of :meth:`settle` after our review.
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
        plan: Plan = plan,
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

    # -- looking -------------------------------------------------------------------------------

    @property
    def living(self) -> list[Replica]:
        """All pods, whether an event has told of them or not."""
        return [*self._seen, *self._unseen]

    @property
    def observed(self) -> Observed:
        """What the operator knows."""
        present = len(self.living)
        return Observed(
            workload=workload_named_api(kind=self.kind, replicas=self.wanted, present=present),
            configuration=a_configuration(
                percent=self.percent, floor=self.floor, moves=MoveLimit(count=self.moves)
            ),
            replicas=tuple(self._seen),
            reservations=tuple(self._reservations),
        )

    def decide(self) -> Decision:
        """What the planner says now."""
        return self._plan(self.observed, NOW)

    # -- what happens --------------------------------------------------------------------------

    def play(self, steps: Sequence[Step]) -> None:
        """Carry out one step after another; steps that cannot happen now do nothing."""
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
        """The owner's controller makes one pod; our review, then perhaps another's refusal."""
        name = self._next_name()
        if name is None:
            return
        new = NewPod(owner=owner_of(self.kind).uid, name=name if self.kind == STATEFUL_SET else "")
        if self._gives_back:
            at_most = max(0, self.wanted - 1 - len(self._seen))
            self._reservations = self._reservations[max(0, len(self._reservations) - at_most) :]
        placement = self._place(self.observed, new)
        review = f"review-{self._number}"
        self._reservations.append(
            Reservation(
                request_uid=review,
                owner=new.owner,
                slot=placement.slot,
                node_type=placement.node_type,
                name=new.name,
            )
        )
        if not refused:
            self._unseen.append(self._make(name, placement, review))

    def see(self, number: int) -> None:
        """Events tell of the first so many pods not seen yet."""
        for replica in self._unseen[:number]:
            self._seen.append(replica)
            review = replica.pod.request_uid
            self._reservations = [r for r in self._reservations if r.request_uid != review]
        del self._unseen[:number]

    def make_ready(self, number: int) -> None:
        """The first so many pods become ready, those seen first."""
        for pods in (self._seen, self._unseen):
            pods[:number] = [_ready(replica) for replica in pods[:number]]
            number -= min(number, len(pods))

    def lose(self, which: int) -> None:
        """A pod dies with its node."""
        if self.living:
            self._remove(self.living[which % len(self.living)])

    def evict(self) -> Decision:
        """One turn of the planner, carried out."""
        decision = self.decide()
        if isinstance(decision, Evict):
            for move in decision.moves:
                (gone,) = (r for r in self._seen if r.pod.uid == move.pod.uid)
                self._remove(gone)
                self.evicted.append(move.pod.name)
        return decision

    def scale(self, replicas: int) -> None:
        """Another number of replicas is wanted; what is too much goes at once."""
        self.wanted = replicas
        excess = max(0, len(self.living) - replicas)
        if self.kind == STATEFUL_SET:
            going = [r for r in self.living if _ordinal(r) >= replicas]
        else:
            going = sorted(self.living, key=_first_to_go)[:excess]
        for replica in going:
            self._remove(replica)

    def wait(self) -> None:
        """So long that every pod is seen and every reservation has run out."""
        self.see(len(self._unseen))
        self._reservations.clear()

    def settle(self) -> Decision:
        """Faults are over: every pod is created, seen and ready, and every move is made.

        Returns:
            The planner's last word, once it moves nothing any more.
        """
        for _ in range(10 * len(self.living) + 10 * self.wanted + 10):
            self.wait()
            self._fill_up()
            if not isinstance(decision := self.evict(), Evict):
                return decision
        raise StillMovingError(f"{len(self.evicted)} evictions: {self.evicted[-8:]}")

    # -- how -----------------------------------------------------------------------------------

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
    """The planner holds: present equals wanted."""
    assert isinstance(decision, Hold | Defer)
    return isinstance(decision, Hold)


def _ordinal(replica: Replica) -> int:
    return int(replica.pod.name.rpartition("-")[2])


def _first_to_go(replica: Replica) -> tuple[bool, int, str]:
    slot = replica.pod.slot
    return replica.pod.ready, 0 if slot is None else 10000 - slot, replica.pod.uid


def _ready(replica: Replica) -> Replica:
    pod = msgspec.structs.replace(replica.pod, ready=True, ready_at=LONG_AGO)
    return dataclasses.replace(replica, pod=pod)
