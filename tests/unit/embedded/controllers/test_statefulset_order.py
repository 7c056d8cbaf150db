"""The next step of a StatefulSet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spotalis.embedded.controllers.statefulset_order import Member, OrderSpec, Step, next_step

ORDERED = OrderSpec(replicas=3, current="new", update="new")
PARALLEL = replace(ORDERED, ordered=False)


def up(ordinal: int, revision: str = "new") -> Member:
    return Member(ordinal=ordinal, revision=revision)


def down(ordinal: int, revision: str = "new") -> Member:
    return Member(ordinal=ordinal, revision=revision, ready=False, available=False)


def terminating(ordinal: int, revision: str = "new") -> Member:
    return Member(ordinal=ordinal, revision=revision, terminating=True)


def failed(ordinal: int) -> Member:
    return Member(ordinal=ordinal, revision="new", ready=False, available=False, finished=True)


def create(*ordinals: int, revision: str = "new") -> Step:
    return Step(create=tuple((ordinal, revision) for ordinal in ordinals))


def delete(*ordinals: int) -> Step:
    return Step(delete=ordinals)


UPDATING = replace(ORDERED, current="old")


@pytest.mark.parametrize(
    ("spec", "members", "step"),
    [
        pytest.param(ORDERED, [], create(0), id="the first pod is created alone"),
        pytest.param(ORDERED, [down(0)], Step(), id="the second pod waits for the first"),
        pytest.param(
            ORDERED, [up(0)], create(1), id="the second pod is created when the first is ready"
        ),
        pytest.param(
            ORDERED,
            [Member(ordinal=0, revision="new", available=False)],
            Step(),
            id="a ready pod that is not available blocks",
        ),
        pytest.param(ORDERED, [up(0), up(2)], create(1), id="a missing ordinal is created"),
        pytest.param(
            ORDERED, [up(0), terminating(1), up(2)], Step(), id="a terminating pod blocks"
        ),
        pytest.param(ORDERED, [up(0), failed(1), up(2)], delete(1), id="a failed pod is deleted"),
        pytest.param(
            replace(ORDERED, start=5),
            [up(5), up(6)],
            create(7),
            id="ordinals start at ordinals.start",
        ),
        pytest.param(
            ORDERED,
            [up(0), up(1), up(2), up(3), up(4)],
            delete(4),
            id="the highest excess ordinal is deleted first",
        ),
        pytest.param(
            ORDERED,
            [up(0), up(1), up(2), up(3), terminating(4)],
            Step(),
            id="the next one waits until it is removed",
        ),
        pytest.param(
            ORDERED,
            [up(0), down(1), up(2), up(3)],
            Step(),
            id="an unready remaining pod blocks deletion",
        ),
        pytest.param(
            ORDERED,
            [up(0), up(1), up(2), down(3), up(4)],
            delete(4),
            id="a healthy excess pod is deleted before a lower unready one",
        ),
        pytest.param(
            ORDERED,
            [up(0), up(1), up(2), down(3), down(4)],
            Step(),
            id="the lower one of two unready excess pods blocks",
        ),
        pytest.param(
            ORDERED,
            [up(0), up(1), up(2), up(3), down(4)],
            delete(4),
            id="the only unready excess pod is deleted",
        ),
        pytest.param(PARALLEL, [], create(0, 1, 2), id="parallel: all are created"),
        pytest.param(
            PARALLEL,
            [down(0), up(3), down(4)],
            Step(create=((1, "new"), (2, "new")), delete=(4, 3)),
            id="parallel: all are created and deleted at once",
        ),
        pytest.param(
            UPDATING,
            [up(0, "old"), up(1, "old"), up(2, "old")],
            delete(2),
            id="the highest ordinal is updated first",
        ),
        pytest.param(
            UPDATING,
            [up(0, "old"), up(1, "old")],
            create(2),
            id="it is created with the new revision",
        ),
        pytest.param(
            UPDATING,
            [up(0, "old"), up(1, "old"), down(2)],
            Step(),
            id="the next update waits until it is ready",
        ),
        pytest.param(
            UPDATING,
            [up(0, "old"), up(1, "old"), up(2)],
            delete(1),
            id="the next lower ordinal follows",
        ),
        pytest.param(
            replace(UPDATING, partition=2),
            [up(0, "old"), up(1, "old"), up(2)],
            Step(),
            id="pods below the partition are not updated",
        ),
        pytest.param(
            replace(UPDATING, partition=2),
            [up(0, "old")],
            create(1, revision="old"),
            id="pods below the partition are created with the old revision",
        ),
        pytest.param(
            replace(UPDATING, rolling=False),
            [up(0, "old"), up(1, "old"), up(2, "old")],
            Step(),
            id="OnDelete: no pod is deleted",
        ),
        pytest.param(
            replace(UPDATING, rolling=False),
            [up(0, "old"), up(2, "old")],
            create(1),
            id="OnDelete: new pods get the new revision",
        ),
        pytest.param(
            replace(UPDATING, ordered=False),
            [up(0, "old"), up(1, "old"), up(2, "old")],
            delete(2),
            id="parallel: updates are still one at a time",
        ),
        pytest.param(
            replace(UPDATING, ordered=False, replicas=4),
            [up(0, "old"), up(1, "old"), up(2, "old")],
            create(3),
            id="parallel: updates wait for unavailable pods",
        ),
    ],
)
def test_the_next_step(spec: OrderSpec, members: list[Member], step: Step) -> None:
    assert next_step(spec, members) == step
