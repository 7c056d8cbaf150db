"""Wrong twins of the ledger's protocol: the simulation must find each of them out.

Each is the production operator but for one function, or one object.
Twins that need rarer meetings (a list before the write, intents that expire) are found by
exhaustion, in ``tests/model``, and not by the rng.
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
from spotalis.controller import evictor, reconcile
from spotalis.controller.ledgers import Ledgers
from spotalis.kube.resources import PODS
from spotalis.model.ledger import Intent, Ledger, LedgerObject
from spotalis.model.objects import Pod, Workload
from spotalis.planner import fallback
from spotalis.planner import ledger as protocol
from spotalis.planner.fallback import WaitingReplicas
from spotalis.planner.observed import Observed
from tests.simulation.story import Story, chaos, taken


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A fault, and what finds it."""

    name: str
    accused: str
    """How the accusation begins."""
    first_seed: int = 0
    """Where to begin to look: well within the size of the runs without a fault, which all of
    these are to show that they would have found it."""
    tell: Callable[[int], Story] = chaos
    """The stories that find it."""
    operator: Callable[[Operator], None] = lambda operator: None
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    """Put in the place of what ``room`` imports by these names."""
    room: ModuleType = reconcile

    @contextmanager
    def grown(self) -> Iterator[None]:
        """While the block runs, the fault is in the code."""
        before = {name: getattr(self.room, name) for name in self.functions}
        for name, function in self.functions.items():
            setattr(self.room, name, function)
        try:
            yield
        finally:
            for name, function in before.items():
                setattr(self.room, name, function)


class Forgetful(Ledgers):
    """Says that it has written, and remembers nothing."""

    def held(self, workload_uid: str) -> LedgerObject | None:
        return None

    async def write(
        self, workload: Workload, before: LedgerObject | None, ledger: Ledger
    ) -> LedgerObject | None:
        return LedgerObject(namespace="", name=workload.uid, ledger=ledger)


def _forget(operator: Operator) -> None:
    forgetful = Forgetful(operator.client, operator.cluster.ledgers, "spotalis-system")
    reconciler = operator.reconcile_loop.reconciler
    reconciler._ledgers = reconciler._evictor._ledgers = forgetful


def _all_of_it(ledger: Ledger, *, living: set[str], **_: Any) -> tuple[Intent, ...]:
    return tuple(intent for intent in ledger.intents if intent.pod in living)


def _list_from_the_cache(operator: Operator) -> None:
    """What authorises is what the watch has shown, not a list of its own."""
    true = operator.client.list_all

    async def list_all(resource: Any, namespace: str = "", **options: Any) -> list[Any]:
        found: list[Any] = await true(resource, namespace, **options)
        if resource is not PODS or not options.get("quorum"):
            return found
        named = {pod.name for pod in found}
        held: list[Pod] = list(operator.cluster.pods.in_namespace(namespace))
        return [pod for pod in held if pod.labels.get("app") in _apps(found) or pod.name in named]

    operator.client.list_all = list_all  # type: ignore[method-assign]


def _apps(pods: Sequence[Pod]) -> set[str]:
    return {pod.labels.get("app", "") for pod in pods}


def _give_up(ledger: Ledger, **_: Any) -> Ledger:
    """Strikes every intent as soon as its turn is over."""
    return msgspec.structs.replace(ledger, intents=())


def _take_nothing_over(ledger: Ledger, **options: Any) -> Ledger:
    """Another process's intents are passed by, and weighed by nobody."""
    instance = options["instance"]
    mine = msgspec.structs.replace(
        ledger, intents=tuple(i for i in ledger.intents if i.instance == instance)
    )
    return protocol.prepare(mine, **options)


def _evict_whatever_it_became(operator: Operator) -> None:
    """A pod that was bound a moment ago is lost with its node."""
    true = operator.client.evict

    async def evict(pod: Pod, **options: Any) -> Any:
        return await true(pod, **{**options, "with_resource_version": False})

    operator.client.evict = evict  # type: ignore[method-assign]


def _impatient(observed: Observed, now: datetime) -> WaitingReplicas:
    hasty = dataclasses.replace(observed.configuration, spot_fallback=timedelta(0))
    return fallback.waiting_for_spot(dataclasses.replace(observed, configuration=hasty), now)


PLANTED = (
    Planted(name="the ledger forgets", accused="S1", operator=_forget),
    Planted(
        name="whatever is meant is allowed",
        accused="S1",
        room=evictor,
        functions={"authorize": _all_of_it},
    ),
    Planted(
        name="the cache authorises",
        accused="S1",
        operator=_list_from_the_cache,
        first_seed=500,
    ),
    Planted(
        name="intents go with their turn",
        accused="S1",
        room=evictor,
        functions={"withdraw": _give_up},
        first_seed=500,
    ),
    Planted(
        name="a dead process's intents are dropped",
        accused="S1",
        functions={"prepare": _take_nothing_over},
        first_seed=1200,
    ),
    Planted(
        name="who falls back may serve by now",
        accused="S9",
        tell=taken,
        operator=_evict_whatever_it_became,
    ),
    Planted(
        name="nobody waits for spot",
        accused="S9",
        tell=taken,
        functions={"waiting": _impatient},
    ),
)
