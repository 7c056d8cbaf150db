"""The suite is alive: what differs is found, at its place, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from spotalis.model.transport import Request, Response, Transport
from tests.conformance.beds import on_embedded
from tests.conformance.differences import Known, outlived, unknown
from tests.conformance.history import Difference, differences, normalised
from tests.conformance.random_scripts import a_random_script
from tests.conformance.scripts import ALONE, SCRIPTS

Alter = Callable[[Request, Any], Any]


@dataclass
class Altered:
    """A transport whose answers pass through a fault; watches, line by line."""

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


def told(script: str, alter: Alter) -> list[str]:
    """The places at which a script's history with a fault differs from the one without."""
    play = SCRIPTS[script]
    sound = on_embedded(play, script)
    faulty = on_embedded(play, script, wrap=lambda transport: Altered(transport, alter))
    return [f"{one.step} {one.path}" for one in differences(faulty, sound)]


def forgets_to_say_when_to_retry(_: Request, body: Any) -> Any:
    if body.get("code") == 429:
        del body["details"]["causes"]
    return body


def says_deleted_for_modified(_: Request, event: Any) -> Any:
    if event.get("type") == "MODIFIED":
        event["type"] = "DELETED"
    return event


def does_not_say_that_the_list_ends(_: Request, event: Any) -> Any:
    if event.get("type") == "BOOKMARK":
        event["object"]["metadata"].pop("annotations", None)
    return event


def never_changes_the_version(request: Request, body: Any) -> Any:
    if request.path.endswith("/configmaps/settings") and body.get("kind") == "ConfigMap":
        body["metadata"]["resourceVersion"] = "1001"
    return body


def gives_one_uid_to_all(request: Request, body: Any) -> Any:
    if request.path.endswith("/configmaps") and body.get("kind") == "ConfigMap":
        body["metadata"]["uid"] = "00000000-0000-4000-8000-000000000001"
    return body


@pytest.mark.parametrize(
    ("script", "fault", "places"),
    [
        pytest.param(
            "budgets-a-budget-at-zero",
            forgets_to_say_when_to_retry,
            ["0 body.details.causes", "3 body.details.causes"],
            id="an eviction that is refused without its cause",
        ),
        pytest.param(
            "watches-from-a-version",
            says_deleted_for_modified,
            ["0 events[0].type", "1 events[0].type"],
            id="a watch that says DELETED for MODIFIED",
        ),
        pytest.param(
            "watches-zero-values-in-bookmarks",
            does_not_say_that_the_list_ends,
            [f"{step} events[0].object.metadata.annotations" for step in range(8)],
            id="a streamed list without its end",
        ),
        pytest.param(
            "writes-generated-names",
            gives_one_uid_to_all,
            [f"{step} body.metadata.uid" for step in (1, 4, 5)],
            id="objects that share a UID",
        ),
    ],
)
def test_a_planted_difference_is_found_at_its_place(
    script: str, fault: Alter, places: list[str]
) -> None:
    assert told(script, fault) == places


def test_a_version_that_stands_still_is_found() -> None:
    found = told("writes-optimistic-update", never_changes_the_version)
    # The version that was overwritten passes for the current one: the update is not refused.
    assert found[:2] == ["3 body", "3 status"]


def test_random_scripts_find_a_precondition_that_is_not_checked() -> None:
    """A fault in what is asked, not in what is answered: deletions lose their preconditions."""

    class Careless(Altered):
        async def send(self, request: Request) -> Response:
            if request.method == "DELETE" and request.body:
                options = json.loads(request.body)
                options.pop("preconditions", None)
                request = replace(request, body=json.dumps(options).encode())
            return await self.under.send(request)

    different = [
        seed
        for seed in range(20)
        if on_embedded(a_random_script(seed), "random")
        != on_embedded(
            a_random_script(seed), "random", wrap=lambda under: Careless(under, lambda _, b: b)
        )
    ]
    assert len(different) >= 5


@pytest.mark.parametrize("script", [*SCRIPTS, *ALONE])
def test_nothing_differs_between_two_runs_with_other_dice(script: str) -> None:
    """Names, UIDs and times are not compared; everything that is compared is no chance."""
    play = (SCRIPTS | ALONE)[script]
    one, other = on_embedded(play, script, seed=1), on_embedded(play, script, seed=2)
    assert [str(found) for found in differences(one, other)] == []


def test_a_value_that_is_the_same_in_two_places_must_be_so_on_the_other_bed_too() -> None:
    def history(first: str, second: str) -> list[dict[str, Any]]:
        return normalised([{"did": "x", "body": {"metadata": {"uid": u}}} for u in (first, second)])

    a, b = "0a0b0c0d-0000-4000-8000-00000000000a", "0a0b0c0d-0000-4000-8000-00000000000b"
    assert differences(history(a, b), history(b, a)) == []
    assert [one.path for one in differences(history(a, a), history(a, b))] == ["body.metadata.uid"]


def test_a_step_that_only_one_bed_has_is_a_difference() -> None:
    assert len(differences([{"did": "a"}], [{"did": "a"}, {"did": "b"}])) == 1


def test_what_is_not_on_the_list_fails_and_so_does_what_no_longer_differs() -> None:
    on_list = Difference(0, "GET x", "body.message", "ours", "theirs")
    elsewhere = replace(on_list, step=2)
    script = "server-bodies-that-make-no-sense"
    assert unknown(script, [on_list]) == []
    assert unknown(script, [on_list, elsewhere]) != []
    assert unknown("another-script", [on_list]) == [on_list]
    assert [one.script for one in outlived(script, [on_list])] == [script]
    assert outlived("another-script", []) == []


def test_a_pattern_names_places_and_not_classes_of_characters() -> None:
    known = Known("s", (0,), "events[0].*", "")
    assert known.covers(Difference(0, "", "events[0].type", 1, 2))
    assert not known.covers(Difference(0, "", "events0.type", 1, 2))
