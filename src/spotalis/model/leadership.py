"""The leader election as one instance of the operator sees it."""

from __future__ import annotations

from dataclasses import dataclass

ADDRESS_ANNOTATION = "spotalis.io/webhook-address"
"""Annotation of the Lease: ``ip:port`` of the leader's webhook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadershipState:
    """What one instance knows of the Lease; all instants are monotonic seconds of its process."""

    identity: str
    """Name and nonce, joined by ``_``: a copy of a process with the same name is another holder."""
    leading: bool = False
    leads_until: float = 0.0
    """Evictions are sent only before this instant: the *start* of the last renewal plus the renewal
    deadline, which is shorter than the lease."""
    holder: str = ""
    """Last observed holder; kept when the Lease itself is deleted."""
    address: str = ""
    """``ip:port`` of the holder's webhook, if the Lease names it."""
    lease_seconds: float = 0.0
    """The lease duration that the holder wrote."""
    seen: str = ""
    """UID and resourceVersion of the last observed Lease; they change with every write."""
    seen_at: float = 0.0
    """When ``seen`` last changed. The holder's lease counts from here, on the local clock."""
    transitions: int = 0

    @property
    def name(self) -> str:
        """The identity without its nonce."""
        return self.identity.rpartition("_")[0]

    def held_by_other(self, now: float) -> bool:
        """Whether another instance holds the Lease and its lease has not expired."""
        if self.holder in ("", self.identity):
            return False
        return now - self.seen_at <= self.lease_seconds
