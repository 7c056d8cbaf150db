"""The health of the process, and its identity."""

from __future__ import annotations

from spotalis.app.process import Process
from spotalis.kube.config.access import ClusterAccess
from spotalis.kube.store import StoreWriter
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.leadership import LeadershipState
from spotalis.settings.options import ServingOptions
from spotalis.web.health import readyz
from tests.support.manual_clock import ManualClock

ACCESS = ClusterAccess(server="http://127.0.0.1:1")


async def test_a_silent_api_server_fails_readiness_after_70_s() -> None:
    clock = ManualClock()
    process = Process(ACCESS, ControllerConfiguration(), ServingOptions(), clock=clock)
    writers = [StoreWriter(store) for store in process.operator.cluster.stores().values()]
    for writer in writers:
        writer.end_relist()
        writer.mark_fresh(clock.monotonic())
    clock.advance(10)
    writers[0].mark_fresh(clock.monotonic())  # One watch that delivers is enough.
    clock.advance(70)
    assert process.health_state().api_reachable
    clock.advance(1)
    state = process.health_state()
    assert not state.api_reachable
    assert b"APIServerUnreachable" in readyz(state)[1]


async def test_two_processes_with_the_same_configured_identity_have_different_identities() -> None:
    configured = ControllerConfiguration(identity="a")
    states = [
        LeadershipState(identity=Process(ACCESS, configured, ServingOptions()).settings.identity)
        for _ in range(2)
    ]
    assert [state.name for state in states] == ["a", "a"]
    assert states[0].identity != states[1].identity
