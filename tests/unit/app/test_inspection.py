"""Commands that look send reads only, whatever the code below them asks for."""

from __future__ import annotations

import pytest

from spotalis.app.inspection import LimitedTransport, MissingRight, ReadOnlyTransport
from spotalis.model.transport import Request, Response
from tests.support.scripted_transport import ScriptedTransport


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_write_is_answered_without_being_sent(method: str) -> None:
    server = ScriptedTransport([Response(status=200)])
    answer = await ReadOnlyTransport(server).send(Request(method=method, path="/api/v1/pods"))
    assert (answer.status, server.requests) == (403, [])


async def test_a_read_is_sent() -> None:
    server = ScriptedTransport([Response(status=200)])
    answer = await ReadOnlyTransport(server).send(Request(method="GET", path="/api/v1/pods"))
    assert (answer.status, len(server.requests)) == (200, 1)


async def test_the_limit_of_the_user_holds_for_every_request() -> None:
    server = ScriptedTransport([Response(status=200)])
    request = Request(method="PATCH", path="/api/v1/pods", timeout_seconds=10.0)
    await LimitedTransport(server, 3.0).send(request)
    assert [sent.timeout_seconds for sent in server.requests] == [3.0]


def test_a_missing_right_says_what_is_less_exact_without_it() -> None:
    assert str(MissingRight("nodes", "")) == (
        "you may not list nodes in all namespaces: the capacity type of a pod is taken from its "
        "label spotalis.io/capacity-type"
    )
    assert str(MissingRight("pods", "shop")).startswith("you may not list pods in namespace shop: ")
