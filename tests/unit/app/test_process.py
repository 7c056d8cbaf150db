"""What the process says of itself."""

from __future__ import annotations

from spotalis.app.process import Process
from spotalis.kube.config.access import ClusterAccess
from spotalis.kube.http import HttpTransport
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.leadership import LeadershipState
from spotalis.settings.options import ServingOptions
from spotalis.web.health import readyz
from spotalis.webhook.forward import HttpsPeerClient
from tests.support.manual_clock import ManualClock


async def test_an_api_server_that_falls_silent_shows_in_readiness_and_not_in_health() -> None:
    clock = ManualClock()
    access = ClusterAccess(server="http://127.0.0.1:1")
    process = Process(access, ControllerConfiguration(), ServingOptions(), clock=clock)
    peer_client = HttpsPeerClient(lambda: None, "spotalis-webhook")
    operator = process._operator(HttpTransport(access, clock=clock), peer_client)
    webhook = process._webhook(operator)
    for store in operator.cluster.stores().values():
        store.synced = True
        store.fresh_at = clock.monotonic()
    clock.advance(70)
    assert process._facts(operator, webhook).api_reachable
    clock.advance(1)
    facts = process._facts(operator, webhook)
    assert not facts.api_reachable
    assert b"APIServerUnreachable" in readyz(facts)[1]


def test_row_26_two_processes_of_one_name_are_two() -> None:
    access, copied = (
        ClusterAccess(server="http://127.0.0.1:1"),
        ControllerConfiguration(identity="a"),
    )
    states = [
        LeadershipState(identity=process._settings.identity)
        for process in (Process(access, copied, ServingOptions()) for _ in range(2))
    ]
    assert [state.name for state in states] == ["a", "a"]
    assert states[0].identity != states[1].identity
