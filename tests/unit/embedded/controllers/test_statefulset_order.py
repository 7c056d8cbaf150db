"""What a StatefulSet does next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spotalis.embedded.controllers.statefulset_order import Member, Step, Wanted, next_step

ORDERED = Wanted(replicas=3, current="new", update="new")
PARALLEL = replace(ORDERED, ordered=False)


def up(ordinal: int, revision: str = "new") -> Member:
    return Member(ordinal=ordinal, revision=revision)


def down(ordinal: int, revision: str = "new") -> Member:
    return Member(ordinal=ordinal, revision=revision, ready=False, available=False)


def ending(ordinal: int, revision: str = "new") -> Member:
    return Member(ordinal=ordinal, revision=revision, terminating=True)


def failed(ordinal: int) -> Member:
    return Member(ordinal=ordinal, revision="new", ready=False, available=False, finished=True)


def made(*ordinals: int, revision: str = "new") -> Step:
    return Step(create=tuple((ordinal, revision) for ordinal in ordinals))


def gone(*ordinals: int) -> Step:
    return Step(delete=ordinals)


UPDATING = replace(ORDERED, current="old")


@pytest.mark.parametrize(
    ("wanted", "members", "step"),
    [
        pytest.param(ORDERED, [], made(0), id="the first comes alone"),
        pytest.param(ORDERED, [down(0)], Step(), id="the second waits for the first"),
        pytest.param(ORDERED, [up(0)], made(1), id="and comes when it is ready"),
        pytest.param(
            ORDERED,
            [Member(ordinal=0, revision="new", available=False)],
            Step(),
            id="ready is not yet available",
        ),
        pytest.param(ORDERED, [up(0), up(2)], made(1), id="a gap is filled"),
        pytest.param(
            ORDERED, [up(0), ending(1), up(2)], Step(), id="a terminating one is waited for"
        ),
        pytest.param(ORDERED, [up(0), failed(1), up(2)], gone(1), id="a failed one is deleted"),
        pytest.param(
            replace(ORDERED, start=5), [up(5), up(6)], made(7), id="ordinals may start later"
        ),
        pytest.param(
            ORDERED, [up(0), up(1), up(2), up(3), up(4)], gone(4), id="the highest goes first"
        ),
        pytest.param(
            ORDERED,
            [up(0), up(1), up(2), up(3), ending(4)],
            Step(),
            id="and the next when it is gone",
        ),
        pytest.param(
            ORDERED,
            [up(0), down(1), up(2), up(3)],
            Step(),
            id="nothing goes while a staying one is unready",
        ),
        pytest.param(
            ORDERED,
            [up(0), up(1), up(2), down(3), up(4)],
            gone(4),
            id="a healthy highest goes though a lower condemned one is unready",
        ),
        pytest.param(
            ORDERED,
            [up(0), up(1), up(2), down(3), down(4)],
            Step(),
            id="of two unready condemned ones the lower is waited for",
        ),
        pytest.param(
            ORDERED,
            [up(0), up(1), up(2), up(3), down(4)],
            gone(4),
            id="the only unready condemned one may go",
        ),
        pytest.param(PARALLEL, [], made(0, 1, 2), id="in parallel all come"),
        pytest.param(
            PARALLEL,
            [down(0), up(3), down(4)],
            Step(create=((1, "new"), (2, "new")), delete=(4, 3)),
            id="in parallel all come and go at once",
        ),
        pytest.param(
            UPDATING, [up(0, "old"), up(1, "old"), up(2, "old")], gone(2), id="updated from the top"
        ),
        pytest.param(
            UPDATING, [up(0, "old"), up(1, "old")], made(2), id="and comes back with the update"
        ),
        pytest.param(UPDATING, [up(0, "old"), up(1, "old"), down(2)], Step(), id="then waited for"),
        pytest.param(UPDATING, [up(0, "old"), up(1, "old"), up(2)], gone(1), id="then the next"),
        pytest.param(
            replace(UPDATING, partition=2),
            [up(0, "old"), up(1, "old"), up(2)],
            Step(),
            id="the partition keeps the old revision",
        ),
        pytest.param(
            replace(UPDATING, partition=2),
            [up(0, "old")],
            made(1, revision="old"),
            id="and is given it",
        ),
        pytest.param(
            replace(UPDATING, rolling=False),
            [up(0, "old"), up(1, "old"), up(2, "old")],
            Step(),
            id="on delete nothing is updated by itself",
        ),
        pytest.param(
            replace(UPDATING, rolling=False),
            [up(0, "old"), up(2, "old")],
            made(1),
            id="on delete what is made anew is updated",
        ),
        pytest.param(
            replace(UPDATING, ordered=False),
            [up(0, "old"), up(1, "old"), up(2, "old")],
            gone(2),
            id="parallel sets too are updated one at a time",
        ),
        pytest.param(
            replace(UPDATING, ordered=False, replicas=4),
            [up(0, "old"), up(1, "old"), up(2, "old")],
            made(3),
            id="and not while a new one is unavailable",
        ),
    ],
)
def test_the_next_step(wanted: Wanted, members: list[Member], step: Step) -> None:
    assert next_step(wanted, members) == step
