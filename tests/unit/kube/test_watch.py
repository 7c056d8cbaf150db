"""Lists and watches that keep a store current."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from spotalis.kube.client import Client
from spotalis.kube.resources import PODS
from spotalis.kube.store import Store, StoreChange, StoreWriter
from spotalis.kube.watch import (
    WatchProblem,
    reflect,
)
from spotalis.model.objects import Pod
from spotalis.model.transport import TransportError
from tests.support.api_objects import (
    a_bookmark,
    a_pod,
    event,
)
from tests.support.loaded_rng import LoadedRandom
from tests.support.scripted_transport import ScriptedTransport, Stream
from tests.support.virtual_time import run_in_virtual_time, virtual_clock
from tests.unit.kube.watching import (
    LISTED,
    Recording,
    a_page,
    added,
    deleted,
    end_of_list,
    follow,
    in_stream,
    listed,
    modified,
    refusal,
    start,
    stop,
)


class TestTheList:
    def test_is_streamed_if_the_server_supports_it(self) -> None:
        recording = follow(listed())
        assert recording.names == {"one", "two"}
        assert recording.store.synced
        assert recording.changed == [("+", "one"), ("+", "two")]
        assert recording.kinds() == ["S", "W"]
        assert recording.requests[0].path == "/api/v1/pods"

    def test_is_requested_with_the_parameters_of_the_api(self) -> None:
        """Booleans in lower case, and no version: what comes is never older than now."""
        query = dict(follow(listed()).requests[0].query)
        assert 300 <= int(query.pop("timeoutSeconds")) <= 600
        assert query == {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
        }

    def test_may_be_of_one_namespace(self) -> None:
        async def run() -> str:
            transport = ScriptedTransport([])
            client = Client(transport, clock=virtual_clock(), rng=LoadedRandom())
            task = asyncio.ensure_future(
                reflect(
                    client,
                    PODS,
                    StoreWriter(Store()),
                    namespace="shop",
                    on_change=lambda change: None,
                )
            )
            await transport.used_up.wait()
            await stop(task)
            return transport.requests[0].path

        assert run_in_virtual_time(run()) == "/api/v1/namespaces/shop/pods"

    def test_is_not_synced_before_its_end(self) -> None:
        recording = follow(Stream([added("one", 1), 5.0]), until=4)
        assert recording.names == {"one"}
        assert not recording.store.synced
        assert recording.relists == []

    def test_is_reported_as_a_whole_at_its_end(self) -> None:
        (relist,) = follow(listed()).relists
        assert (relist.added, relist.changed, relist.vanished) == (2, 0, ())
        assert (relist.total, relist.is_first) == (2, True)

    @pytest.mark.parametrize("status", [400, 422])
    def test_comes_in_pages_if_the_server_rejects_streamed_lists(self, status: int) -> None:
        recording = follow(
            refusal(status, "Invalid"),
            a_page("one", continue_="next"),
            a_page("two"),
            Stream([60.0]),
        )
        assert recording.names == {"one", "two"}
        assert recording.store.synced
        assert recording.kinds() == ["S", "L", "L", "W", "W"]
        assert recording.problems[0] is WatchProblem.NO_WATCH_LIST
        assert dict(recording.requests[3].query)["resourceVersion"] == "10"

    def test_comes_in_pages_if_the_server_ignores_streamed_lists(self) -> None:
        """An old server does not know the parameter, sends what is there and goes on watching."""
        recording = follow(
            Stream([added("one", 1), a_bookmark(10)]),
            a_page("one"),
            Stream([in_stream(410)]),
            a_page(),
        )
        assert recording.kinds() == ["S", "L", "W", "L", "W"]
        assert recording.problems[0] is WatchProblem.NO_WATCH_LIST

    def test_comes_in_pages_if_the_streamed_list_never_completes(self) -> None:
        pods = [step for n in range(99) for step in (added(f"pod-{n}", n + 1), 10.0)]
        recording = follow(Stream(pods), a_page("one"), until=200)
        assert recording.kinds() == ["S", "L", "W"]
        assert recording.store.synced

    @pytest.mark.parametrize(
        "end", [[], [TransportError("silent")], [b'{"type":']], ids=["ended", "cut", "in mid-line"]
    )
    def test_is_asked_for_in_pages_after_a_stream_that_broke(self, end: Sequence[Any]) -> None:
        recording = follow(Stream([added("one", 1), *end]), a_page("one", "two"))
        assert recording.kinds() == ["S", "L", "W"]
        assert recording.names == {"one", "two"}

    def test_begins_again_whole_when_the_pages_expire(self) -> None:
        recording = follow(
            a_page("one", continue_="next"),
            refusal(410, "Expired"),
            a_page("two"),
            watch_list=False,
        )
        assert recording.names == {"two"}
        assert recording.requests[2].query == ()
        assert recording.changed == [("+", "one"), ("+", "two"), ("-", "one")]

    def test_is_never_empty_because_it_failed(self) -> None:
        """Row 30: a list that has not come is not an empty one."""
        recording = follow(*[TransportError("refused", maybe_sent=False)] * 30, until=300)
        assert not recording.store.synced
        assert recording.relists == []

    def test_lets_other_tasks_run(self) -> None:
        async def run() -> int:
            pods = b"".join(added(f"pod-{n}", n + 1) for n in range(1000))
            recording = Recording(ScriptedTransport([Stream([pods, end_of_list(2000)])]))
            task = start(recording)
            turns = 0
            while not recording.store.synced:
                await asyncio.sleep(0)
                turns += 1
            await stop(task)
            return turns

        assert run_in_virtual_time(run()) >= 1000 / 25


class TestTheWatch:
    def test_keeps_the_store_equal(self) -> None:
        recording = follow(
            Stream([*LISTED[:3], modified("one", 11), added("three", 12), deleted("two", 13)])
        )
        assert recording.names == {"one", "three"}
        assert recording.changed[2:] == [("~", "one"), ("+", "three"), ("-", "two")]

    def test_resumes_where_it_ended(self) -> None:
        recording = follow(
            listed(), Stream([modified("one", 15), 60.0]), Stream([a_bookmark(20), 60.0])
        )
        versions = [dict(request.query).get("resourceVersion") for request in recording.requests]
        assert versions == [None, "10", "15", "20"]

    def test_is_not_delayed_after_a_clean_end(self) -> None:
        assert follow(listed()).seconds == 60

    def test_bounds_its_streams_and_their_silence(self) -> None:
        request = follow(listed()).requests[-1]
        assert request.timeout_seconds == 64
        assert 300 <= int(dict(request.query)["timeoutSeconds"]) <= 600

    def test_applies_a_duplicate_once(self) -> None:
        recording = follow(Stream([*LISTED[:3], modified("one", 11), modified("one", 11)]))
        assert recording.changed[2:] == [("~", "one")]

    def test_never_goes_back_in_time(self) -> None:
        recording = follow(Stream([*LISTED[:3], modified("one", 12), modified("one", 11), 1.0]))
        assert recording.changed[2:] == [("~", "one")]
        assert dict(recording.requests[-1].query)["resourceVersion"] == "12"

    def test_skips_and_reports_undecodable_objects(self) -> None:
        odd = event("MODIFIED", a_pod("one", version=11, labels={"a": 1}))
        recording = follow(Stream([*LISTED[:3], odd, modified("two", 12), 1.0]))
        assert recording.changed[2:] == [("~", "two")]
        assert recording.problems[0] is WatchProblem.UNDECODABLE
        assert "shop/one" in recording.reports[0].message

    def test_resumes_after_an_undecodable_object(self) -> None:
        odd = event("MODIFIED", a_pod("one", version=11, labels={"a": 1}))
        recording = follow(Stream([*LISTED[:3], odd, 1.0]))
        assert dict(recording.requests[-1].query)["resourceVersion"] == "11"

    def test_skips_objects_without_a_name(self) -> None:
        odd = event("MODIFIED", {"metadata": 7})
        recording = follow(Stream([*LISTED[:3], odd, modified("two", 12), 1.0]))
        assert recording.changed[2:] == [("~", "two")]

    def test_ignores_unknown_event_types(self) -> None:
        recording = follow(
            Stream([*LISTED[:3], event("RENAMED", a_pod()), modified("one", 11), 1.0])
        )
        assert recording.changed[2:] == [("~", "one")]

    def test_reports_each_change_after_applying_it(self) -> None:
        async def run() -> list[bool]:
            recording = Recording(ScriptedTransport([Stream([*LISTED[:3], deleted("one", 11)])]))
            seen: list[bool] = []

            def look(change: StoreChange[Pod]) -> None:
                pod = change.new or change.old
                assert pod is not None
                seen.append(recording.store.get("shop", pod.name) is change.new)

            client = Client(recording.transport, clock=virtual_clock(), rng=LoadedRandom())
            writer = StoreWriter(recording.store)
            task = asyncio.ensure_future(
                reflect(
                    client,
                    PODS,
                    writer,
                    on_change=look,
                )
            )
            await recording.transport.used_up.wait()
            await stop(task)
            return seen

        assert run_in_virtual_time(run()) == [True, True, True]


@pytest.mark.parametrize(("size", "events_per_turn"), [(10, 25), (100_000, 4), (500_000, 1)])
def test_other_tasks_run_after_a_slice_of_events_or_after_a_few_large_ones(
    size: int, events_per_turn: int
) -> None:
    async def run() -> list[int]:
        note = {"note": "x" * size}
        lines = [event("ADDED", a_pod(f"p{n}", version=n, annotations=note)) for n in range(50)]
        recording = Recording(ScriptedTransport([Stream([b"".join(lines), 60.0])]))
        task = start(recording)
        seen = [0]
        while seen[-1] < 50:
            await asyncio.sleep(0)
            if len(recording.changes) > seen[-1]:
                seen.append(len(recording.changes))
        await stop(task)
        return seen

    seen = run_in_virtual_time(run())
    assert max(after - before for before, after in pairwise(seen)) == events_per_turn
