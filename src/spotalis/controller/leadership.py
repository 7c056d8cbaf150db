"""One replica leads: decided purely by :func:`next_action`, carried out by :class:`LeaderElector`.

A Lease is an efficiency device, not a fence: a request that a former leader has sent may still
arrive (client-go's package comment says the same). Time is this process's monotonic clock only;
the stamps in the Lease are compared for change, never against a clock. The Lease is watched, so
that a release is noticed at once and a standby at rest asks nothing; a watch that says nothing
for two retry periods, although its holder writes every one, is helped out by reading.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from spotalis.kube.client import ApiError, Client, Conflict, NotFound
from spotalis.kube.resources import LEASES
from spotalis.kube.store import is_older
from spotalis.kube.waiting import wait_for_event
from spotalis.kube.watch import watch_object
from spotalis.model.controller_configuration import LeaderElection
from spotalis.model.environment import Clock, Random
from spotalis.model.leadership import ADDRESS_ANNOTATION, LeadershipState
from spotalis.model.objects import Lease
from spotalis.model.timestamps import format_micro_time
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
class Wait:
    """Somebody else holds it, and may still be alive."""


Action: TypeAlias = Acquire | Renew | Wait

_EXPIRY_MARGIN_SECONDS = 0.05
"""After which a holder's time is surely up."""

_TICK = 0.001
"""Seconds: timers are not finer, and what is left of one is no reason to wait once more."""


def next_action(lease: Lease | None, state: LeadershipState, now: float) -> Action:
    """What to do about the Lease as just read.

    Args:
        lease: as read; None if there is none.
        state: ours, after :func:`observe_lease` has taken note of ``lease``.
        now: monotonic seconds.
    """
    if lease is not None and lease.holder == state.identity:
        return Renew()
    if state.held_by_other(now):
        return Wait()
    return Acquire(state.transitions + (state.holder != state.identity and bool(state.seen)))


def observe_lease(lease: Lease | None, state: LeadershipState, now: float) -> LeadershipState:
    """Take note of the Lease as read; a holder's time counts from when we saw it change.

    A Lease that is gone was deleted by somebody; who held it may act on it for as long as it was
    given, and is the first to notice.
    """
    if lease is None:
        return dataclasses.replace(state, address="")
    seen = f"{lease.uid}/{lease.resource_version}"
    return dataclasses.replace(
        state,
        holder=lease.holder,
        address=lease.annotations.get(ADDRESS_ANNOTATION, ""),
        lease_seconds=float(lease.duration_seconds),
        seen=seen,
        seen_at=now if seen != state.seen else state.seen_at,
        transitions=lease.transitions,
    )


class LeaderElector:
    """Keeps the Lease, or waits for it."""

    def __init__(
        self,
        client: Client,
        *,
        settings: LeaderElection,
        namespace: str,
        identity: str,
        clock: Clock,
        rng: Random,
        on_change: Callable[[bool], None],
    ) -> None:
        """``on_change`` is told whenever this replica begins or ceases to lead."""
        self._client = client
        self._settings = settings
        self._namespace = namespace
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self._lease: Lease | None = None
        self._watched: Lease | None = None
        self._watched_at = float("-inf")
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._releasing = False
        self._namesake = ""
        self.state = LeadershipState(identity=identity)
        self.address = ""
        """``ip:port`` of this replica's webhook, written into the Lease while it leads."""

    @property
    def leads(self) -> bool:
        """Whether this replica may move pods at this very moment."""
        if not self._settings.enabled:
            return True
        return self.state.leading and self._clock.monotonic() < self.state.leads_until

    @property
    def leader_address(self) -> str:
        """``ip:port`` of another replica that leads; empty where none is known to."""
        if not self.state.held_by_other(self._clock.monotonic()):
            return ""
        return self.state.address

    async def run(self) -> None:
        """Compete until cancelled. Errors of the API cost the lead once the deadline passes."""
        if not self._settings.enabled:
            self._on_change(True)
            return
        async with asyncio.TaskGroup() as group:
            watch = watch_object(
                self._client,
                LEASES,
                self._namespace,
                self._settings.lease_name,
                on_object=self._on_watch,
                clock=self._clock,
                rng=self._rng,
            )
            group.create_task(watch, name="watch lease")
            group.create_task(self._compete(), name="lease")

    async def release(self) -> None:
        """Compete no more, and give the Lease back if it is still ours.

        A renewal in flight ends before that, or it would take the Lease back. A Lease that
        another holds by now is not touched.
        """
        self._releasing = True
        if not self._settings.enabled:
            return
        async with self._lock:
            if not self.state.leading:
                return
            self._step_down("shutting down")
            try:
                async with asyncio.timeout(self._settings.renew_deadline.total_seconds() / 2):
                    lease = await self._read()
                    if lease is not None and lease.holder == self.state.identity:
                        await self._write(lease, holder="", transitions=lease.transitions)
            except (TransportError, ApiError, TimeoutError) as error:
                logger.warning("lease not released", extra={"fields": {"error": str(error)}})

    def _on_watch(self, lease: Lease | None) -> None:
        """What a watch has shown; it may be behind what we have written ourselves."""
        known = self._lease
        if lease and known and is_older(lease.resource_version, known.resource_version):
            return
        now = self._clock.monotonic()
        self._watched_at = now
        self._watched = lease
        self.state = observe_lease(lease, self.state, now)
        if self.state.leading:
            if lease is None:
                self._lease = None  # deleted: write it again before anybody else does
                self._wake.set()
            elif lease.holder != self.state.identity:
                self._step_down(f"{lease.holder or 'nobody'} holds the lease")
                self._wake.set()
            else:
                self._lease = lease
        elif not isinstance(next_action(lease, self.state, now), Wait):
            self._wake.set()

    async def _compete(self) -> None:
        while not self._releasing:
            self._wake.clear()
            async with self._lock:
                if not self._releasing:
                    await self._attempt()
            await self._rest()

    async def _rest(self) -> None:
        """Until the next attempt is due; what is heard meanwhile may put it off.

        Retries are jittered by up to a fifth, as client-go's, so that replicas do not march in
        step.
        """
        retry = self._settings.retry_period.total_seconds() * (1 + self._rng.random() / 5)
        since = now = self._clock.monotonic()
        while not self._wake.is_set() and (left := self._due_at(since, retry) - now) > _TICK:
            await wait_for_event(self._wake, left)
            now = self._clock.monotonic()

    def _due_at(self, since: float, retry: float) -> float:
        """When to try again after the attempt at ``since``, by what is known now."""
        state = self.state
        if state.leading:
            return min(since + retry, state.leads_until)
        if not state.held_by_other(self._clock.monotonic()):
            return since + retry
        silent_at = max(self._watched_at, state.seen_at, since) + 2 * retry
        return min(silent_at, state.seen_at + state.lease_seconds + _EXPIRY_MARGIN_SECONDS)

    async def _attempt(self) -> None:
        """Renew, acquire or look; half the deadline, so that a renewal can be tried twice."""
        seconds = self._settings.renew_deadline.total_seconds() / 2
        try:
            async with asyncio.timeout(seconds):
                # What we held may be out of date: then it is read and decided anew, once.
                if not await self._try_once():
                    await self._try_once()
        except (TransportError, ApiError, TimeoutError) as error:
            self._lease = None
            logger.warning("lease not written", extra={"fields": {"error": str(error)}})
        if self.state.leading and not self.leads:
            self._step_down("the renewal deadline has passed")

    async def _try_once(self) -> bool:
        """One look at the Lease, and the write that it calls for; False if that came too late."""
        started = self._clock.monotonic()
        lease = self._lease if self.state.leading else None
        if lease is None:
            lease = await self._read()
            self.state = observe_lease(lease, self.state, self._clock.monotonic())
            self._warn_of_same_name()
        action = next_action(lease, self.state, self._clock.monotonic())
        try:
            match action:
                case Wait():
                    if self.state.leading:
                        self._step_down(f"{self.state.holder} holds the lease")
                    return True
                case Acquire(transitions):
                    self._lease = await self._write(
                        lease, holder=self.state.identity, transitions=transitions
                    )
                case Renew():
                    assert lease is not None
                    self._lease = await self._write(
                        lease, holder=self.state.identity, transitions=lease.transitions
                    )
        except (Conflict, NotFound):
            self._lease = None
            return False
        heard = self._watched
        if heard is not None and is_older(self._lease.resource_version, heard.resource_version):
            self._lease = None  # overwritten before its answer reached us
            return False
        self.state = observe_lease(self._lease, self.state, self._clock.monotonic())
        deadline = self._settings.renew_deadline.total_seconds()
        led = self.state.leading
        self.state = dataclasses.replace(self.state, leading=True, leads_until=started + deadline)
        if not led:
            logger.info("leading", extra={"fields": {"identity": self.state.identity}})
            self._on_change(True)
        return True

    def _warn_of_same_name(self) -> None:
        """Another process goes by our name: the one before us in this pod, or a copy."""
        holder = self.state.holder
        if holder in (self.state.identity, self._namesake) or not self.state.name:
            return
        if holder.rpartition("_")[0] == self.state.name:
            self._namesake = holder
            fields = {"holder": holder, "identity": self.state.identity}
            logger.warning(
                "the lease is held under our name; waiting for it", extra={"fields": fields}
            )

    def _step_down(self, why: str) -> None:
        self.state = dataclasses.replace(self.state, leading=False, leads_until=0.0)
        self._lease = None
        logger.info("no longer leading", extra={"fields": {"reason": why}})
        self._on_change(False)

    async def _read(self) -> Lease | None:
        return await self._client.get(LEASES, self._namespace, self._settings.lease_name)

    async def _write(self, lease: Lease | None, *, holder: str, transitions: int) -> Lease:
        now = format_micro_time(self._clock.now())
        ours = lease is not None and lease.holder == holder
        annotations = {} if lease is None else dict(lease.annotations)
        annotations.pop(ADDRESS_ANNOTATION, None)
        if holder and self.address:
            annotations[ADDRESS_ANNOTATION] = self.address
        metadata: dict[str, object] = {
            "name": self._settings.lease_name,
            "namespace": self._namespace,
            "annotations": annotations,
        }
        if lease is not None:
            metadata["resourceVersion"] = lease.resource_version
        seconds = round(self._settings.lease_duration.total_seconds()) if holder else 1
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
        return await self._client.replace(LEASES, self._namespace, self._settings.lease_name, body)
