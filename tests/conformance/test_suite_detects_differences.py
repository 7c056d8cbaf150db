"""The suite detects planted differences, at their place, and reports nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from spotalis.model.transport import Request, Response, Transport
from tests.conformance.clusters import run_on_embedded
from tests.conformance.differences import Known, resolved, unexpected
from tests.conformance.history import Difference, differences, normalized
from tests.conformance.random_scripts import a_random_script
from tests.conformance.scripts import ALONE, SCRIPTS

Alter = Callable[[Request, Any], Any]


@dataclass
class Altered:
    """A transport that alters responses and the events of watches."""

    under: Transport
    alter: Alter

    async def send(self, request: Request) -> Response:
        response = await self.under.send(request)
        body = self.alter(request, json.loads(response.body))
        return replace(response, body=json.dumps(body).encode())

    async def stream(self, request: Request) -> AsyncIterator[bytes]:
        async for chunk in self.under.stream(request):
            for line in chunk.splitlines():
                yield json.dumps(self.alter(request, json.loads(line))).encode() + b"\n"

    async def close(self) -> None:
        await self.under.close()


def differing_paths(script: str, alter: Alter) -> list[str]:
    """The paths at which the history of a script differs if responses are altered."""
    code = SCRIPTS[script]
    original = run_on_embedded(code, script)
    altered = run_on_embedded(code, script, wrap=lambda transport: Altered(transport, alter))
    return [f"{one.step} {one.path}" for one in differences(altered, original)]


def drop_causes_of_429(_: Request, body: Any) -> Any:
    if body.get("code") == 429:
        del body["details"]["causes"]
    return body


def send_deleted_instead_of_modified(_: Request, event: Any) -> Any:
    if event.get("type") == "MODIFIED":
        event["type"] = "DELETED"
    return event


def drop_the_end_of_the_list(_: Request, event: Any) -> Any:
    if event.get("type") == "BOOKMARK":
        event["object"]["metadata"].pop("annotations", None)
    return event


def keep_the_version(request: Request, body: Any) -> Any:
    if request.path.endswith("/configmaps/settings") and body.get("kind") == "ConfigMap":
        body["metadata"]["resourceVersion"] = "1001"
    return body


def use_one_uid(request: Request, body: Any) -> Any:
    if request.path.endswith("/configmaps") and body.get("kind") == "ConfigMap":
        body["metadata"]["uid"] = "00000000-0000-4000-8000-000000000001"
    return body


@pytest.mark.parametrize(
    ("script", "fault", "places"),
    [
        pytest.param(
            "budgets-a-budget-at-zero",
            drop_causes_of_429,
            ["0 body.details.causes", "3 body.details.causes"],
            id="a rejected eviction without its cause",
        ),
        pytest.param(
            "watches-from-a-version",
            send_deleted_instead_of_modified,
            ["0 events[0].type", "1 events[0].type"],
            id="a watch that sends DELETED instead of MODIFIED",
        ),
        pytest.param(
            "watches-bookmarks-of-streamed-lists",
            drop_the_end_of_the_list,
            [f"{step} events[0].object.metadata.annotations" for step in range(7)],
            id="a streamed list without its end",
        ),
        pytest.param(
            "writes-generated-names",
            use_one_uid,
            [f"{step} body.metadata.uid" for step in (1, 4, 5)],
            id="objects that share a UID",
        ),
    ],
)
def test_a_planted_difference_is_reported_at_its_path(
    script: str, fault: Alter, places: list[str]
) -> None:
    assert differing_paths(script, fault) == places


def test_a_version_that_does_not_change_is_reported() -> None:
    found = differing_paths("writes-optimistic-update", keep_the_version)
    # The overwritten version counts as the current one, so the update succeeds.
    assert found[:2] == ["3 body", "3 status"]


def test_random_scripts_detect_a_precondition_that_is_not_checked() -> None:
    """The requests are altered instead of the responses: deletions lose their preconditions."""

    class WithoutPreconditions(Altered):
        async def send(self, request: Request) -> Response:
            if request.method == "DELETE" and request.body:
                options = json.loads(request.body)
                options.pop("preconditions", None)
                request = replace(request, body=json.dumps(options).encode())
            return await self.under.send(request)

    different = [
        seed
        for seed in range(20)
        if run_on_embedded(a_random_script(seed), "random")
        != run_on_embedded(
            a_random_script(seed),
            "random",
            wrap=lambda under: WithoutPreconditions(under, lambda _, b: b),
        )
    ]
    assert len(different) >= 5


@pytest.mark.parametrize("script", [*SCRIPTS, *ALONE])
def test_two_runs_with_different_random_seeds_are_equal(script: str) -> None:
    """Generated values are not compared, and nothing else depends on the seed."""
    code = (SCRIPTS | ALONE)[script]
    first, second = (run_on_embedded(code, script, seed=seed) for seed in (1, 2))
    assert [str(found) for found in differences(first, second)] == []


def test_values_that_are_equal_in_two_places_must_be_equal_on_the_other_cluster() -> None:
    def history(first: str, second: str) -> list[dict[str, Any]]:
        return normalized([{"did": "x", "body": {"metadata": {"uid": u}}} for u in (first, second)])

    a, b = "0a0b0c0d-0000-4000-8000-00000000000a", "0a0b0c0d-0000-4000-8000-00000000000b"
    assert differences(history(a, b), history(b, a)) == []
    assert [one.path for one in differences(history(a, a), history(a, b))] == ["body.metadata.uid"]


def test_a_step_on_one_cluster_only_is_a_difference() -> None:
    assert len(differences([{"did": "a"}], [{"did": "a"}, {"did": "b"}])) == 1


def test_unknown_differences_and_resolved_entries_are_reported() -> None:
    on_list = Difference(0, "GET x", "body.message", "embedded", "real")
    elsewhere = replace(on_list, step=2)
    script = "server-invalid-bodies"
    assert unexpected(script, [on_list]) == []
    assert unexpected(script, [on_list, elsewhere]) != []
    assert unexpected("another-script", [on_list]) == [on_list]
    assert [one.script for one in resolved(script, [on_list])] == [script]
    assert resolved("another-script", []) == []


def test_brackets_in_a_pattern_are_literal() -> None:
    known = Known("s", (0,), "events[0].*", "")
    assert known.covers(Difference(0, "", "events[0].type", 1, 2))
    assert not known.covers(Difference(0, "", "events0.type", 1, 2))
