"""What the operator says to the API server around each eviction (safety.md D.4, design J).

On the embedded cluster, for here every request can be heard, delayed and lost.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from spotalis.controller.ledger import PREFIX
from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.transport import (
    DELIVER,
    DROP,
    FaultInjector,
    InProcessTransport,
    NetworkFault,
)
from spotalis.kube.client import PatchType
from spotalis.kube.resources import LEDGER_LABEL
from spotalis.model.nodes import NodeType
from spotalis.model.transport import Request, Response
from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.stage import Play, only_embedded

HOME = "/api/v1/namespaces/spotalis-system/configmaps"


class Wire:
    """Everything that the operator has asked, in order."""

    def __init__(self) -> None:
        self.heard: list[Request] = []
        self.judge: FaultInjector = lambda request: DELIVER

    def hear(self, request: Request) -> NetworkFault:
        """Note it, and let the judge decide."""
        self.heard.append(request)
        return self.judge(request)

    def evictions(self) -> list[tuple[int, dict[str, Any]]]:
        """Place and preconditions of each."""
        return [
            (place, _body(request)["deleteOptions"]["preconditions"])
            for place, request in enumerate(self.heard)
            if _evicts(request)
        ]

    def intent(self, uid: str, before: int) -> tuple[int, str, dict[str, Any]]:
        """Place, ledger's name and intent for a pod in the last write of it before that place."""
        for place in reversed(range(before)):
            request = self.heard[place]
            if request.method in ("POST", "PUT") and request.path.startswith(HOME):
                written = _body(request)
                for intent in json.loads(written["data"]["ledger"]).get("intents", ()):
                    if intent["pod"] == uid:
                        return place, written["metadata"]["name"], intent
        raise AssertionError(f"no ledger named pod {uid} before it was evicted")


def _body(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.body or b"{}")
    return found


def _evicts(request: Request) -> bool:
    return request.path.endswith("/eviction")


def _lists_with_quorum(request: Request) -> bool:
    asked = dict(request.query)
    return (
        request.method == "GET"
        and request.path == "/api/v1/namespaces/default/pods"
        and "watch" not in asked
        and "resourceVersion" not in asked
    )


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Between the operator and the embedded API server."""
    wire, plain = Wire(), EmbeddedCluster.transport

    def tapped(cluster: EmbeddedCluster, user: str) -> InProcessTransport:
        transport = plain(cluster, user)
        if user != "admin":
            transport.on_request = wire.hear
        return transport

    monkeypatch.setattr(EmbeddedCluster, "transport", tapped)
    return wire


@only_embedded
def test_each_eviction_stands_in_the_ledger_and_then_the_pods_are_listed_and_then_it_is_sent(
    play: Play, wire: Wire
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(0, 1, {"max-moves-in-flight": "2"}))
            await bed.settled("web", 6, 0)
            ledger = PREFIX + (await bed.workload("Deployment", "web")).uid
            await bed.annotate("Deployment", "web", {"spot-percentage": "50"})
            await bed.settled("web", 3, 3)
        assert len(wire.evictions()) == 3
        for place, preconditions in wire.evictions():
            written, name, _ = wire.intent(preconditions["uid"], place)
            assert name == ledger
            assert any(_lists_with_quorum(request) for request in wire.heard[written:place])

    play(scenario)


@only_embedded
def test_an_eviction_without_an_answer_stays_in_the_ledger_until_it_is_answered(
    play: Play, wire: Wire
) -> None:
    def lose_the_first(request: Request) -> NetworkFault:
        return DROP if _evicts(request) and len(wire.evictions()) == 1 else DELIVER

    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(0, 1))
            await bed.settled("web", 6, 0)
            wire.judge = lose_the_first
            await bed.annotate("Deployment", "web", {"spot-percentage": "50"})
            await bed.settled("web", 3, 3, within=120)
        (_, first), (again, second), *_ = wire.evictions()
        assert first == second
        assert wire.intent(second["uid"], again)[2]["tries"] == 2

    play(scenario)


@only_embedded
def test_a_list_that_is_six_seconds_old_lets_nobody_go(play: Play, wire: Wire) -> None:
    def delay_lists(request: Request) -> NetworkFault:
        return NetworkFault(delay_seconds=6) if _lists_with_quorum(request) else DELIVER

    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(0, 1))
            await bed.settled("web", 6, 0)
            wire.judge = delay_lists
            await bed.annotate("Deployment", "web", {"spot-percentage": "50"})
            await asyncio.sleep(60)
            assert any(_lists_with_quorum(request) for request in wire.heard)
            assert wire.evictions() == []
            wire.judge = lambda request: DELIVER
            await bed.settled("web", 3, 3, within=120)

    play(scenario)


@only_embedded
def test_a_ledger_of_another_version_lets_nobody_go(play: Play, wire: Wire) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(0, 1))
            await bed.settled("web", 6, 0)
            name = PREFIX + (await bed.workload("Deployment", "web")).uid
            ledger = {
                "metadata": {"name": name, "labels": {LEDGER_LABEL: "true"}},
                "data": {"ledger": '{"schema":99}'},
            }
            assert (await bed.api.raw("POST", HOME, ledger)).status == 201
            await bed.annotate("Deployment", "web", {"spot-percentage": "50"})
            await asyncio.sleep(60)
            assert wire.evictions() == []
            await bed.api.raw("DELETE", f"{HOME}/{name}")
            await bed.settled("web", 3, 3, within=120)

    play(scenario)


async def _becomes_unready(bed: Bed, name: str) -> None:
    """The embedded kubelet sees to it at once."""
    body = {"metadata": {"annotations": {"embedded.spotalis.io/ready": "never"}}}
    path = f"/api/v1/namespaces/default/pods/{name}"
    answer = await bed.api.raw("PATCH", path, body, content_type=PatchType.MERGE.value)
    assert answer.status == 200


async def _terminates(bed: Bed, name: str) -> None:
    await bed.api.raw("DELETE", f"/api/v1/namespaces/default/pods/{name}")


@only_embedded
@pytest.mark.parametrize("lose", [_becomes_unready, _terminates], ids=["unready", "terminating"])
def test_what_is_lost_between_plan_and_list_counts(
    play: Play, wire: Wire, lose: Callable[[Bed, str], Any]
) -> None:
    async def scenario(bed: Bed) -> None:
        lost: list[asyncio.Task[None]] = []

        async def lose_two() -> None:
            for pod in await bed.pods("web"):
                try:
                    wire.intent(pod.uid, len(wire.heard))
                except AssertionError:
                    await lose(bed, pod.name)

        def meanwhile(request: Request) -> NetworkFault:
            if not _lists_with_quorum(request) or lost:
                return DELIVER
            lost.append(asyncio.create_task(lose_two()))
            return NetworkFault(delay_seconds=0.5)

        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            # So many may be in flight that it is the floor alone that holds the last one.
            await bed.deployment("web", 3, Wishes(0, 2, {"max-moves-in-flight": "3"}))
            await bed.settled("web", 3, 0)
            wire.judge = meanwhile
            await bed.annotate("Deployment", "web", {"spot-percentage": "34"})
            while not lost:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.7)
            assert lost[0].done()
            assert wire.evictions() == []

    play(scenario)


@only_embedded
def test_who_waits_for_spot_in_vain_is_evicted_only_as_it_was_seen(play: Play, wire: Wire) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(50, 1, {"spot-fallback": "6s"}))
            await bed.settled("web", 2, 2)
            for node, found in (await bed.node_types()).items():
                if found is NodeType.SPOT:
                    await bed.reclaim(node)
            await bed.settled("web", 4, 0, within=60)
        # What follows are probes: those are ready, and sent by UID alone.
        falling = wire.evictions()[:2]
        assert ["resourceVersion" in asked for _, asked in falling] == [True, True]

    play(scenario)


_BLOCKED = Response(
    status=429,
    body=json.dumps(
        {
            "kind": "Status",
            "code": 429,
            "details": {"causes": [{"reason": "DisruptionBudget", "message": "needs 6"}]},
        }
    ).encode(),
)


@only_embedded
@pytest.mark.parametrize(
    ("operator", "owner"),
    [
        pytest.param(True, "false", id="the operator alone"),
        pytest.param(False, "true", id="the owner alone"),
    ],
)
def test_no_pod_is_deleted_unless_operator_and_owner_both_say_so(
    play: Play, wire: Wire, operator: bool, owner: str
) -> None:
    async def scenario(bed: Bed) -> None:
        assert isinstance(bed, OnEmbeddedCluster)
        bed.settings["pdb_override"] = operator
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(0, 1, {"pdb-override": owner}))
            await bed.settled("web", 6, 0)
            wire.judge = lambda request: (
                NetworkFault(response=_BLOCKED) if _evicts(request) else DELIVER
            )
            await bed.annotate("Deployment", "web", {"spot-percentage": "50"})
            await asyncio.sleep(30)
        assert len(wire.evictions()) > 1
        assert ("delete", "pods") not in bed.writes()

    play(scenario)
