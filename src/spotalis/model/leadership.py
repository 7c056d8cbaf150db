"""Who leads, as one replica of the operator sees it."""

from __future__ import annotations

from dataclasses import dataclass

ADDRESS_ANNOTATION = "spotalis.io/webhook-address"
"""Annotation of the Lease: ``ip:port`` where its holder's webhook can be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadershipState:
    """One replica's view of the Lease; all instants are monotonic seconds of this process."""

    identity: str
    """Name and nonce, joined by ``_``: a process that was copied with its name is another one."""
    leading: bool = False
    leads_until: float = 0.0
    """Moves are sent only before this instant: the last renewal's *start* plus the renewal
    deadline, which is shorter than the lease."""
    holder: str = ""
    """Last seen holder, whoever it is; kept when the Lease itself is deleted."""
    address: str = ""
    """Where the holder's webhook can be asked, if it says so."""
    lease_seconds: float = 0.0
    """How long the holder was given, from when we saw it write."""
    seen: str = ""
    """A fingerprint of the last seen Lease: it changes whenever anybody writes it."""
    seen_at: float = 0.0
    """When the fingerprint last changed: a holder is given its lease from here, by our clock."""
    transitions: int = 0

    @property
    def name(self) -> str:
        """The identity without its nonce."""
        return self.identity.rpartition("_")[0]

    def held_by_other(self, now: float) -> bool:
        """Whether another replica holds the Lease and its time is not up."""
        if self.holder in ("", self.identity):
            return False
        return now - self.seen_at <= self.lease_seconds
