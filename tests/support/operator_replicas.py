"""Several instances of the operator that run at the same time."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from spotalis.kube.client import Client
from spotalis.kube.resources import LEASES
from spotalis.model.objects import Lease

HOME = "spotalis-system"
LEASE_PATH = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/spotalis"
FAILED_OPEN = "failed-open.mutation.webhook.admission.k8s.io/"
"""Prefix of the audit annotation of a request that was admitted although its webhook failed."""


@dataclass(frozen=True)
class AcceptedEviction:
    """An eviction that the API server accepted."""

    received: datetime
    answered: datetime
    identity: str
    """Identity of the instance that sent the eviction."""


class OperatorInstance(ABC):
    """One running instance of the operator."""

    identity: str

    @abstractmethod
    async def terminate(self) -> None:
        """Stop gracefully, as on SIGTERM. Returns when the instance has ended."""

    @abstractmethod
    async def kill(self) -> None:
        """Stop at once, as in a crash."""


class OperatorReplicas(ABC):
    """Instances of the operator, which receive admission requests in turn."""

    api: Client
    instances: Sequence[OperatorInstance]

    @abstractmethod
    def evictions(self) -> list[AcceptedEviction]:
        """Return the evictions of all instances, in the order of the responses."""

    @abstractmethod
    async def forward_results(self) -> Counter[str]:
        """Count how the instances reached their admission decisions (``ForwardResult``)."""

    @abstractmethod
    def unanswered_pods(self) -> list[str]:
        """Return the names of pods that were created although no instance answered."""

    async def lease(self) -> Lease | None:
        """Return the Lease."""
        return await self.api.get(LEASES, HOME, "spotalis")

    async def delete_lease(self) -> None:
        """Delete the Lease."""
        await self.api.raw("DELETE", LEASE_PATH)

    async def leader(
        self, *, other_than: OperatorInstance | None = None, within: float = 60.0
    ) -> OperatorInstance:
        """Wait until an instance (other than ``other_than``) holds the Lease."""
        by_identity = {instance.identity: instance for instance in self.instances}
        async with asyncio.timeout(within):
            while True:
                lease = await self.lease()
                holder = by_identity.get(lease.holder) if lease is not None else None
                if holder is not None and holder is not other_than:
                    return holder
                await asyncio.sleep(0.02)

    def standbys(self, leader: OperatorInstance) -> list[OperatorInstance]:
        """Return the instances that do not lead."""
        return [instance for instance in self.instances if instance is not leader]


def takeovers(moved: Sequence[AcceptedEviction]) -> list[str]:
    """Return the identities that sent evictions, one after the other.

    Raises:
        AssertionError: an instance sent an eviction before another one had its last response.
    """
    order: list[str] = []
    answered: datetime | None = None
    for move in sorted(moved, key=lambda one: one.received):
        if not order or order[-1] != move.identity:
            assert answered is None or move.received >= answered, f"two movers at {move.received}"
            order.append(move.identity)
        answered = move.answered if answered is None else max(answered, move.answered)
    return order
