"""Leader election: decided by the pure :func:`next_action`, carried out by :class:`LeaderElector`.

A Lease reduces the work of standbys; it is not a fence: a request that a former leader has sent may
still arrive (client-go's package comment says the same). Time is the monotonic clock of this
process; timestamps in the Lease are compared for change, never against a clock.

The Lease is watched, so that a release is noticed at once and a standby sends no requests. If the
watch shows nothing for two retry periods, although the leader writes in each of them, the standby
reads the Lease.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from spotalis import logs
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

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Acquire:
    """The Lease is free: write this instance as its holder."""

    transitions: int


@dataclass(frozen=True, slots=True)
class Renew:
    """This instance holds the Lease: write it again."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Another instance holds the Lease, and its lease has not expired."""


Action: TypeAlias = Acquire | Renew | Wait

_EXPIRY_MARGIN_SECONDS = 0.05
"""Added to a lease, so that it has certainly expired."""

_TICK = 0.001
"""Resolution of timers in seconds; shorter waits are skipped."""


def next_action(lease: Lease | None, state: LeadershipState, now: float) -> Action:
    """What to do about the Lease.

    Args:
        lease: as read; None if there is none.
        state: of this instance, updated by :func:`observe_lease`.
        now: monotonic seconds.
    """
    if lease is not None and lease.holder == state.identity:
        return Renew()
    if state.held_by_other(now):
        return Wait()
    return Acquire(state.transitions + (state.holder != state.identity and bool(state.seen)))


def observe_lease(lease: Lease | None, state: LeadershipState, now: float) -> LeadershipState:
    """Update the state by the Lease as just read; a lease counts from the last observed change.

    If the Lease was deleted, its last holder is kept: that instance may act as the leader until its
    lease expires, and is the first to notice the deletion.
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
    """Acquires and renews the Lease, or waits for it."""

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
        """``on_change`` is called with True when this instance becomes leader, else with False."""
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
        """``ip:port`` of this instance's webhook, written into the Lease while it leads."""

    @property
    def leads(self) -> bool:
        """Whether this instance may move pods now."""
        if not self._settings.enabled:
            return True
        return self.state.leading and self._clock.monotonic() < self.state.leads_until

    @property
    def leader_address(self) -> str:
        """``ip:port`` of the webhook of another instance that leads; empty if none is known."""
        if not self.state.held_by_other(self._clock.monotonic()):
            return ""
        return self.state.address

    async def run(self) -> None:
        """Compete until cancelled. The lead is lost if the API fails until the renewal deadline."""
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
            )
            group.create_task(watch, name="watch lease")
            group.create_task(self._compete(), name="lease")

    async def release(self) -> None:
        """Stop competing, and release the Lease if this instance still holds it.

        A renewal in flight is awaited first: it would take the Lease back. A Lease that another
        instance holds by now is left alone.
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
                log.warning("Could not release lease", error=str(error))

    def _on_watch(self, lease: Lease | None) -> None:
        """Take note of an observed Lease; it may be older than the last write of this instance."""
        known = self._lease
        if lease and known and is_older(lease.resource_version, known.resource_version):
            return
        now = self._clock.monotonic()
        self._watched_at = now
        self._watched = lease
        self.state = observe_lease(lease, self.state, now)
        if self.state.leading:
            if lease is None:
                self._lease = None  # deleted: write it again before another instance does
                self._wake.set()
            elif lease.holder != self.state.identity:
                self._step_down(f"the lease is held by {lease.holder or 'no instance'}")
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
        """Wait until the next attempt is due; what the watch shows may postpone it.

        Retries are jittered by up to a fifth, as in client-go, so that instances do not retry in
        step.
        """
        retry = self._settings.retry_period.total_seconds() * (1 + self._rng.random() / 5)
        since = now = self._clock.monotonic()
        while not self._wake.is_set() and (left := self._due_at(since, retry) - now) > _TICK:
            await wait_for_event(self._wake, left)
            now = self._clock.monotonic()

    def _due_at(self, since: float, retry: float) -> float:
        """When to try again after the attempt at ``since``."""
        state = self.state
        if state.leading:
            return min(since + retry, state.leads_until)
        if not state.held_by_other(self._clock.monotonic()):
            return since + retry
        silent_at = max(self._watched_at, state.seen_at, since) + 2 * retry
        return min(silent_at, state.seen_at + state.lease_seconds + _EXPIRY_MARGIN_SECONDS)

    async def _attempt(self) -> None:
        """Renew, acquire or read; within half the deadline, so that a renewal can be retried."""
        seconds = self._settings.renew_deadline.total_seconds() / 2
        try:
            async with asyncio.timeout(seconds):
                # The held Lease may be out of date: read it and decide again, once.
                if not await self._try_once():
                    await self._try_once()
        except (TransportError, ApiError, TimeoutError) as error:
            self._lease = None
            log.warning("Could not renew lease", error=str(error))
        if self.state.leading and not self.leads:
            self._step_down("the renewal deadline has passed")

    async def _try_once(self) -> bool:
        """Read the Lease if necessary and write what is due; False after a conflicting write."""
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
                        self._step_down(f"the lease is held by {self.state.holder}")
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
            self._lease = None  # overwritten before the response arrived
            return False
        self.state = observe_lease(self._lease, self.state, self._clock.monotonic())
        deadline = self._settings.renew_deadline.total_seconds()
        led = self.state.leading
        self.state = dataclasses.replace(self.state, leading=True, leads_until=started + deadline)
        if not led:
            log.info("Became leader", identity=self.state.identity)
            self._on_change(True)
        return True

    def _warn_of_same_name(self) -> None:
        """Warn of another process with the same name: an earlier one in this pod, or a copy."""
        holder = self.state.holder
        if holder in (self.state.identity, self._namesake) or not self.state.name:
            return
        if holder.rpartition("_")[0] == self.state.name:
            self._namesake = holder
            log.warning(
                "Lease is held by a process of the same name; waiting for it",
                holder=holder,
                identity=self.state.identity,
            )

    def _step_down(self, why: str) -> None:
        self.state = dataclasses.replace(self.state, leading=False, leads_until=0.0)
        self._lease = None
        log.info("Lost leadership", reason=why)
        self._on_change(False)

    async def _read(self) -> Lease | None:
        return await self._client.get(LEASES, self._namespace, self._settings.lease_name)

    async def _write(self, lease: Lease | None, *, holder: str, transitions: int) -> Lease:
        now = format_micro_time(self._clock.now())
        is_renewal = lease is not None and lease.holder == holder
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
                "acquireTime": lease.acquired_at if is_renewal and lease is not None else now,
                "renewTime": now,
            },
        }
        if lease is None:
            return await self._client.create(LEASES, self._namespace, body)
        return await self._client.replace(LEASES, self._namespace, self._settings.lease_name, body)
