"""Run a scenario on a cluster: ``@on_both_beds`` runs it on the embedded and on the real one.

    @on_both_beds
    async def test_a_workload_is_split(cluster: TestCluster) -> None:
        await cluster.add_nodes(spot=2, on_demand=2)
        ...

The embedded cluster runs the coroutine on a loop in virtual time, the real one on an ordinary
loop. The fixture ``cluster`` (tests/integration/conftest.py) supplies the runner for each.

``make test`` runs every scenario on the embedded cluster, and on the real one those that are marked
``check`` or ``both``: at least one of each kind. ``make test-all`` runs all of them on both.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from tests.support.cluster import TestCluster

Scenario: TypeAlias = Callable[[TestCluster], Awaitable[None]]
ScenarioRunner: TypeAlias = Callable[[Scenario], None]
"""Starts a cluster, runs a scenario on it to the end, and stops the cluster."""

_ScenarioTest: TypeAlias = Callable[..., Awaitable[None]]
_Decorator: TypeAlias = Callable[[_ScenarioTest], Callable[..., None]]

_EMBEDDED = "embedded"
_REAL = pytest.param("real", marks=pytest.mark.real)
_TWIN = pytest.param("real", marks=[pytest.mark.real, pytest.mark.twin])


def _on(*beds: Any) -> _Decorator:
    """Parametrize a test by cluster, and run its coroutine on the loop of that cluster."""

    def decorate(test: _ScenarioTest) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*, cluster: ScenarioRunner, **arguments: Any) -> None:
            cluster(lambda opened: test(cluster=opened, **arguments))

        marked: Callable[..., None] = pytest.mark.parametrize("cluster", beds, indirect=True)(run)
        return marked

    return decorate


on_both_beds = _on(_EMBEDDED, _TWIN)
only_embedded = _on(_EMBEDDED)
only_real = _on(_REAL)
