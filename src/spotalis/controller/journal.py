"""What this process alone has seen: pods that end, and pods that wait. Lost in a crash, and cheap
to see again; what must not be lost is in the ledger (controller/ledger.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime


class Journal:
    """Sightings by pod UID."""

    def __init__(self) -> None:
        self._ended: set[str] = set()
        self.sent: set[str] = set()
        """Pods whose evictions this process has sent, or may have."""
        self._waiting: dict[str, dict[str, datetime]] = {}

    def __contains__(self, pod_uid: str) -> bool:
        """Whether the pod was seen ending: its eviction was accepted, or it terminates or is gone.

        True for good: a UID does not come back.
        """
        return pod_uid in self._ended

    def saw_end(self, pod_uid: str) -> None:
        """The pod terminates, or is gone."""
        self._ended.add(pod_uid)

    def retain(self, pod_uids: Iterable[str]) -> None:
        """Forget all but these: of no others will anybody ask again."""
        kept = set(pod_uids)
        self._ended &= kept
        self.sent &= kept

    def sighted(
        self, workload_uid: str, unschedulable: Iterable[str], now: datetime
    ) -> Mapping[str, datetime]:
        """When each of a workload's unschedulable pods was first seen so; drops the others."""
        before = self._waiting.get(workload_uid, {})
        found = {uid: before.get(uid, now) for uid in unschedulable}
        if found:
            self._waiting[workload_uid] = found
        else:
            self._waiting.pop(workload_uid, None)
        return found
