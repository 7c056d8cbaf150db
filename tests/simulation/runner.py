"""Runs a history or a script in virtual time, and returns the violations and the trace."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from spotalis.embedded.virtual_time import VirtualClock, run
from spotalis.kube.client import ApiError
from spotalis.model.transport import TransportError
from tests.simulation.history import History
from tests.simulation.oracle import Oracle
from tests.simulation.world import ModifyOperator, World


@dataclass(kw_only=True)
class Outcome:
    """The result of a run."""

    history: History
    violations: list[str]
    trace: list[str]
    evicted: Counter[str]
    seconds_to_split: float = 0.0
    """Virtual seconds from the end of the faults to the exact split."""
    floor_reached: int = 0
    """Number of evictions that left exactly the floor ready."""
    crashes: int = 0
    needed_rollout: bool = False
    """A rollout was needed to release an orphaned intent."""


class _ErrorLogs(logging.Handler):
    """Records a violation for each error that an operator logs, except failed requests."""

    def __init__(self, oracle: Oracle) -> None:
        super().__init__(logging.ERROR)
        self._oracle = oracle

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, ApiError | TransportError):
            self._oracle.record_violation(f"error: {record.getMessage()}: {error!r}")


Script = Callable[[World], Awaitable[None]]


def run_history(history: History, modify: ModifyOperator = lambda operator: None) -> Outcome:
    """Run a history: its steps, the end of the faults, the exact split, and a quiet period."""

    async def steps_to_split(world: World) -> None:
        await world.run_steps()
        await world.end_faults()
        if not world.oracle.violations:
            world.seconds_to_split = await world.wait_for_split()

    return run_script(history, steps_to_split, modify)


def run_script(
    history: History, script: Script, modify: ModifyOperator = lambda operator: None
) -> Outcome:
    """Run a script in the world of a history, once all pods are ready."""

    async def main(clock: VirtualClock) -> Outcome:
        world = World(history, clock, modify)
        error_logs = _ErrorLogs(world.oracle)
        logger = logging.getLogger("spotalis")
        logger.addHandler(error_logs)
        try:
            async with world.cluster:
                await world.prepare()
                try:
                    await script(world)
                finally:
                    await world.stop()
        finally:
            logger.removeHandler(error_logs)
        return Outcome(
            history=history,
            violations=world.oracle.violations,
            trace=world.oracle.trace,
            evicted=world.oracle.evicted,
            seconds_to_split=world.seconds_to_split,
            floor_reached=world.oracle.floor_reached,
            crashes=world.crashes,
            needed_rollout=world.needed_rollout,
        )

    return run(main)
