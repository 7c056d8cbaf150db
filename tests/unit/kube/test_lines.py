from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.kube.lines import LineSplitter, LineTooLong


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_the_lines_do_not_depend_on_the_chunks(data: bytes, cuts: list[int]) -> None:
    splitter = LineSplitter(limit=1000)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    lines = [line for start, end in pairwise(places) for line in splitter.feed(data[start:end])]
    assert lines == data.split(b"\n")[:-1]


@pytest.mark.parametrize("separator", ["\u0085", "\u2028", "\x0b", "\x0c", "\x1c", "\r"])
def test_a_line_ends_at_newline_and_nowhere_else(separator: str) -> None:
    line = f"one{separator}line".encode()
    assert LineSplitter(limit=100).feed(line + b"\n") == [line]


def test_a_line_beyond_the_limit_is_refused_before_it_fills_the_memory() -> None:
    splitter = LineSplitter(limit=10)
    assert splitter.feed(b"x" * 10) == []
    with pytest.raises(LineTooLong):
        splitter.feed(b"x")


def test_a_long_line_does_not_count_for_the_next_one() -> None:
    splitter = LineSplitter(limit=10)
    splitter.feed(b"x" * 8)
    assert splitter.feed(b"x\n") == [b"x" * 9]
    assert splitter.feed(b"y" * 10) == []
