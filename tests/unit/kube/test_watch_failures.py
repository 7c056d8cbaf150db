"""Relists, retries and their delays, silent streams, and the watch of one object."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.kube.client import Client
from spotalis.kube.resources import PODS
from spotalis.kube.store import Store, StoreChange, StoreWriter
from spotalis.kube.watch import (
    WatchProblem,
    reflect,
    watch_object,
)
from spotalis.model.objects import Pod
from spotalis.model.transport import Request, TransportError
from tests.support.api_objects import (
    a_bookmark,
    a_pod,
    event,
)
from tests.support.loaded_rng import LoadedRandom
from tests.support.scripted_transport import Answer, ScriptedTransport, Stream
from tests.support.virtual_time import run_in_virtual_time, virtual_clock
from tests.unit.kube.watching import (
    LISTED,
    added,
    deleted,
    end_of_list,
    follow,
    in_stream,
    listed,
    modified,
    refusal,
    stop,
)


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
        assert WatchProblem.OUTDATED_LIST in recording.problems
        assert [len(relist.vanished) for relist in recording.relists] == [0, 1]
        assert recording.names == {"two"}

    def test_a_server_restored_from_a_backup_is_accepted_eventually(self) -> None:
        restored = [Stream([added("one", 1), end_of_list(5), 60.0]) for _ in range(4)]
        recording = follow(listed(), refusal(410), *restored, believe_after=3)
        assert recording.problems.count(WatchProblem.OUTDATED_LIST) == 3
        assert recording.names == {"one"}
        assert dict(recording.requests[-1].query)["resourceVersion"] == "5"


class TestPatience:
    @pytest.mark.parametrize(
        "failure",
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
    def test_failures_are_retried_forever_with_delays_up_to_30_s(self, failure: Answer) -> None:
        recording = follow(*[failure] * 12, listed())
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
        return follow(*answers, until=until).store.fresh_in("")

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
