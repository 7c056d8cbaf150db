from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from spotalis.kube.client import Client
from spotalis.kube.resources import PODS
from spotalis.kube.store import Store, StoreChange, StoreWriter
from spotalis.kube.watch import (
    Relist,
    WatchOptions,
    WatchProblem,
    WatchReport,
    reflect,
    watch_object,
)
from spotalis.model.objects import Pod
from spotalis.model.transport import Request, Response, TransportError
from tests.support.api_objects import (
    a_bookmark,
    a_list,
    a_pod,
    a_status,
    event,
    text,
)
from tests.support.loaded_rng import LoadedRandom
from tests.support.scripted_transport import Answer, ScriptedTransport, Stream
from tests.support.virtual_time import run_in_virtual_time, virtual_clock


@dataclass
class Recording:
    """A reflector, the script of its server, and the results."""

    transport: ScriptedTransport
    store: Store[Pod] = field(default_factory=Store)
    changes: list[StoreChange[Pod]] = field(default_factory=list)
    relists: list[Relist[Pod]] = field(default_factory=list)
    reports: list[WatchReport] = field(default_factory=list)
    seconds: float = 0.0
    """When the script was used up."""

    @property
    def requests(self) -> list[Request]:
        return self.transport.requests

    @property
    def names(self) -> set[str]:
        return {pod.name for pod in self.store}

    @property
    def problems(self) -> list[WatchProblem]:
        return [report.problem for report in self.reports]

    @property
    def changed(self) -> list[tuple[str, str]]:
        """The changes as (sign, name)."""
        return [
            ("-", change.old.name)
            if change.new is None and change.old is not None
            else ("+" if change.old is None else "~", change.new.name if change.new else "")
            for change in self.changes
        ]

    def kinds(self) -> list[str]:
        """The requests in short: S for a streamed list, L for a list, W for a watch."""
        return ["S" if asks_for_list(r) else "W" if is_watch(r) else "L" for r in self.requests]


def is_watch(request: Request) -> bool:
    return ("watch", "true") in request.query


def asks_for_list(request: Request) -> bool:
    return ("sendInitialEvents", "true") in request.query


def follow(*answers: Answer, until: float | None = None, **options: Any) -> Recording:
    """Reflect until the script is used up, or for some seconds."""

    async def run() -> Recording:
        recording = Recording(ScriptedTransport([*answers]))
        task = start(recording, **options)
        if until is None:
            await recording.transport.used_up.wait()
        else:
            await asyncio.wait([task], timeout=until)
        recording.seconds = virtual_clock().monotonic()
        await stop(task)
        return recording

    return run_in_virtual_time(run())


def start(recording: Recording, **options: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(
        reflect(
            Client(recording.transport, clock=virtual_clock(), rng=LoadedRandom()),
            PODS,
            StoreWriter(recording.store),
            on_change=recording.changes.append,
            on_relist=recording.relists.append,
            options=WatchOptions(**options),
            on_report=recording.reports.append,
        )
    )


async def stop(task: asyncio.Task[Any]) -> None:
    assert not task.done(), "the task must run forever"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def added(name: str, version: int) -> bytes:
    return event("ADDED", a_pod(name, version=version))


def modified(name: str, version: int) -> bytes:
    return event("MODIFIED", a_pod(name, version=version))


def deleted(name: str, version: int) -> bytes:
    return event("DELETED", a_pod(name, version=version))


def end_of_list(version: int) -> bytes:
    return a_bookmark(version, ends_list=True)


def in_stream(code: int, reason: str = "", **fields: Any) -> bytes:
    return event("ERROR", a_status(code, reason, **fields))


def refusal(code: int, reason: str = "", **fields: Any) -> Response:
    return Response(status=code, body=text(a_status(code, reason, **fields)))


def a_page(*names: str, version: int = 10, continue_: str = "") -> Response:
    pods = [a_pod(name, version=version) for name in names]
    return Response(status=200, body=text(a_list(pods, version, continue_)))


LISTED = Stream([added("one", 1), added("two", 2), end_of_list(10), 60.0])
"""A streamed list that ends after a minute at version 10."""


def listed() -> Stream:
    return Stream(LISTED)


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


class TestTraps:
    @pytest.mark.parametrize("separator", ["\u0085", "\u2028", "\x1c"])
    def test_a_line_separator_of_unicode_inside_an_annotation(self, separator: str) -> None:
        pod = a_pod("one", version=11, annotations={"note": f"a{separator}b"})
        recording = follow(Stream([*LISTED[:3], event("MODIFIED", pod), 1.0]))
        assert recording.changed[2:] == [("~", "one")]

    def test_a_bookmark_with_nulls(self) -> None:
        recording = follow(Stream([*LISTED[:3], a_bookmark(30), 1.0]))
        assert dict(recording.requests[-1].query)["resourceVersion"] == "30"
        assert WatchProblem.UNDECODABLE not in recording.problems

    def test_an_event_of_300_kb_in_pieces(self) -> None:
        line = event("MODIFIED", a_pod("one", version=11, annotations={"big": "x" * 300_000}))
        pieces = [line[at : at + 7_001] for at in range(0, len(line), 7_001)]
        recording = follow(Stream([*LISTED[:3], *pieces, 1.0]))
        assert recording.changed[2:] == [("~", "one")]

    def test_a_line_that_never_ends(self) -> None:
        recording = follow(
            Stream([*LISTED[:3], *[b"x" * 1000] * 20]),
            Stream([modified("one", 11)]),
            line_bytes=9000,
        )
        assert recording.problems[0] is WatchProblem.GARBLED
        assert recording.changed[2:] == [("~", "one")]

    def test_a_stream_cut_in_mid_line(self) -> None:
        half = modified("one", 11)[:100]
        recording = follow(
            Stream([*LISTED[:3], half, TransportError("cut")]), Stream([modified("one", 11), 1.0])
        )
        assert recording.changed[2:] == [("~", "one")]
        assert recording.problems[0] is WatchProblem.CUT
        assert dict(recording.requests[1].query)["resourceVersion"] == "10"

    def test_a_stream_that_ends_in_mid_line(self) -> None:
        recording = follow(
            Stream([*LISTED[:3], modified("one", 11)[:100], 60.0]), Stream([modified("one", 11)])
        )
        assert recording.changed[2:] == [("~", "one")]

    @pytest.mark.parametrize(
        "garbage", [b"<html>\n", b"\xff\xfe\n", b"{}\n", b"\n", b'{"type":7}\n']
    )
    def test_a_malformed_event_restarts_only_the_stream(self, garbage: bytes) -> None:
        recording = follow(
            Stream([*LISTED[:3], garbage, modified("two", 99)]), Stream([modified("one", 11)])
        )
        assert recording.problems[0] is WatchProblem.GARBLED
        assert recording.changed[2:] == [("~", "one")]
        assert dict(recording.requests[1].query)["resourceVersion"] == "10"

    def test_text_that_is_not_utf8_costs_one_object(self) -> None:
        line = event("MODIFIED", a_pod("one", version=11, labels={"a": "@"})).replace(b"@", b"\xff")
        recording = follow(Stream([*LISTED[:3], line, modified("two", 12), 1.0]))
        assert recording.changed[2:] == [("~", "two")]

    @pytest.mark.parametrize("spoke", [[], [a_bookmark(20)]], ids=["never spoke", "spoke"])
    def test_a_silent_stream_is_followed_by_a_list(self, spoke: list[bytes]) -> None:
        """An API server sends a bookmark only of a version that is newer than the stream's."""
        silent = Stream([*spoke, 64.0, TransportError("silent for 64 s")])
        recording = follow(listed(), silent, listed())
        assert recording.problems[0] is WatchProblem.CUT
        assert recording.kinds()[:3] == ["S", "W", "S"]
        assert recording.changed[2:] == []

    def test_a_stream_that_breaks_after_less(self) -> None:
        cut = Stream([50.0, TransportError("reset")])
        recording = follow(listed(), cut, Stream([]))
        assert recording.problems[0] is WatchProblem.CUT
        assert recording.kinds()[:3] == ["S", "W", "W"]

    @pytest.mark.parametrize(
        "expired",
        [
            Stream([in_stream(410, "Expired")]),
            Stream([in_stream(410, "Gone")]),
            refusal(410, "Expired"),
            refusal(410, "Gone"),
            Response(status=410, body=b""),
        ],
        ids=["in stream, Expired", "in stream, Gone", "status, Expired", "status, Gone", "bare"],
    )
    def test_410_relists_and_reports_vanished_objects(self, expired: Answer) -> None:
        again = Stream([added("two", 2), added("three", 15), end_of_list(20), 60.0])
        recording = follow(listed(), expired, again)
        assert recording.kinds()[:3] == ["S", "W", "S"]
        assert recording.names == {"two", "three"}
        assert recording.changed[2:] == [("+", "three"), ("-", "one")]
        assert WatchProblem.EXPIRED in recording.problems
        relist = recording.relists[1]
        assert (relist.added, relist.changed, relist.is_first) == (1, 0, False)
        assert [pod.name for pod in relist.vanished] == ["one"]

    def test_a_version_too_large_for_a_lagging_server_relists(self) -> None:
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        recording = follow(listed(), refusal(504, "Timeout", causes=[cause]), listed())
        assert recording.kinds()[:3] == ["S", "W", "S"]

    def test_an_error_inside_the_stream_other_than_410(self) -> None:
        recording = follow(Stream([*LISTED[:3], in_stream(500, "InternalError")]), Stream([]))
        assert recording.problems[0] is WatchProblem.REFUSED
        assert dict(recording.requests[1].query)["resourceVersion"] == "10"

    def test_a_version_whose_streams_always_close_at_once_relists(self) -> None:
        """Row 7: no 410 ever comes, only an empty stream."""
        recording = follow(listed(), Stream([]), Stream([]), Stream([]), listed())
        assert recording.kinds()[:5] == ["S", "W", "W", "W", "S"]
        assert recording.problems[:3] == [
            WatchProblem.CLOSED,
            WatchProblem.CLOSED,
            WatchProblem.STALLED,
        ]

    def test_a_server_that_refuses_connections_for_long_costs_no_relist(self) -> None:
        away = TransportError("connection refused", maybe_sent=False)
        recording = follow(listed(), *[away] * 10, Stream([modified("one", 11)]))
        assert recording.kinds() == ["S", *["W"] * 12]
        assert recording.changed[2:] == [("~", "one")]

    def test_a_bookmark_changes_no_object(self) -> None:
        """Row 9: it may run ahead of events that are still to come."""
        recording = follow(Stream([*LISTED[:3], a_bookmark(50), modified("one", 40), 1.0]))
        assert recording.changed[2:] == [("~", "one")]


class TestRelists:
    def test_an_undecodable_object_in_a_relist_is_kept(self) -> None:
        odd = event("ADDED", a_pod("one", version=12, labels={"a": 1}))
        recording = follow(
            listed(), refusal(410), Stream([odd, added("two", 2), end_of_list(20), 60.0])
        )
        assert recording.names == {"one", "two"}
        assert recording.relists[1].vanished == ()

    def test_an_empty_relist_is_reported_before_its_losses(self) -> None:
        """Row 12: a listener must be able to distrust the list before the changes arrive."""
        order: list[str] = []

        async def run() -> None:
            script: list[Answer] = [listed(), refusal(410), Stream([end_of_list(20), 60.0])]
            transport = ScriptedTransport(script)
            client = Client(transport, clock=virtual_clock(), rng=LoadedRandom())
            task = asyncio.ensure_future(
                reflect(
                    client,
                    PODS,
                    StoreWriter(Store()),
                    on_change=lambda change: order.append("change"),
                    on_relist=lambda relist: order.append(f"{len(relist.vanished)} vanished"),
                )
            )
            await transport.used_up.wait()
            await stop(task)

        run_in_virtual_time(run())
        assert order == ["change", "change", "0 vanished", "2 vanished", "change", "change"]

    def test_relists_happen_periodically(self) -> None:
        """Row 8: a DELETED event may have been lost."""
        recording = follow(
            Stream([*LISTED[:3], 400.0]),
            Stream([a_bookmark(11), 400.0]),
            Stream([added("two", 2), end_of_list(20), 60.0]),
            relist_seconds=600,
        )
        assert recording.kinds()[:3] == ["S", "W", "S"]
        assert recording.changed[2:] == [("-", "one")]

    def test_a_list_older_than_known_events_is_rejected(self) -> None:
        """Row 3: a lagging server after a reconnect."""
        old = Stream([added("one", 1), end_of_list(5), 60.0])
        new = Stream([added("two", 12), end_of_list(20), 60.0])
        recording = follow(listed(), refusal(410), old, new)
        assert WatchProblem.BACK_IN_TIME in recording.problems
        assert [len(relist.vanished) for relist in recording.relists] == [0, 1]
        assert recording.names == {"two"}

    def test_a_server_restored_from_a_backup_is_accepted_eventually(self) -> None:
        restored = [Stream([added("one", 1), end_of_list(5), 60.0]) for _ in range(4)]
        recording = follow(listed(), refusal(410), *restored, believe_after=3)
        assert recording.problems.count(WatchProblem.BACK_IN_TIME) == 3
        assert recording.names == {"one"}
        assert dict(recording.requests[-1].query)["resourceVersion"] == "5"


class TestPatience:
    @pytest.mark.parametrize(
        "trouble",
        [
            refusal(401, "Unauthorized"),
            refusal(403, "Forbidden"),
            refusal(500),
            refusal(503),
            TransportError("connection refused", maybe_sent=False),
            TransportError("timed out"),
        ],
        ids=["401", "403", "500", "503", "refused", "timed out"],
    )
    def test_failures_are_retried_forever_with_delays_up_to_30_s(self, trouble: Answer) -> None:
        recording = follow(*[trouble] * 12, listed())
        assert recording.names == {"one", "two"}
        delays = [report.retry_seconds for report in recording.reports]
        assert delays == sorted(delays)
        assert 0.8 <= delays[0] <= 1.6
        assert 15 <= delays[-1] <= 30

    def test_retry_after_delays_the_next_attempt(self) -> None:
        recording = follow(refusal(429, "TooManyRequests", retry_after_seconds=45), listed())
        assert recording.reports[0].retry_seconds == 45
        assert recording.seconds == 45 + 60

    def test_retry_after_is_bounded(self) -> None:
        recording = follow(refusal(503, retry_after_seconds=86_400), listed())
        assert recording.seconds == 300 + 60

    def test_the_time_of_an_attempt_counts_as_waiting(self) -> None:
        """Or a view that came back in the worst moment would stay old for 30 s longer (L4)."""
        hung = [Stream([64.0, TransportError("no answer", maybe_sent=False)]) for _ in range(8)]
        recording = follow(listed(), *hung)
        assert [round(report.retry_seconds, 3) for report in recording.reports] == [0.8] * 8
        assert recording.kinds() == ["S"] + ["W"] * 9

    def test_a_success_resets_the_delay(self) -> None:
        away = TransportError("refused", maybe_sent=False)
        recording = follow(*[away] * 6, listed(), away)
        assert recording.reports[5].retry_seconds > 10
        assert recording.reports[6].retry_seconds < 2

    def test_streams_that_end_at_once_are_retried_with_delays(self) -> None:
        streams = [Stream([modified("one", 11 + n)]) for n in range(20)]
        recording = follow(listed(), *streams)
        assert recording.seconds > 60 + 20 * 0.8


class TestSignsOfLife:
    def fresh_at(self, *answers: Answer, until: float) -> float:
        return follow(*answers, until=until).store.fresh_at

    def test_every_event_and_bookmark_refreshes_the_store(self) -> None:
        stream = Stream([*LISTED[:3], 30.0, modified("one", 11), 30.0, a_bookmark(20), 300.0])
        assert self.fresh_at(Stream(stream), until=20) == 0
        assert self.fresh_at(Stream(stream), until=40) == 30
        assert self.fresh_at(Stream(stream), until=70) == 60

    def test_silence_does_not_refresh_the_store(self) -> None:
        """Row 1: dead, and no one says so."""
        assert self.fresh_at(Stream([*LISTED[:3], 500.0]), until=400) == 0

    def test_a_relist_in_progress_does_not_refresh_the_store(self) -> None:
        relist = Stream([step for n in range(50) for step in (added(f"p{n}", 20 + n), 1.0)])
        assert self.fresh_at(listed(), refusal(410), relist, until=100) == 0

    def test_the_store_is_not_fresh_before_the_first_list(self) -> None:
        assert self.fresh_at(Stream([added("one", 1), 9.0]), until=5) == float("-inf")


def test_an_exception_of_a_listener_is_not_retried() -> None:
    async def run() -> None:
        def stumble(change: StoreChange[Pod]) -> None:
            raise ValueError("a bug")

        transport = ScriptedTransport([listed()])
        client = Client(transport, clock=virtual_clock(), rng=LoadedRandom())
        writer: StoreWriter[Pod] = StoreWriter(Store())
        await reflect(
            client,
            PODS,
            writer,
            on_change=stumble,
        )

    with pytest.raises(ValueError, match="a bug"):
        run_in_virtual_time(run())


def test_cancelling_closes_the_stream() -> None:
    recording = follow(listed(), Stream([1000.0]), until=100)
    assert recording.transport.closed_streams == 2


def test_an_abandoned_stream_is_closed() -> None:
    garbled = Stream([*LISTED[:3], b"x\n", 1000.0])
    recording = follow(garbled, Stream([]), until=2)
    assert recording.transport.closed_streams >= 1


class TestWatchingOneObject:
    def seen(self, *answers: Answer) -> tuple[list[str | None], Request]:
        """The versions that are passed on, and the first request."""
        versions: list[str | None] = []

        async def run() -> Request:
            transport = ScriptedTransport([*answers])
            task = asyncio.ensure_future(
                watch_object(
                    Client(transport, clock=virtual_clock(), rng=LoadedRandom()),
                    PODS,
                    "shop",
                    "one",
                    on_object=lambda pod: versions.append(pod.resource_version if pod else None),
                )
            )
            await transport.used_up.wait()
            await stop(task)
            return transport.requests[0]

        return versions, run_in_virtual_time(run())

    def test_the_watch_selects_the_object_by_name(self) -> None:
        _, request = self.seen(Stream([]))
        assert request.path == "/api/v1/namespaces/shop/pods"
        assert ("fieldSelector", "metadata.name=one") in request.query

    def test_every_change_and_the_deletion_are_passed_on(self) -> None:
        changes = [modified("one", 3), deleted("one", 4), added("one", 5)]
        versions, _ = self.seen(Stream([added("one", 1), end_of_list(2), *changes]))
        assert versions == ["1", "1", "3", None, "5"]

    def test_an_object_that_does_not_exist_is_none(self) -> None:
        assert self.seen(Stream([end_of_list(2)]))[0] == [None]

    def test_a_deletion_that_the_watch_missed_is_passed_on(self) -> None:
        first, second = Stream([added("one", 1), end_of_list(2)]), Stream([end_of_list(9)])
        versions, _ = self.seen(first, Stream([in_stream(410)]), second)
        assert versions[-1] is None
