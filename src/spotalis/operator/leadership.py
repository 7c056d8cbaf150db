"""One replica leads: decided purely by :func:`next_move`, carried out by :class:`Elector`.

A Lease is an efficiency device, not a fence: a request that a former leader has sent may still
arrive (client-go's package comment says the same). Time is this process's monotonic clock only;
the stamps in the Lease are compared for change, never against a clock.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from spotalis.kube.client import ApiError, Client, Conflict
from spotalis.kube.resources import LEASES
from spotalis.model.clock import Clock
from spotalis.model.leadership import LeadershipState
from spotalis.model.objects import Lease
from spotalis.model.settings import LeaderElection
from spotalis.model.transport import TransportError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Acquire:
    """Nobody holds it: write our name."""

    transitions: int


@dataclass(frozen=True, slots=True)
class Renew:
    """It is ours: say so again."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Somebody else holds it, and may still be alive."""


NextMove: TypeAlias = Acquire | Renew | Stand


def next_move(lease: Lease | None, state: LeadershipState, now: float) -> NextMove:
    """What to do about the Lease as just read.

    Args:
        lease: as read; None if there is none.
        state: ours, after :func:`saw` has taken note of ``lease``.
        now: monotonic seconds.
    """
    if lease is None:
        return Acquire(transitions=0)
    if lease.holder == state.identity:
        return Renew()
    if not lease.holder:
        return Acquire(lease.transitions + 1)
    if now - state.seen_at > lease.duration_seconds:
        return Acquire(lease.transitions + 1)
    return Stand()


def saw(lease: Lease | None, state: LeadershipState, now: float) -> LeadershipState:
    """Take note of the Lease as read; a holder's time counts from when we saw it change."""
    seen = "" if lease is None else f"{lease.uid}/{lease.resource_version}"
    changed = seen != state.seen
    return dataclasses.replace(
        state,
        holder="" if lease is None else lease.holder,
        seen=seen,
        seen_at=now if changed else state.seen_at,
        transitions=state.transitions if lease is None else lease.transitions,
    )


class Elector:
    """Competes for the Lease and keeps it; tells when it leads and when it no longer does."""

    def __init__(
        self,
        client: Client,
        *,
        settings: LeaderElection,
        namespace: str,
        identity: str,
        clock: Clock,
        changed: Callable[[bool], None],
    ) -> None:
        self._client = client
        self._settings = settings
        self._namespace = namespace
        self._clock = clock
        self._changed = changed
        self._lease: Lease | None = None
        self.state = LeadershipState(identity=identity)

    @property
    def leads(self) -> bool:
        """Whether this replica may move pods at this very moment."""
        if not self._settings.enabled:
            return True
        return self.state.leading and self._clock.monotonic() < self.state.leads_until

    async def run(self) -> None:
        """Compete until cancelled. Errors of the API cost the lead once the deadline passes."""
        if not self._settings.enabled:
            self._changed(True)
            return
        while True:
            try:
                async with asyncio.timeout(self._settings.renew_deadline.total_seconds()):
                    await self._turn()
            except (TransportError, ApiError, TimeoutError) as error:
                self._lease = None
                logger.warning("lease not written", extra={"fields": {"error": str(error)}})
            if self.state.leading and not self.leads:
                self._step_down("the renewal deadline has passed")
            await asyncio.sleep(self._settings.retry.total_seconds())

    async def release(self) -> None:
        """Give the Lease back if it is still ours, so that another replica need not wait."""
        if not self._settings.enabled or not self.state.leading:
            return
        self._step_down("shutting down")
        try:
            lease = await self._read()
            if lease is not None and lease.holder == self.state.identity:
                await self._write(lease, holder="", transitions=lease.transitions)
        except (TransportError, ApiError) as error:
            logger.warning("lease not released", extra={"fields": {"error": str(error)}})

    async def _turn(self) -> None:
        started = self._clock.monotonic()
        lease = self._lease if self.state.leading and self._lease is not None else None
        if lease is None:
            lease = await self._read()
            self.state = saw(lease, self.state, self._clock.monotonic())
        move = next_move(lease, self.state, self._clock.monotonic())
        try:
            match move:
                case Stand():
                    if self.state.leading:
                        self._step_down(f"{self.state.holder} holds the lease")
                    return
                case Acquire(transitions):
                    self._lease = await self._write(
                        lease, holder=self.state.identity, transitions=transitions
                    )
                case Renew():
                    assert lease is not None
                    self._lease = await self._write(
                        lease, holder=self.state.identity, transitions=lease.transitions
                    )
        except Conflict:
            # Somebody wrote it: what we held is out of date; read it again at the next turn.
            self._lease = None
            return
        self.state = saw(self._lease, self.state, self._clock.monotonic())
        deadline = self._settings.renew_deadline.total_seconds()
        led = self.state.leading
        self.state = dataclasses.replace(self.state, leading=True, leads_until=started + deadline)
        if not led:
            logger.info("leading", extra={"fields": {"identity": self.state.identity}})
            self._changed(True)

    def _step_down(self, why: str) -> None:
        self.state = dataclasses.replace(self.state, leading=False, leads_until=0.0)
        self._lease = None
        logger.info("no longer leading", extra={"fields": {"reason": why}})
        self._changed(False)

    async def _read(self) -> Lease | None:
        return await self._client.get(LEASES, self._namespace, self._settings.name)

    async def _write(self, lease: Lease | None, *, holder: str, transitions: int) -> Lease:
        now = self._clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")
        ours = lease is not None and lease.holder == holder
        metadata: dict[str, object] = {"name": self._settings.name, "namespace": self._namespace}
        if lease is not None:
            metadata["resourceVersion"] = lease.resource_version
            metadata["annotations"] = dict(lease.annotations)
        seconds = round(self._settings.lease.total_seconds()) if holder else 1
        body: dict[str, object] = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": seconds,
                "leaseTransitions": transitions,
                "acquireTime": lease.acquired_at if ours and lease is not None else now,
                "renewTime": now,
            },
        }
        if lease is None:
            return await self._client.create(LEASES, self._namespace, body)
        return await self._client.replace(LEASES, self._namespace, self._settings.name, body)
