"""The condition ``spotalis.io/Balanced`` on Deployments, for ``kubectl wait`` and dashboards.

It is written on transitions only, and not for states that usually pass within seconds. StatefulSets
have none: their controller rebuilds the status on every sync and would drop it
(kubernetes/pkg/controller/statefulset/stateful_set_control.go).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from spotalis import logs
from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.result import ReconcileResult
from spotalis.kube.client import ApiError, Client, PatchType
from spotalis.kube.resources import DEPLOYMENTS
from spotalis.kube.store import is_older
from spotalis.model.decision import Reason
from spotalis.model.environment import Clock
from spotalis.model.objects import BALANCED, Workload
from spotalis.model.timestamps import format_time
from spotalis.model.transport import TransportError

log = logs.get(__name__)

FIELD_MANAGER = "spotalis"
SETTLE_TIME = timedelta(seconds=10)
"""How long a transient state must last before it is written."""
RETRY_TIME = timedelta(seconds=30)
"""When a write that has failed is tried again."""

UNKNOWN_REASONS = frozenset(
    {
        Reason.NO_POLICY,
        Reason.INVALID_POLICY,
        Reason.READ_ONLY,
        Reason.PAUSED,
        Reason.CACHE_NOT_READY,
        Reason.IMPLAUSIBLE_VIEW,
        Reason.ROLLOUT_IN_PROGRESS,
        Reason.SCALING,
        Reason.NO_CLASSIFIER,
        Reason.LEDGER_UNREADABLE,
    }
)
"""Reasons under which the split is not evaluated, or cannot be known."""
_TRANSIENT = frozenset(
    {
        Reason.CACHE_NOT_READY,
        Reason.ROLLOUT_IN_PROGRESS,
        Reason.SCALING,
        Reason.WAITING_FOR_PODS,
        Reason.MOVES_IN_FLIGHT,
        Reason.COOLDOWN,
    }
)


@dataclass(frozen=True, slots=True)
class BalancedCondition:
    """The condition's content."""

    status: str
    """``True``, ``False`` or ``Unknown``."""
    reason: Reason
    message: str


def balanced_condition(result: ReconcileResult) -> BalancedCondition:
    """The condition of a workload after a reconcile."""
    reason, message = result.reason, result.decision.message
    if reason is Reason.BALANCED:
        return BalancedCondition("True", reason, message)
    if result.moving and reason in _TRANSIENT:
        # Between two moves of one rebalance the state does not change for observers.
        return BalancedCondition("False", Reason.REBALANCING, "replicas are being moved")
    return BalancedCondition("Unknown" if reason in UNKNOWN_REASONS else "False", reason, message)


class ConditionWriter:
    """Writes the conditions of Deployments."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._since: dict[WorkloadKey, tuple[Reason, datetime]] = {}
        self._written: dict[WorkloadKey, Workload] = {}
        """Responses to the last writes, until the watch has caught up."""

    async def update(self, workload: Workload, result: ReconcileResult) -> timedelta | None:
        """Write the condition if it changed.

        Returns when to try again if the write has failed, or if the condition may change soon.
        """
        if workload.kind != "Deployment":
            return None
        wanted = balanced_condition(result)
        written = self._written.get(result.key)
        if written is not None and is_older(workload.resource_version, written.resource_version):
            workload = written
        if workload.balanced == (wanted.status, str(wanted.reason)):
            self._since.pop(result.key, None)
            return None
        reason, since = self._since.get(result.key, (None, result.at))
        if reason is not wanted.reason:
            since = result.at
            self._since[result.key] = (wanted.reason, since)
        left = SETTLE_TIME - (result.at - since)
        if wanted.reason in _TRANSIENT and left > timedelta(0):
            return left
        now = format_time(self._clock.now())
        return await self._patch(
            workload,
            {
                "type": BALANCED,
                "status": wanted.status,
                "reason": str(wanted.reason),
                "message": wanted.message,
                "lastUpdateTime": now,
                "lastTransitionTime": now,
            },
        )

    async def remove(self, workload: Workload) -> timedelta | None:
        """Remove the condition from a Deployment, if it has one; returns when to try again."""
        if workload.kind == "Deployment" and workload.balanced is not None:
            return await self._patch(workload, {"type": BALANCED, "$patch": "delete"})
        return None

    def forget(self, key: WorkloadKey) -> None:
        """Drop the state of a workload that was deleted or is not managed any more."""
        self._since.pop(key, None)
        self._written.pop(key, None)

    def forget_all(self) -> None:
        """Drop the state of all workloads: another instance leads and may have changed them."""
        self._since.clear()
        self._written.clear()

    async def _patch(self, workload: Workload, condition: dict[str, str]) -> timedelta | None:
        try:
            written = await self._client.patch(
                DEPLOYMENTS,
                workload.namespace,
                workload.name,
                {"metadata": {"uid": workload.uid}, "status": {"conditions": [condition]}},
                patch_type=PatchType.STRATEGIC,
                subresource="status",
                field_manager=FIELD_MANAGER,
            )
            self._written[WorkloadKey(written.kind, written.namespace, written.name)] = written
        except (ApiError, TransportError) as error:
            log.warning(
                "Could not write condition",
                workload=f"{workload.namespace}/{workload.name}",
                error=str(error),
            )
            return RETRY_TIME
        return None
