"""Releases pods that wait for spot nodes while no instance of the operator runs.

See docs/reference/behaviour.md, "Spot shortage and return".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotalis.kube.client import Client, Conflict
from spotalis.kube.resources import LEASES, PODS
from spotalis.model.configuration import POD_CAPACITY_TYPE
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Lease, Pod

ABSENT_FOR = timedelta(minutes=10)
"""How long no leader may have renewed the Lease. A change of leader takes seconds."""
PENDING_FOR = timedelta(minutes=10)
"""How long a pod must be Pending. The operator would have let it fall back after 2 minutes."""
PLACED_ON_SPOT = PODS.with_labels(f"{POD_CAPACITY_TYPE}={NodeType.SPOT}")


@dataclass(frozen=True, slots=True)
class Rescue:
    """What was found and done."""

    leader: str
    """Why the operator is taken for absent or present, as a sentence."""
    released: tuple[Pod, ...] = ()
    """The pods that were deleted, or would be by a dry run."""


def absence(lease: Lease | None, now: datetime) -> timedelta | None:
    """How long no instance has led; None if that is not known.

    Without a Lease it is not known: leader election may be disabled.
    """
    if lease is None or not lease.renewed_at:
        return None
    return max(timedelta(0), now - datetime.fromisoformat(lease.renewed_at))


def waiting_pods(pods: Iterable[Pod], now: datetime) -> tuple[Pod, ...]:
    """The pods that were sent to spot and wait for a node for too long.

    Only pods that a controller replaces.
    """
    return tuple(
        pod
        for pod in pods
        if pod.unschedulable
        and not pod.node
        and pod.deleting_at is None
        and pod.owner is not None
        and pod.labels.get(POD_CAPACITY_TYPE) == NodeType.SPOT
        and pod.created_at is not None
        and now - pod.created_at >= PENDING_FOR
    )


async def rescue(client: Client, *, namespace: str, lease: str, dry_run: bool = False) -> Rescue:
    """Delete the waiting pods if no instance has led for ``ABSENT_FOR``.

    Their controllers create new ones, which no webhook restricts to spot.

    Args:
        namespace, lease: of the operator's Lease.
        dry_run: delete nothing.

    Raises:
        ApiError, TransportError: a request failed.
    """
    now = client.clock.now()
    absent = absence(await client.get(LEASES, namespace, lease), now)
    if absent is None:
        what = f"the Lease {namespace}/{lease} does not exist or was never renewed"
        return Rescue(f"{what}: nothing is released")
    minutes = int(absent.total_seconds() // 60)
    if absent < ABSENT_FOR:
        return Rescue(f"an instance renewed its Lease {minutes} minutes ago: nothing is released")
    released = []
    for pod in waiting_pods(await client.list_all(PLACED_ON_SPOT, quorum=True), now):
        if not dry_run and not await _delete(client, pod):
            continue
        released.append(pod)
    return Rescue(f"no instance has renewed its Lease for {minutes} minutes", tuple(released))


async def _delete(client: Client, pod: Pod) -> bool:
    """Delete the pod unless it has changed, for example because it now has a node."""
    try:
        return await client.delete(
            PODS, pod.namespace, pod.name, uid=pod.uid, resource_version=pod.resource_version
        )
    except Conflict:
        return False
