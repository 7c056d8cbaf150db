"""A stage for single faults: a workload that is all on on-demand, operators, and their lines.

The simulation's oracle watches every one of these histories too: floor, evict-only, allowed writes.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from spotalis.controller.cluster import WorkloadKey
from spotalis.embedded.transport import NetworkFault
from spotalis.model.decision import Reason
from spotalis.model.transport import Request, Response
from tests.simulation.history import History, WorkloadSpec
from tests.simulation.network import FaultyTransport
from tests.simulation.runner import Outcome, run_script
from tests.simulation.world import OperatorProcess, World

FaultRule = Callable[[Request], NetworkFault | None]
Applies = Callable[[Request], bool]


def workload_spec(**changes: Any) -> WorkloadSpec:
    """Five replicas, all on on-demand, floor 2, two moves at once."""
    usual: dict[str, Any] = {
        "kind": "Deployment", "name": "w0", "replicas": 5, "percent": 0, "floor": 2, "moves": 2,
        "fallback_seconds": 10,
    }  # fmt: skip
    return WorkloadSpec(**{**usual, **changes})


def history(operators: int = 1, *, leader_election: bool = True, **changes: Any) -> History:
    """Two nodes of each class and one workload."""
    return History(
        seed=1,
        spot=2,
        on_demand=2,
        workloads=(workload_spec(**changes),),
        operators=operators,
        leader_election=leader_election,
    )


def simulate(script: Callable[[World], Awaitable[None]], **changes: Any) -> Outcome:
    """Play a script; nothing that must always hold may have been broken."""
    outcome = run_script(history(**changes), script)
    assert not outcome.violations, "\n".join([*outcome.trace, *outcome.violations])
    return outcome


def simulated(**changes: Any) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Run a test in the simulation: the coroutine gets a ``world`` with one workload in it.

    ``changes`` are those of :func:`history`. The test fails if an invariant was broken meanwhile.
    """

    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(**arguments: Any) -> None:
            simulate(lambda world: test(world=world, **arguments), **changes)

        signature = inspect.signature(test)
        others = [each for name, each in signature.parameters.items() if name != "world"]
        # pytest reads the names of fixtures from the signature; ``world`` is not one of them.
        run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return run

    return decorate


async def wait_for_split(world: World, evictions: int, *, within: float = 120.0) -> None:
    """The split is exact, and it took so many evictions; then it lasts."""
    until = world.clock.monotonic() + within
    while why := world.mismatch():
        assert world.clock.monotonic() < until, f"{why}\n" + "\n".join(world.oracle.trace)
        await asyncio.sleep(0.5)
    await asyncio.sleep(40)
    assert not world.mismatch()
    assert count_evictions(world) == evictions, "\n".join(world.oracle.trace)


def count_evictions(world: World) -> int:
    """Evictions so far."""
    return world.oracle.evicted.total()


def get_leader(world: World) -> OperatorProcess:
    """Who leads."""
    (leader,) = [one for one in world.processes if one.operator.elector.leads]
    return leader


def transport_of(world: World) -> FaultyTransport:
    """Of the only operator."""
    (process,) = world.processes
    return process.transport


def get_reason(world: World, name: str = "w0") -> Reason:
    """What the last turn of the only operator says."""
    (process,) = world.processes
    kind = next(one.kind for one in world.history.workloads if one.name == name)
    return process.operator.results[WorkloadKey(kind, "default", name)].reason


def is_eviction(request: Request) -> bool:
    """``pods/eviction``."""
    return request.path.endswith("/eviction")


def is_ledger_write(request: Request) -> bool:
    """Of a ConfigMap."""
    return request.method != "GET" and "/configmaps" in request.path


def is_list(request: Request, plural: str) -> bool:
    """A list or a watch of a kind."""
    return request.method == "GET" and request.path.endswith(f"/{plural}")


def once(applies: Applies, fault: NetworkFault, times: int = 1) -> FaultRule:
    """This fate for the first so many requests that it applies to."""
    left = [times]

    def order(request: Request) -> NetworkFault | None:
        if left[0] and applies(request):
            left[0] -= 1
            return fault
        return None

    return order


def always(applies: Applies, fault: NetworkFault) -> FaultRule:
    """This fate for every request that it applies to."""
    return lambda request: fault if applies(request) else None


def answered(status: int, message: str = "", **headers: str) -> NetworkFault:
    """An answer that the server never gave."""
    body = f'{{"kind":"Status","status":"Failure","message":"{message}","code":{status}}}'
    return NetworkFault(
        response=Response(
            status=status,
            body=body.encode(),
            headers={key.replace("_", "-"): value for key, value in headers.items()},
        )
    )
