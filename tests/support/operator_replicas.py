"""Several replicas of the operator beside each other, in a scenario's words."""

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
"""Begins the audit annotation of a request that a webhook should have seen and has not."""


@dataclass(frozen=True)
class AcceptedEviction:
    """An eviction that the API server has accepted."""

    received: datetime
    answered: datetime
    identity: str
    """Of the instance that asked."""


class OperatorInstance(ABC):
    """One of them."""

    identity: str

    @abstractmethod
    async def terminate(self) -> None:
        """SIGTERM; returns once it has ended in order."""

    @abstractmethod
    async def kill(self) -> None:
        """End it as a crash would, in mid-breath."""


class OperatorReplicas(ABC):
    """Replicas that the API server's reviews reach in turn."""

    api: Client
    instances: Sequence[OperatorInstance]

    @abstractmethod
    def evictions(self) -> list[AcceptedEviction]:
        """The evictions that replicas have brought about, in the order of their answers."""

    @abstractmethod
    async def forward_results(self) -> Counter[str]:
        """How reviews came to their decisions, over all living replicas."""

    @abstractmethod
    def unanswered_pods(self) -> list[str]:
        """Pods that were created although no instance answered their review."""

    async def lease(self) -> Lease | None:
        """The Lease as it is."""
        return await self.api.get(LEASES, HOME, "spotalis")

    async def delete_lease(self) -> None:
        """As by hand."""
        await self.api.raw("DELETE", LEASE_PATH)

    async def leader(
        self, *, other_than: OperatorInstance | None = None, within: float = 60.0
    ) -> OperatorInstance:
        """Wait until a instance (another than that one) holds the Lease."""
        by_identity = {instance.identity: instance for instance in self.instances}
        async with asyncio.timeout(within):
            while True:
                lease = await self.lease()
                holder = by_identity.get(lease.holder) if lease is not None else None
                if holder is not None and holder is not other_than:
                    return holder
                await asyncio.sleep(0.02)

    def standbys(self, leader: OperatorInstance) -> list[OperatorInstance]:
        """The others."""
        return [instance for instance in self.instances if instance is not leader]


def takeovers(moved: Sequence[AcceptedEviction]) -> list[str]:
    """Who moved, one after the other; raises if two ever moved at the same time.

    Each change of mover must come after the last answer to the one before.
    """
    order: list[str] = []
    answered: datetime | None = None
    for move in sorted(moved, key=lambda one: one.received):
        if not order or order[-1] != move.identity:
            assert answered is None or move.received >= answered, f"two movers at {move.received}"
            order.append(move.identity)
        answered = move.answered if answered is None else max(answered, move.answered)
    return order
