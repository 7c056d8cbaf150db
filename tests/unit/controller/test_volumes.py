"""What is asked about volumes, and how long an answer is good."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from spotalis.controller.volumes import ANSWER_VALID_SECONDS, Volumes
from spotalis.kube.client import Client
from spotalis.model.objects import NodeTerms, Requirement
from spotalis.model.transport import Response
from tests.support.api_objects import a_status, text
from tests.support.builders import a_pod
from tests.support.loaded_rng import LoadedRandom
from tests.support.scripted_transport import ScriptedTransport
from tests.support.virtual_time import in_virtual_time, virtual_clock
from tests.support.volumes import ZONE, a_claim, a_volume


def in_zones(*zones: str) -> NodeTerms:
    return (tuple(Requirement(ZONE, "In", (zone,)) for zone in zones),)


def ok(document: dict[str, Any]) -> Response:
    return Response(status=200, body=text(document))


def refusal(status: int) -> Response:
    return Response(status=status, body=text(a_status(status)))


CLAIM, IN_B = ok(a_claim("data", "disk")), ok(a_volume("disk", "b"))
UNBOUND = ok(a_claim("data", ""))
RUNNING = a_pod("db-0", claims=("data",))
WAITING = a_pod("db-0", claims=("data",), node="")


def volumes(*answers: Response) -> tuple[Volumes, ScriptedTransport]:
    transport = ScriptedTransport([*answers])
    clock = virtual_clock()
    return Volumes(Client(transport, clock=clock, rng=LoadedRandom()), clock), transport


@in_virtual_time
async def test_a_claim_and_its_volume_are_read_once_while_a_bound_pod_uses_it() -> None:
    known, transport = volumes(CLAIM, IN_B)
    assert known.affinity(RUNNING) == ()
    for _ in range(3):
        await known.fetch([RUNNING])
        await asyncio.sleep(ANSWER_VALID_SECONDS)
    assert known.affinity(RUNNING) == in_zones("b")
    assert [request.path for request in transport.requests] == [
        "/api/v1/namespaces/shop/persistentvolumeclaims/data",
        "/api/v1/persistentvolumes/disk",
    ]


@in_virtual_time
async def test_for_a_pod_without_a_node_the_volume_is_read_again_later() -> None:
    known, _ = volumes(UNBOUND, CLAIM, IN_B)
    await known.fetch([WAITING])
    await asyncio.sleep(ANSWER_VALID_SECONDS - 1)
    await known.fetch([WAITING])
    assert known.affinity(WAITING) == ()
    await asyncio.sleep(1)
    await known.fetch([WAITING])
    assert known.affinity(WAITING) == in_zones("b")


@in_virtual_time
async def test_all_volumes_of_a_pod_must_be_reached() -> None:
    known, _ = volumes(CLAIM, IN_B, CLAIM, ok(a_volume("disk", "a")))
    pod = a_pod("db-0", claims=("data", "logs"))
    await known.fetch([pod])
    assert known.affinity(pod) == in_zones("b", "a")


@pytest.mark.parametrize(
    "answers",
    [[UNBOUND], [refusal(404)], [CLAIM, refusal(404)], [CLAIM, ok(a_volume("disk", ""))]],
    ids=["bound to nothing", "no claim", "no volume", "reached from everywhere"],
)
@in_virtual_time
async def test_a_claim_without_a_restricted_volume_restricts_nothing(
    answers: list[Response],
) -> None:
    known, _ = volumes(*answers)
    await known.fetch([RUNNING])
    assert known.affinity(RUNNING) == ()


@pytest.mark.parametrize(
    "answers", [[refusal(403)] * 3, [CLAIM, refusal(403)] * 3], ids=["claims", "volumes"]
)
@in_virtual_time
async def test_without_permission_volumes_are_ignored_and_this_is_logged_once(
    answers: list[Response], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        known, transport = volumes(*answers)
        for _ in range(3):
            await known.fetch([RUNNING])
            await known.fetch([RUNNING])
            assert known.affinity(RUNNING) == ()
            await asyncio.sleep(ANSWER_VALID_SECONDS)
        assert len(transport.requests) == len(answers)
    assert [record.message for record in caplog.records] == [
        "No permission to read volumes; ignoring them"
    ]


@in_virtual_time
async def test_the_volumes_of_an_open_move_are_known_until_it_is_forgotten() -> None:
    known, _ = volumes(CLAIM, IN_B)
    await known.fetch([RUNNING])
    known.retain({RUNNING.uid})
    assert known.affinity_of(RUNNING.uid) == in_zones("b")
    known.retain(set())
    assert known.affinity_of(RUNNING.uid) == known.affinity(RUNNING) == ()
