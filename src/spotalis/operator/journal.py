"""Evictions of ours that the watches have not shown yet, and what each workload still waits for.

In memory: it bridges the time between the API server's answer and the event. The write-ahead
ledger that survives a crash is a room of its own (SCOPE.md, "not yet").
"""

from __future__ import annotations

from dataclasses import dataclass

from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod
from spotalis.operator.cluster import WorkloadKey


@dataclass(slots=True)
class OpenMove:
    """An eviction that was sent."""

    pod: Pod
    toward: NodeType
    sent_at: float
    """Monotonic seconds."""
    confirmed: bool = False
    """The API server said yes; False while the answer is out, or was lost."""


class Journal:
    """Open moves by workload, oldest first."""

    def __init__(self) -> None:
        self._moves: dict[WorkloadKey, dict[str, OpenMove]] = {}

    def __len__(self) -> int:
        return sum(len(moves) for moves in self._moves.values())

    def open(self, key: WorkloadKey, move: OpenMove) -> None:
        """An eviction is about to be sent."""
        self._moves.setdefault(key, {})[move.pod.uid] = move

    def close(self, key: WorkloadKey, pod_uid: str) -> None:
        """It was refused, or is over."""
        moves = self._moves.get(key)
        if moves is not None:
            moves.pop(pod_uid, None)
            if not moves:
                del self._moves[key]

    def forget(self, key: WorkloadKey) -> None:
        """The workload is gone, or no longer ours."""
        self._moves.pop(key, None)

    def of(self, key: WorkloadKey) -> dict[str, OpenMove]:
        """Open moves of a workload by the evicted pod's UID."""
        return self._moves.get(key, {})

    def unsure(self, key: WorkloadKey) -> list[OpenMove]:
        """Evictions whose answer was lost: to be sent again (the UID makes that harmless)."""
        return [move for move in self.of(key).values() if not move.confirmed]
