"""Runs tests of single faults in the simulation.

The simulation's oracle checks all safety invariants in each test (tests/simulation/oracle.py).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.ledgers import LEDGER_PREFIX
from spotalis.embedded.transport import NetworkFault
from spotalis.model.decision import Reason
from spotalis.model.transport import Request, Response
from tests.simulation.history import History, WorkloadSpec
from tests.simulation.network import FaultyTransport
from tests.simulation.runner import run_script
from tests.simulation.world import ModifyOperator, OperatorProcess, World

FaultRule = Callable[[Request], NetworkFault | None]
Matches = Callable[[Request], bool]


def workload_spec(**changes: Any) -> WorkloadSpec:
    """A Deployment of five replicas, all on on-demand, with floor 2 and two moves in flight."""
    usual: dict[str, Any] = {
        "kind": "Deployment", "name": "w0", "replicas": 5, "percent": 0, "floor": 2, "moves": 2,
        "fallback_seconds": 10,
    }  # fmt: skip
    return WorkloadSpec(**{**usual, **changes})


def history(*workloads: WorkloadSpec, **options: Any) -> History:
    """Two spot nodes, two on-demand nodes and the workloads (default: one)."""
    usual: dict[str, Any] = {"seed": 1, "spot": 2, "on_demand": 2}
    return History(workloads=workloads or (workload_spec(),), **(usual | options))


def simulate(
    script: Callable[[World], Awaitable[None]],
    chosen: History,
    modify: ModifyOperator = lambda operator: None,
) -> None:
    """Run a script in the world of a history; fail if an invariant is violated."""
    outcome = run_script(chosen, script, modify)
    assert not outcome.violations, "\n".join([*outcome.trace, *outcome.violations])


def simulated(
    *workloads: WorkloadSpec, **options: Any
) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Run a test in the simulation and pass it the argument ``world``.

    Args:
        workloads: the workloads; without any, one :func:`workload_spec`.
        options: other fields of :class:`History`.
    """

    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(**arguments: Any) -> None:
            simulate(lambda world: test(world=world, **arguments), history(*workloads, **options))

        signature = inspect.signature(test)
        others = [each for name, each in signature.parameters.items() if name != "world"]
        # pytest takes the names of fixtures from the signature; ``world`` is not a fixture.
        run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return run

    return decorate


async def wait_for_split(world: World, evictions: int, *, within: float = 120.0) -> None:
    """Wait for the exact split, then assert that it lasts and the total number of evictions."""
    until = world.clock.monotonic() + within
    while why := world.mismatch():
        assert world.clock.monotonic() < until, f"{why}\n" + "\n".join(world.oracle.trace)
        await asyncio.sleep(0.5)
    await asyncio.sleep(40)
    assert not world.mismatch()
    assert count_evictions(world) == evictions, "\n".join(world.oracle.trace)


def count_evictions(world: World) -> int:
    """Number of evictions so far."""
    return world.oracle.evicted.total()


def get_leader(world: World) -> OperatorProcess:
    """The process that leads."""
    (leader,) = [each for each in world.processes if each.operator.elector.leads]
    return leader


def transport_of(world: World) -> FaultyTransport:
    """The transport of the only operator."""
    (process,) = world.processes
    return process.transport


def get_reason(world: World, name: str = "w0") -> Reason:
    """Reason of the workload's last reconcile by the only operator."""
    (process,) = world.processes
    kind = next(each.kind for each in world.history.workloads if each.name == name)
    return process.operator.results[WorkloadKey(kind, "default", name)].reason


def is_eviction(request: Request) -> bool:
    """Whether the request is an eviction."""
    return request.path.endswith("/eviction")


def is_ledger_write(request: Request) -> bool:
    """Whether the request writes a ledger."""
    named = request.path.encode() + request.body
    return request.method != "GET" and b"/configmaps" in named and LEDGER_PREFIX.encode() in named


def is_list(request: Request, plural: str) -> bool:
    """Whether the request is a list or watch of a resource."""
    return request.method == "GET" and request.path.endswith(f"/{plural}")


def once(matches: Matches, fault: NetworkFault, times: int = 1) -> FaultRule:
    """A fault for the first ``times`` matching requests."""
    left = [times]

    def rule(request: Request) -> NetworkFault | None:
        if left[0] and matches(request):
            left[0] -= 1
            return fault
        return None

    return rule


def always(matches: Matches, fault: NetworkFault) -> FaultRule:
    """A fault for every matching request."""
    return lambda request: fault if matches(request) else None


def respond_with(status: int, message: str = "", **headers: str) -> NetworkFault:
    """A response that does not come from the server."""
    body = f'{{"kind":"Status","status":"Failure","message":"{message}","code":{status}}}'
    return NetworkFault(
        response=Response(
            status=status,
            body=body.encode(),
            headers={key.replace("_", "-"): value for key, value in headers.items()},
        )
    )
