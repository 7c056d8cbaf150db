"""What is free on the spot nodes once every pod that waits for a node has its share.

The answer is the same for all workloads, so that it is computed once per change of the cluster:
otherwise each reconcile would pay for the pods of all tenants. Pods that the scheduler treats
alike are judged together, and the computation can be interrupted after each slice of work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from spotalis.model.anti_affinity import AntiAffinityTerm
from spotalis.model.classification import Pin
from spotalis.model.objects import NODE_NAME_FIELD, HostPort, Node, PodShape
from spotalis.planner.anti_affinity import NO_ANTI_AFFINITY, AntiAffinity, Effort
from spotalis.planner.capacity import can_bind, may_accept_pods

SLICE = 1000
"""Comparisons between two interruptions: about a millisecond of work."""

_READS_PER_COMPARISON = 16
"""To read a label takes that much less time than to evaluate a requirement (measured)."""
_MAX_POSITIONS = 100_000
"""Positions in a memo, or of the kinds of nodes that are remembered: a few MiB."""
_MISSES = 32
"""Pods without a place after which the upper bound of what is free is computed again."""

AntiAffinityTerms: TypeAlias = tuple[AntiAffinityTerm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingPods:
    """Pods without a node that the scheduler treats alike."""

    shape: PodShape
    count: int = 1
    namespace: str = ""
    """Matters for their anti-affinity only."""


@dataclass(slots=True)
class NodeRoom:
    """The free resources of a node while pods are assigned to it."""

    node: Node
    cpu_millis: int
    memory_bytes: int
    pods: int
    other: dict[str, int]
    host_ports: list[HostPort] = field(default_factory=list)
    """The ports that are in use."""

    @classmethod
    def of(cls, node: Node, bound: Iterable[PodShape]) -> NodeRoom:
        """What the pods that use resources of the node leave."""
        room = cls(node, node.cpu_millis, node.memory_bytes, node.pods, dict(node.other))
        for shape in bound:
            room.take(shape, 1)
        return room

    def copy(self) -> NodeRoom:
        """The same room, to be changed."""
        return dataclasses.replace(self, other=dict(self.other), host_ports=list(self.host_ports))

    def fits(self, shape: PodShape) -> int:
        """How many more pods of this shape the node has resources for."""
        if self.pods < 1 or self.cpu_millis < shape.cpu_millis:
            return 0
        asked = (
            (1, self.pods),
            (shape.cpu_millis, self.cpu_millis),
            (shape.memory_bytes, self.memory_bytes),
            *((amount, self.other.get(name, 0)) for name, amount in shape.other),
        )
        if any(amount > free for amount, free in asked):
            return 0
        if shape.host_ports:
            return int(not any(map(self._is_used, shape.host_ports)))
        return min(free // amount for amount, free in asked if amount)

    def _is_used(self, port: HostPort) -> bool:
        return any(port.conflicts_with(used) for used in self.host_ports)

    def take(self, shape: PodShape, count: int) -> None:
        """Assign this many pods of a shape; a negative number takes them away again."""
        self.pods -= count
        self.cpu_millis -= count * shape.cpu_millis
        self.memory_bytes -= count * shape.memory_bytes
        for name, amount in shape.other:
            self.other[name] = self.other.get(name, 0) - count * amount
        for port in shape.host_ports:
            if count > 0:
                self.host_ports.append(port)
            else:
                self.host_ports.remove(port)


_Assigned: TypeAlias = tuple[WaitingPods, Mapping[int, int]]
"""Pods, and how many of them each room has, by its position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeCapacity:
    """What is free on the nodes of one type."""

    kinds: _Kinds = field(default_factory=lambda: _Kinds(()))
    apart: Mapping[tuple[str, AntiAffinityTerms], Sequence[_Assigned]] = field(default_factory=dict)
    """Where the waiting pods with anti-affinity are, by namespace and terms: for a workload with
    the same terms they are assigned again, with the rules that hold for it."""

    @property
    def rooms(self) -> Sequence[NodeRoom]:
        """The free resources of each node."""
        return self.kinds.rooms


Memo: TypeAlias = MutableMapping[int, tuple[PodShape, Sequence[int]]]
"""By the identity of a shape: the positions of the nodes that can hold it, resources aside. Valid
as long as the nodes are the same."""


class _Pace:
    """Counts comparisons."""

    def __init__(self) -> None:
        self._left = SLICE

    def is_over(self, comparisons: int) -> bool:
        """Count comparisons; returns whether the slice is over."""
        self._left -= comparisons
        if self._left > 0:
            return False
        self._left = SLICE
        return True


class _Limit(_Pace):
    """Counts comparisons up to the limit of an answer, without interruptions."""

    def __init__(self, effort: Effort) -> None:
        super().__init__()
        self._effort = effort

    def is_over(self, comparisons: int) -> bool:
        self._effort.spend(comparisons)
        return False


def assign(
    nodes: Iterable[tuple[Node, Sequence[PodShape]]], waiting: Iterable[WaitingPods], memo: Memo
) -> Generator[None, None, FreeCapacity]:
    """Assign the waiting pods to the nodes; yields after each slice of work.

    Args:
        nodes: the nodes of a type, each with the shapes of the pods that use its resources.
        waiting: the pods without a node that may take resources first.
        memo: from the last computation with the same nodes; replaced by what this one used.
    """
    pace = _Pace()
    rooms: list[NodeRoom] = []
    for node, bound in nodes:
        if may_accept_pods(node):
            rooms.append(NodeRoom.of(node, bound))
        if pace.is_over(1 + len(bound)):
            yield
    apart: dict[tuple[str, AntiAffinityTerms], list[_Assigned]] = {}
    used: dict[int, tuple[PodShape, Sequence[int]]] = {}
    largest, kinds = _largest(rooms), _Kinds(rooms)
    misses = remembered = 0
    for pods in waiting:
        shape, given = pods.shape, {}
        if pace.is_over(1):
            yield
        if largest.fits(shape):
            known = memo.get(id(shape))
            positions = known[1] if known else (yield from kinds.bindable(shape, None, pace))
            remembered += len(positions)
            if remembered <= _MAX_POSITIONS:
                used[id(shape)] = (shape, positions)
            given = _fill(rooms, positions, pods)
            if pace.is_over(len(positions)):
                yield
            misses += sum(given.values()) < pods.count
            if misses >= _MISSES:
                largest, misses = _largest(rooms), 0
        if shape.anti_affinity:
            apart.setdefault((pods.namespace, shape.anti_affinity), []).append((pods, given))
    memo.clear()
    memo.update(used)
    return FreeCapacity(kinds=kinds, apart=apart)


def _largest(rooms: Iterable[NodeRoom]) -> NodeRoom:
    """An upper bound of every room: what does not fit here fits nowhere."""
    bound = NodeRoom(Node(name="", uid=""), 0, 0, 0, {})
    for room in rooms:
        if room.pods > 0:
            bound.pods = max(bound.pods, room.pods)
            bound.cpu_millis = max(bound.cpu_millis, room.cpu_millis)
            bound.memory_bytes = max(bound.memory_bytes, room.memory_bytes)
            for name, amount in room.other.items():
                bound.other[name] = max(bound.other.get(name, 0), amount)
    return bound


def _fill(rooms: Sequence[NodeRoom], positions: Iterable[int], pods: WaitingPods) -> dict[int, int]:
    """Assign pods to rooms in order; returns how many each got, by its position."""
    given: dict[int, int] = {}
    left = pods.count
    for position in positions:
        room = rooms[position]
        while left and (count := min(left, room.fits(pods.shape))):
            room.take(pods.shape, count)
            given[position] = given.get(position, 0) + count
            left -= count
        if not left:
            break
    return given


class _Kinds:
    """Nodes that differ only in labels that a shape does not mention, judged as one."""

    def __init__(self, rooms: Sequence[NodeRoom]) -> None:
        self.rooms = rooms
        self._by_keys: dict[tuple[str, ...], list[list[int]]] = {}
        """By the labels that a shape mentions: the positions of the nodes of each kind."""

    def bindable(
        self, shape: PodShape, pin: Pin | None, pace: _Pace
    ) -> Generator[None, None, list[int]]:
        """The positions of the nodes that can hold a pod of this shape, resources aside."""
        requirements = [one for term in shape.node_terms for one in term]
        named = {key for key, _ in shape.node_selector} | {one.key for one in requirements}
        keys = tuple(sorted(named))
        kinds = self._by_keys.get(keys)
        if kinds is None:
            if (len(self._by_keys) + 1) * len(self.rooms) > _MAX_POSITIONS:
                self._by_keys.clear()
            kinds = self._by_keys[keys] = yield from self._group(keys, pace)
        found: list[int] = []
        for positions in kinds:
            if can_bind(self.rooms[positions[0]].node, shape, pin):
                found += positions
            if pace.is_over(1 + len(requirements) + len(shape.tolerations)):
                yield
        return sorted(found)

    def _group(self, keys: tuple[str, ...], pace: _Pace) -> Generator[None, None, list[list[int]]]:
        kinds: dict[tuple[object, ...], list[int]] = {}
        for position, room in enumerate(self.rooms):
            node, get = room.node, room.node.labels.get
            name = node.name if NODE_NAME_FIELD in keys else ""
            kinds.setdefault((node.taints, name, *map(get, keys)), []).append(position)
            if pace.is_over(1 + len(keys) // _READS_PER_COMPARISON):
                yield
        return list(kinds.values())


def count_fitting(
    free: FreeCapacity,
    shape: PodShape,
    pin: Pin,
    limit: int,
    allowed: AntiAffinity = NO_ANTI_AFFINITY,
    namespace: str = "",
    effort: Effort | None = None,
) -> int:
    """Count how many more pods of ``shape``, pinned by ``pin``, fit on the nodes.

    Args:
        free: what the pods that wait for a node leave.
        shape: what the workload's next pod requests.
        pin: what the webhook adds.
        limit: where to stop counting.
        allowed: the workload's anti-affinity.
        namespace: of the workload.
        effort: is spent; the default limit if it is None.

    Raises:
        TooMuchWorkError: counting takes more comparisons.
    """
    pace = _Limit(effort or Effort())
    kinds = free.kinds
    if shape.anti_affinity and (alike := free.apart.get((namespace, shape.anti_affinity))):
        kinds, allowed = _assign_again(kinds, alike, allowed, pace)
    count = 0
    for position in _finish(kinds.bindable(shape, pin, pace)):
        room = kinds.rooms[position]
        if count >= limit:
            break
        if not allowed.allows(room.node):
            continue
        fits = room.fits(shape)
        if fits and any(key in room.node.labels for key in allowed.exclusive_keys):
            fits = 1
            pace.is_over(allowed.comparisons)
            allowed = allowed.after(room.node)
        count += min(fits, limit - count)
    return count


def _assign_again(
    free: _Kinds, alike: Iterable[_Assigned], allowed: AntiAffinity, pace: _Limit
) -> tuple[_Kinds, AntiAffinity]:
    """Assign pods that have the workload's anti-affinity to the nodes that it allows."""
    pace.is_over(len(free.rooms))
    rooms = [room.copy() for room in free.rooms]
    for pods, given in alike:
        for position, count in given.items():
            rooms[position].take(pods.shape, -count)
    kinds = _Kinds(rooms)
    for pods, _ in alike:
        left = pods.count
        for position in _finish(kinds.bindable(pods.shape, None, pace)):
            room = rooms[position]
            pace.is_over(1)
            while left and allowed.allows(room.node) and room.fits(pods.shape):
                pace.is_over(allowed.comparisons)
                room.take(pods.shape, 1)
                allowed = allowed.after(room.node)
                left -= 1
            if not left:
                break
    return kinds, allowed


def _finish(steps: Generator[None, None, list[int]]) -> list[int]:
    """The result of steps that are not interrupted."""
    try:
        next(steps)
    except StopIteration as end:
        return list(end.value)
    raise AssertionError("a limit has no slices")
