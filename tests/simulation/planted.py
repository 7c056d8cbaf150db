"""Planted faults: wrong variants of the eviction protocol that the simulation must find.

Each is the production operator with one wrong function or object. Faults that need rarer
coincidences (a list before the write, intents that expire) are found by the model checker in
``tests/model``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import msgspec

from spotalis.app.operator import Operator
from spotalis.controller import evictor, observe
from spotalis.controller.ledgers import Ledgers
from spotalis.kube.resources import PODS
from spotalis.model.ledger import Intent, Ledger, LedgerObject
from spotalis.model.objects import Pod, Workload
from spotalis.planner import decide, fallback
from spotalis.planner import ledger as protocol
from spotalis.planner.fallback import WaitingReplicas
from spotalis.planner.observed import Observed
from tests.simulation.history import History, chaos, spot_loss


@dataclass(frozen=True, kw_only=True)
class PlantedFault:
    """A fault and the histories that find it."""

    name: str
    violation: str
    """Prefix of the expected violation."""
    first_seed: int = 0
    """First seed to search."""
    generate: Callable[[int], History] = chaos
    """Generates the histories."""
    operator: Callable[[Operator], None] = lambda operator: None
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    """Replacements for functions that ``module`` imports, by name."""
    module: ModuleType = decide

    @contextmanager
    def active(self) -> Iterator[None]:
        """Plant the fault for the duration of the block."""
        before = {name: getattr(self.module, name) for name in self.functions}
        for name, function in self.functions.items():
            setattr(self.module, name, function)
        try:
            yield
        finally:
            for name, function in before.items():
                setattr(self.module, name, function)


class ForgetfulLedgers(Ledgers):
    """Reports each write as successful and stores nothing."""

    def held(self, workload_uid: str) -> LedgerObject | None:
        return None

    async def write(
        self, workload: Workload, before: LedgerObject | None, ledger: Ledger
    ) -> LedgerObject | None:
        return LedgerObject(namespace="", name=workload.uid, ledger=ledger)


def _forget(operator: Operator) -> None:
    forgetful = ForgetfulLedgers(operator.client, operator.cluster.ledgers, "spotalis-system")
    reconciler = operator.reconcile_loop.reconciler
    reconciler._ledgers = reconciler._evictor._ledgers = forgetful


def _authorize_all(ledger: Ledger, *, live: set[str], **_: Any) -> tuple[Intent, ...]:
    return tuple(intent for intent in ledger.intents if intent.pod in live)


def _list_from_the_cache(operator: Operator) -> None:
    """Authorize evictions by the watch cache instead of a quorum list."""
    original = operator.client.list_all

    async def list_all(resource: Any, namespace: str = "", **options: Any) -> list[Any]:
        found: list[Any] = await original(resource, namespace, **options)
        if resource is not PODS or not options.get("quorum"):
            return found
        names = {pod.name for pod in found}
        cached: list[Pod] = list(operator.cluster.pods.in_namespace(namespace))
        return [pod for pod in cached if pod.labels.get("app") in _apps(found) or pod.name in names]

    operator.client.list_all = list_all  # type: ignore[method-assign]


def _apps(pods: Sequence[Pod]) -> set[str]:
    return {pod.labels.get("app", "") for pod in pods}


def _withdraw_all(ledger: Ledger, **_: Any) -> Ledger:
    """Remove all intents at the end of a reconcile."""
    return msgspec.structs.replace(ledger, intents=())


def _ignore_others(ledger: Ledger, **options: Any) -> Ledger:
    """Ignore intents of other instances."""
    instance = options["instance"]
    mine = msgspec.structs.replace(
        ledger, intents=tuple(i for i in ledger.intents if i.instance == instance)
    )
    return protocol.prepare(mine, **options)


def _evict_without_version(operator: Operator) -> None:
    """Evict pending pods without a resourceVersion precondition."""
    original = operator.client.evict

    async def evict(pod: Pod, **options: Any) -> Any:
        return await original(pod, **{**options, "with_resource_version": False})

    operator.client.evict = evict  # type: ignore[method-assign]


def _fall_back_at_once(observed: Observed, now: datetime) -> WaitingReplicas:
    configuration = dataclasses.replace(observed.configuration, spot_fallback=timedelta(0))
    return fallback.waiting_for_spot(
        dataclasses.replace(observed, configuration=configuration), now
    )


PLANTED_FAULTS = (
    PlantedFault(name="the ledger stores nothing", violation="S1", operator=_forget),
    PlantedFault(
        name="all intents are authorized",
        violation="S1",
        module=evictor,
        functions={"authorize": _authorize_all},
    ),
    PlantedFault(
        name="the cache authorizes evictions",
        violation="S1",
        operator=_list_from_the_cache,
        first_seed=500,
    ),
    PlantedFault(
        name="intents end with their reconcile",
        violation="S1",
        module=evictor,
        functions={"withdraw": _withdraw_all},
        first_seed=500,
    ),
    PlantedFault(
        name="intents of crashed instances are dropped",
        violation="S1",
        functions={"prepare": _ignore_others},
        first_seed=1200,
    ),
    PlantedFault(
        name="a fallback evicts a ready pod",
        violation="S9",
        generate=spot_loss,
        operator=_evict_without_version,
    ),
    PlantedFault(
        name="fallbacks do not wait",
        violation="S9",
        generate=spot_loss,
        module=observe,
        functions={"waiting_for_spot": _fall_back_at_once},
    ),
)
