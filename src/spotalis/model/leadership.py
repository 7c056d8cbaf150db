"""Who leads, as one replica of the operator sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadershipState:
    """One replica's view of the Lease; all instants are monotonic seconds of this process."""

    identity: str
    leading: bool = False
    leads_until: float = 0.0
    """Moves are sent only before this instant: the last renewal's *start* plus the lease."""
    holder: str = ""
    """Last seen holder, whoever it is."""
    seen: str = ""
    """A fingerprint of the last seen Lease: it changes whenever anybody writes it."""
    seen_at: float = 0.0
    """When the fingerprint last changed: a holder is given its lease from here, by our clock."""
    transitions: int = 0
