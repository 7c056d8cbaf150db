"""The clock of the API server, as its responses show it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from spotalis.kube.server_clock import ServerClock
from spotalis.model.transport import Response
from tests.support.manual_clock import ManualClock

HOUR, NONE = timedelta(hours=1), timedelta(0)


@pytest.mark.parametrize(
    ("date", "skew"),
    [
        pytest.param("Mon, 23 Nov 2026 11:00:00 GMT", HOUR, id="an hour ahead"),
        pytest.param("Mon, 23 Nov 2026 09:00:00 GMT", -HOUR, id="an hour behind"),
        pytest.param("Mon, 23 Nov 2026 10:01:00 GMT", NONE, id="a minute ahead"),
        pytest.param("Mon, 23 Nov 2026 10:01:01 GMT", timedelta(seconds=61), id="61 s ahead"),
        pytest.param("yesterday", NONE, id="not a date"),
        pytest.param("", NONE, id="no date"),
    ],
)
def test_differences_of_more_than_a_minute_count(date: str, skew: timedelta) -> None:
    clock = ManualClock()
    server = ServerClock(clock)
    assert server.skew() == NONE
    server.observe(Response(status=200, headers={"date": date}))
    assert server.skew() == skew


def test_a_response_stays_valid_while_time_passes() -> None:
    clock = ManualClock()
    server = ServerClock(clock)
    server.observe(Response(status=200, headers={"date": "Mon, 23 Nov 2026 11:00:00 GMT"}))
    clock.advance(7200)
    server.observe(Response(status=503))
    assert server.skew() == HOUR
