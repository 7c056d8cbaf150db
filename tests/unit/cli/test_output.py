"""Tables, bars, colors and spans of time."""

from __future__ import annotations

import io

import pytest

from spotalis.cli.output import Style, duration, table


class Stream(io.StringIO):
    """A stream that may be a terminal, with an encoding."""

    def __init__(self, encoding: str = "utf-8", *, terminal: bool = False) -> None:
        super().__init__()
        self._encoding, self._terminal = encoding, terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


def test_columns_are_two_spaces_apart_and_lines_end_without_spaces() -> None:
    rows = [("deploy/api", "3/3", "Balanced"), ("sts/db", "10/2", "")]
    assert table(rows, headers=("NAME", "SPOT", "STATUS")).splitlines() == [
        "NAME        SPOT  STATUS",
        "deploy/api  3/3   Balanced",
        "sts/db      10/2",
    ]


@pytest.mark.parametrize(
    ("environment", "terminal", "flag", "colored"),
    [
        ({}, True, "auto", True),
        ({}, False, "auto", False),
        ({"NO_COLOR": "1"}, True, "auto", False),
        ({"FORCE_COLOR": "1"}, False, "auto", True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, "auto", False),
        ({"TERM": "dumb"}, True, "auto", False),
        ({"NO_COLOR": "1"}, False, "always", True),
        ({"FORCE_COLOR": "1"}, True, "never", False),
    ],
)
def test_colors_follow_the_flag_then_the_environment_then_the_terminal(
    environment: dict[str, str], terminal: bool, flag: str, colored: bool
) -> None:
    style = Style.of(Stream(terminal=terminal), environment, color=flag)
    assert (style.paint("x", "red") != "x") is colored


@pytest.mark.parametrize(
    ("counts", "bar"),
    [
        ((3, 7, 0), "###~~~~~~~"),
        ((0, 0, 4), "...."),
        ((2, 2, 1), "##~~."),
        ((300, 700, 0), "#" * 6 + "~" * 14),
        ((1, 999, 0), "#" + "~" * 19),
        ((0, 0, 0), ""),
    ],
)
def test_a_bar_has_a_cell_per_replica_and_at_most_20(
    counts: tuple[int, int, int], bar: str
) -> None:
    assert Style(ascii=True).bar(*counts) == bar


def test_a_terminal_without_unicode_gets_ascii() -> None:
    assert Style.of(Stream("ascii"), {}).bar(1, 1) == "#~"
    assert Style.of(Stream(), {}).bar(1, 1) == "█▒"
    assert Style.of(Stream(), {}, ascii_only=True).bar(1, 1) == "#~"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (150, "2m30s"),
        (3600, "60m"),
        (3 * 3600, "3h"),
        (50 * 3600, "2d"),
        (800 * 86400, "2y"),
    ],
)
def test_spans_are_written_as_kubectl_writes_ages(seconds: int, text: str) -> None:
    assert duration(seconds) == text
