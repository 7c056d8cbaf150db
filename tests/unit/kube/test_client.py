from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from spotalis.kube import resources
from spotalis.kube.client import (
    AlreadyExists,
    ApiError,
    Client,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    PatchType,
    TooManyRequests,
)
from spotalis.kube.limiter import RateLimiter
from spotalis.kube.resources import DEPLOYMENTS, LEASES, NODES, PODS, InvalidName, Resource
from spotalis.model.objects import Lease
from spotalis.model.transport import Request, Response, TransportError
from tests.support.api_objects import Json, a_list, a_pod, a_status, metadata, text
from tests.support.loaded_rng import LoadedRandom
from tests.support.scripted_transport import Answer, ScriptedTransport
from tests.support.virtual_time import in_virtual_time, run_in_virtual_time, virtual_clock


def ok(document: Json, status: int = 200) -> Response:
    return Response(status=status, body=text(document))


def refusal(
    code: int, *args: Any, headers: dict[str, str] | None = None, **fields: Any
) -> Response:
    body = text(a_status(code, *args, **fields))
    return Response(status=code, body=body, headers=headers or {})


def cut(*, maybe_sent: bool = True) -> TransportError:
    return TransportError("the connection was cut", maybe_sent=maybe_sent)


class Outcome:
    """The result of a call, its requests, and the seconds it took."""

    def __init__(self, value: Any, requests: list[Request], seconds: float) -> None:
        self.value = value
        self.requests = requests
        self.seconds = seconds

    @property
    def request(self) -> Request:
        (request,) = self.requests
        return request


def call(ask: Callable[[Client], Awaitable[Any]], *answers: Answer, **options: Any) -> Outcome:
    """Run ``ask`` against a server that gives these answers; an error is a value, too."""

    return run_in_virtual_time(_call(ask, answers, options))


async def _call(
    ask: Callable[[Client], Awaitable[Any]], answers: Sequence[Answer], options: Mapping[str, Any]
) -> Outcome:
    transport = ScriptedTransport([*answers])
    client = Client(transport, clock=virtual_clock(), rng=LoadedRandom(), **options)
    try:
        value = await ask(client)
    except (ApiError, TransportError) as error:
        value = error
    return Outcome(value, transport.requests, virtual_clock().monotonic())


class TestGet:
    def test_an_object(self) -> None:
        outcome = call(lambda c: c.get(PODS, "shop", "web-1"), ok(a_pod()))
        assert outcome.value.name == "web-1"
        assert outcome.request.method == "GET"
        assert outcome.request.path == "/api/v1/namespaces/shop/pods/web-1"

    def test_a_missing_object_is_none(self) -> None:
        assert call(lambda c: c.get(PODS, "shop", "x"), refusal(404, "NotFound")).value is None

    def test_an_object_without_namespace(self) -> None:
        node = {"metadata": {"name": "n1"}}
        assert call(lambda c: c.get(NODES, "", "n1"), ok(node)).request.path == "/api/v1/nodes/n1"

    def test_an_object_of_a_group(self) -> None:
        outcome = call(lambda c: c.get(DEPLOYMENTS, "shop", "web"), refusal(404))
        assert outcome.request.path == "/apis/apps/v1/namespaces/shop/deployments/web"

    @pytest.mark.parametrize(
        ("namespace", "name"),
        [
            ("shop", ""),
            ("", "web-1"),
            ("shop", ".."),
            ("shop", "../.."),
            ("shop", "web-1/status"),
            ("shop", "web-1%2fstatus"),
            ("..", "web-1"),
            ("shop", "x" * 254),
        ],
    )
    def test_a_name_that_no_object_can_have_is_never_sent(self, namespace: str, name: str) -> None:
        outcome = call(lambda c: c.get(PODS, namespace, name))
        assert (outcome.value, outcome.requests) == (None, [])
        with pytest.raises(InvalidName):
            call(lambda c: c.delete(PODS, namespace, name))

    @pytest.mark.parametrize(
        "failure", [cut(), cut(maybe_sent=False), *map(refusal, (500, 502, 503, 504))]
    )
    def test_a_read_is_retried_while_the_server_is_unreachable(self, failure: Answer) -> None:
        outcome = call(lambda c: c.get(PODS, "shop", "web-1"), failure, failure, ok(a_pod()))
        assert outcome.value.name == "web-1"
        assert len(outcome.requests) == 3
        assert outcome.seconds > 0.5

    def test_a_read_is_not_retried_forever(self) -> None:
        outcome = call(lambda c: c.get(PODS, "shop", "web-1"), *[cut()] * 9)
        assert isinstance(outcome.value, TransportError)
        assert len(outcome.requests) == 4

    def test_retry_after_is_obeyed(self) -> None:
        busy = refusal(429, "TooManyRequests", headers={"retry-after": "7"})
        outcome = call(lambda c: c.get(PODS, "shop", "web-1"), busy, ok(a_pod()))
        assert outcome.value.name == "web-1"
        assert outcome.seconds == 7

    def test_a_long_retry_after_is_returned_to_the_caller(self) -> None:
        busy = refusal(429, "TooManyRequests", headers={"retry-after": "600"})
        outcome = call(lambda c: c.get(PODS, "shop", "web-1"), busy)
        assert isinstance(outcome.value, TooManyRequests)
        assert outcome.value.retry_after_seconds == 600

    def test_an_undecodable_response_is_a_transport_error(self) -> None:
        outcome = call(lambda c: c.get(PODS, "shop", "x"), Response(status=200, body=b"<html>"))
        assert isinstance(outcome.value, TransportError)


class TestListAll:
    def pods(self, *names: str) -> list[Json]:
        return [a_pod(name) for name in names]

    def test_page_by_page(self) -> None:
        outcome = call(
            lambda c: c.list_all(PODS, "shop", quorum=True, label_selector="app=web,tier!=x"),
            ok(a_list(self.pods("one", "two"), continue_="next")),
            ok(a_list(self.pods("three"))),
        )
        assert [pod.name for pod in outcome.value] == ["one", "two", "three"]
        first, second = (dict(request.query) for request in outcome.requests)
        assert first == {"labelSelector": "app=web,tier!=x", "limit": "250"}
        assert second == {**first, "continue": "next"}

    def test_without_quorum_the_list_may_come_from_the_servers_cache(self) -> None:
        outcome = call(
            lambda c: c.list_all(PODS),
            ok(a_list(self.pods("one"), continue_="next")),
            ok(a_list([])),
        )
        first, second = (dict(request.query) for request in outcome.requests)
        assert first["resourceVersion"] == "0"
        assert "resourceVersion" not in second, "forbidden beside a continue token"
        assert outcome.requests[0].path == "/api/v1/pods"

    @pytest.mark.parametrize("reason", ["Expired", "Gone", ""])
    def test_an_expired_token_starts_again_with_the_whole_list(self, reason: str) -> None:
        outcome = call(
            lambda c: c.list_all(PODS, quorum=True),
            ok(a_list(self.pods("one"), continue_="next")),
            refusal(410, reason),
            ok(a_list(self.pods("one", "two"))),
        )
        assert [pod.name for pod in outcome.value] == ["one", "two"]
        assert outcome.requests[-1].query == ()

    def test_a_limited_list_ends_at_its_limit_and_is_never_read_without_pages(self) -> None:
        page = ok(a_list(self.pods("one", "two"), continue_="next"))
        outcome = call(lambda c: c.list_first(PODS, "shop", max_items=2), page)
        assert [pod.name for pod in outcome.value] == ["one", "two"]
        assert dict(outcome.request.query) == {"limit": "250"}
        expired = call(
            lambda c: c.list_first(PODS, "shop", max_items=3), page, refusal(410, "Expired")
        )
        assert [pod.name for pod in expired.value] == ["one", "two"]
        assert len(expired.requests) == 2

    def test_items_may_be_null(self) -> None:
        answer = Response(status=200, body=b'{"metadata":{"resourceVersion":"1"},"items":null}')
        assert call(lambda c: c.list_all(PODS), answer).value == []

    def test_an_undecodable_item_fails_the_list(self) -> None:
        answer = ok(a_list([a_pod(), {"metadata": {"name": 7}}]))
        assert isinstance(call(lambda c: c.list_all(PODS), answer).value, TransportError)

    @in_virtual_time
    async def test_other_tasks_run_during_a_long_list(self) -> None:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        transport = ScriptedTransport([ok(a_list([a_pod()] * 1000))])
        client = Client(transport, clock=virtual_clock(), rng=LoadedRandom())
        task = asyncio.ensure_future(others())
        await client.list_all(PODS)
        task.cancel()
        assert turns >= 39


LEASE = {"metadata": metadata("spotalis"), "spec": {"holderIdentity": "me"}}


class TestWrites:
    def test_create(self) -> None:
        outcome = call(lambda c: c.create(LEASES, "ops", LEASE), ok(LEASE, 201))
        assert isinstance(outcome.value, Lease)
        assert outcome.request.method == "POST"
        assert outcome.request.path == "/apis/coordination.k8s.io/v1/namespaces/ops/leases"
        assert json.loads(outcome.request.body) == LEASE

    def test_replace(self) -> None:
        outcome = call(lambda c: c.replace(LEASES, "ops", "spotalis", LEASE), ok(LEASE))
        assert outcome.value.holder == "me"
        assert outcome.request.method == "PUT"
        assert outcome.request.path.endswith("/leases/spotalis")

    @pytest.mark.parametrize(
        ("patch_type", "content_type"),
        [
            (PatchType.MERGE, "application/merge-patch+json"),
            (PatchType.JSON, "application/json-patch+json"),
            (PatchType.STRATEGIC, "application/strategic-merge-patch+json"),
        ],
    )
    def test_each_patch_type_has_its_content_type(
        self, patch_type: PatchType, content_type: str
    ) -> None:
        outcome = call(
            lambda c: c.patch(PODS, "shop", "web-1", {"a": 1}, patch_type=patch_type), ok(a_pod())
        )
        assert outcome.request.method == "PATCH"
        assert outcome.request.content_type == content_type
        assert outcome.request.query == ()

    def test_a_json_patch_is_a_list(self) -> None:
        steps = [{"op": "add", "path": "/metadata/labels/a", "value": "b"}]
        outcome = call(
            lambda c: c.patch(PODS, "shop", "web-1", steps, patch_type=PatchType.JSON), ok(a_pod())
        )
        assert json.loads(outcome.request.body) == steps

    def test_a_patch_names_its_subresource_and_field_manager(self) -> None:
        outcome = call(
            lambda c: c.patch(
                DEPLOYMENTS,
                "shop",
                "web",
                {},
                patch_type=PatchType.STRATEGIC,
                subresource="status",
                field_manager="spotalis",
            ),
            refusal(404),
        )
        assert outcome.request.query == (("fieldManager", "spotalis"),)
        assert outcome.request.path.endswith("/deployments/web/status")

    def test_delete_states_uid_and_resource_version(self) -> None:
        outcome = call(
            lambda c: c.delete(PODS, "shop", "web-1", uid="u1", resource_version="5"), ok({})
        )
        assert outcome.value is True
        assert json.loads(outcome.request.body)["preconditions"] == {
            "uid": "u1",
            "resourceVersion": "5",
        }

    def test_delete_of_a_missing_object_returns_false(self) -> None:
        assert call(lambda c: c.delete(PODS, "shop", "x"), refusal(404)).value is False

    def test_a_refused_delete_is_an_error(self) -> None:
        assert isinstance(call(lambda c: c.delete(PODS, "s", "x"), refusal(409)).value, Conflict)

    @pytest.mark.parametrize("failure", [cut(), refusal(500), refusal(503), refusal(429)])
    @pytest.mark.parametrize(
        "write",
        [
            lambda c: c.create(LEASES, "ops", {}),
            lambda c: c.replace(LEASES, "ops", "a", {}),
            lambda c: c.patch(LEASES, "ops", "a", {}, patch_type=PatchType.MERGE),
            lambda c: c.delete(LEASES, "ops", "a"),
            lambda c: c.raw("POST", "/api/v1/namespaces/ops/events", {}),
        ],
        ids=["create", "replace", "patch", "delete", "raw"],
    )
    def test_a_write_is_never_retried(
        self, write: Callable[[Client], Awaitable[Any]], failure: Answer
    ) -> None:
        assert len(call(write, failure, ok(a_pod())).requests) == 1

    def test_raw_returns_the_response_whatever_its_status(self) -> None:
        outcome = call(lambda c: c.raw("GET", "/version", query=[("a", "b")]), refusal(500))
        assert outcome.value.status == 500
        assert outcome.request.query == (("a", "b"),)


class TestErrors:
    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (refusal(403, "Forbidden"), Forbidden),
            (refusal(404, "NotFound"), NotFound),
            (refusal(409, "Conflict"), Conflict),
            (refusal(409, "AlreadyExists"), AlreadyExists),
            (refusal(410, "Expired"), Gone),
            (refusal(410, ""), Gone),
            (refusal(429, "TooManyRequests"), TooManyRequests),
            (refusal(418), ApiError),
        ],
    )
    def test_each_error_status_has_its_exception(
        self, answer: Response, kind: type[ApiError]
    ) -> None:
        error = call(lambda c: c.create(PODS, "shop", {}), answer).value
        assert type(error) is kind

    def test_an_object_that_exists_is_also_a_conflict(self) -> None:
        assert issubclass(AlreadyExists, Conflict)

    def test_the_fields_of_a_status_are_kept(self) -> None:
        cause = {"reason": "FieldValueInvalid", "message": "no", "field": "spec"}
        answer = refusal(422, "Invalid", "it is invalid", causes=[cause], retry_after_seconds=3)
        error = call(lambda c: c.create(PODS, "shop", {}), answer).value
        assert (error.status, error.reason, error.message) == (422, "Invalid", "it is invalid")
        assert error.has_cause("FieldValueInvalid")
        assert error.retry_after_seconds == 3
        assert str(error) == "HTTP 422 Invalid: it is invalid"

    @pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"null", b"[]", b'{"details":7}'])
    def test_a_body_that_is_not_a_status_is_an_error_too(self, body: bytes) -> None:
        answer = Response(status=400, body=body)
        error = call(lambda c: c.create(PODS, "shop", {}), answer).value
        assert error.status == 400


class TestCounting:
    @pytest.mark.parametrize(
        ("ask", "verb", "resource"),
        [
            (lambda c: c.get(PODS, "shop", "x"), "get", "pods"),
            (lambda c: c.get(NODES, "", "x"), "get", "nodes"),
            (lambda c: c.list_all(PODS), "list", "pods"),
            (lambda c: c.list_all(DEPLOYMENTS, "shop"), "list", "deployments"),
            (lambda c: c.create(PODS, "shop", {}), "create", "pods"),
            (lambda c: c.replace(LEASES, "ops", "a", {}), "update", "leases"),
            (lambda c: c.delete(PODS, "shop", "a"), "delete", "pods"),
            (lambda c: c.raw("GET", "/api/v1/namespaces/shop"), "get", "namespaces"),
            (lambda c: c.raw("GET", "/api/v1/namespaces"), "list", "namespaces"),
            (
                lambda c: c.raw("POST", "/api/v1/namespaces/s/pods/p/eviction"),
                "create",
                "pods/eviction",
            ),
            (lambda c: c.raw("GET", "/readyz"), "get", "/readyz"),
            (lambda c: c.raw("GET", "/api/v1/namespaces/s/widgets/w"), "get", "other"),
        ],
    )
    def test_requests_are_reported_with_verb_and_resource_of_rbac(
        self, ask: Callable[[Client], Awaitable[Any]], verb: str, resource: str
    ) -> None:
        seen: list[tuple[str, str, int, float]] = []
        call(ask, refusal(404), on_request=lambda *args: seen.append(args))
        assert seen == [(verb, resource, 404, 0.0)]

    def test_every_kind_that_is_read_is_reported_under_its_name(self) -> None:
        kinds = [kind for kind in vars(resources).values() if isinstance(kind, Resource)]
        assert {kind.plural for kind in kinds} == resources.PLURALS

    def test_a_request_without_a_response_is_reported_with_status_zero(self) -> None:
        seen: list[int] = []
        call(
            lambda c: c.create(PODS, "shop", {}),
            cut(),
            on_request=lambda v, r, code, s: seen.append(code),
        )
        assert seen == [0]

    @in_virtual_time
    async def test_requests_wait_for_the_limiter_and_leases_do_not(self) -> None:
        limiter = RateLimiter(qps=1, burst=1, clock=virtual_clock())
        transport = ScriptedTransport([refusal(404)] * 6)
        client = Client(transport, clock=virtual_clock(), rng=LoadedRandom(), limiter=limiter)
        await asyncio.gather(
            *(client.get(PODS, "shop", "x") for _ in range(4)), client.get(LEASES, "ops", "y")
        )
        assert virtual_clock().monotonic() == pytest.approx(4)
        paths = [request.path.rpartition("/")[2] for request in transport.requests]
        assert paths == ["x", "y", "x", "x", "x"]
