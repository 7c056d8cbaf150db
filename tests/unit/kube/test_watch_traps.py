"""Streams with unusual content: the watch continues, or starts again with a list."""

from __future__ import annotations

import pytest

from spotalis.kube.watch import (
    WatchProblem,
)
from spotalis.model.transport import Response, TransportError
from tests.support.api_objects import (
    a_bookmark,
    a_pod,
    event,
)
from tests.support.scripted_transport import Answer, Stream
from tests.unit.kube.watching import (
    LISTED,
    added,
    end_of_list,
    follow,
    in_stream,
    listed,
    modified,
    refusal,
)


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
        assert recording.problems[0] is WatchProblem.MALFORMED
        assert recording.changed[2:] == [("~", "one")]

    def test_a_stream_cut_in_mid_line(self) -> None:
        half = modified("one", 11)[:100]
        recording = follow(
            Stream([*LISTED[:3], half, TransportError("cut")]), Stream([modified("one", 11), 1.0])
        )
        assert recording.changed[2:] == [("~", "one")]
        assert recording.problems[0] is WatchProblem.DISCONNECTED
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
        assert recording.problems[0] is WatchProblem.MALFORMED
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
        assert recording.problems[0] is WatchProblem.DISCONNECTED
        assert recording.kinds()[:3] == ["S", "W", "S"]
        assert recording.changed[2:] == []

    def test_a_stream_that_breaks_after_less(self) -> None:
        cut = Stream([50.0, TransportError("reset")])
        recording = follow(listed(), cut, Stream([]))
        assert recording.problems[0] is WatchProblem.DISCONNECTED
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
        assert recording.problems[0] is WatchProblem.REJECTED
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
