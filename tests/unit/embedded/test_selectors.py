"""Label selectors, node selectors and tolerations; Spotalis must evaluate them the same way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.embedded.objects.selectors import (
    LabelSelector,
    NodeSelector,
    NodeTerm,
    Requirement,
    Taint,
    Toleration,
    format_selector,
    label_selector,
    node_selector,
)
from spotalis.model import objects as model

ZONE = "zone"
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


@pytest.mark.parametrize(
    ("requirement", "labels", "expected"),
    [
        (Requirement(ZONE, "In", ("a", "b")), {ZONE: "b"}, True),
        (Requirement(ZONE, "In", ("a", "b")), {ZONE: "c"}, False),
        (Requirement(ZONE, "In", ("a", "b")), {}, False),
        (Requirement(ZONE, "NotIn", ("a",)), {ZONE: "a"}, False),
        (Requirement(ZONE, "NotIn", ("a",)), {}, True),
        (Requirement(ZONE, "Exists"), {ZONE: ""}, True),
        (Requirement(ZONE, "DoesNotExist"), {ZONE: ""}, False),
        (Requirement(ZONE, "Gt", ("3",)), {ZONE: "4"}, True),
        (Requirement(ZONE, "Lt", ("3",)), {ZONE: "3"}, False),
        (Requirement(ZONE, "Gt", ("3",)), {ZONE: "many"}, False),
        (Requirement(ZONE, "Unknown", ("3",)), {ZONE: "3"}, False),
    ],
    ids=str,
)
def test_requirements(requirement: Requirement, labels: dict[str, str], expected: bool) -> None:
    assert requirement.matches(labels) is expected


def test_an_empty_label_selector_matches_everything_and_an_absent_one_is_none() -> None:
    assert label_selector({}) == LabelSelector()
    assert LabelSelector().matches({})
    assert label_selector(None) is None


def test_an_empty_node_selector_term_matches_no_node() -> None:
    selector = node_selector({"nodeSelectorTerms": [{}]})
    assert selector == NodeSelector((NodeTerm(),))
    assert not selector.matches("n1", {ZONE: "a"})


def test_a_node_field_is_not_a_label() -> None:
    field = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    selector = node_selector({"nodeSelectorTerms": [{"matchFields": [field]}]})
    assert selector is not None
    assert selector.matches("n1", {})
    assert not selector.matches("n2", {"metadata.name": "n1"})


def test_a_selector_as_text_is_sorted_by_key() -> None:
    expressions = [
        {"key": "c", "operator": "NotIn", "values": ["y", "x"]},
        {"key": "b", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    text = format_selector({"matchLabels": {"a": "1"}, "matchExpressions": expressions})
    assert text == "a=1,b,c notin (x,y),!d"


KEYS = st.sampled_from(("a", "b"))
VALUES = st.sampled_from(("", "x", "1", "2"))


@given(
    key=KEYS,
    operator=st.sampled_from(OPERATORS),
    values=st.lists(VALUES, max_size=2),
    labels=st.dictionaries(KEYS, VALUES),
)
def test_spotalis_evaluates_requirements_the_same_way(
    key: str, operator: str, values: list[str], labels: dict[str, str]
) -> None:
    expected = Requirement(key, operator, tuple(values)).matches(labels)
    assert model.Requirement(key, operator, tuple(values)).matches(labels) is expected


EFFECTS = st.sampled_from(("", "NoSchedule", "NoExecute", "PreferNoSchedule"))


@given(
    key=st.sampled_from(("a", "b")),
    operator=st.sampled_from(("Equal", "Exists")),
    value=VALUES,
    effect=EFFECTS,
    taint=st.tuples(KEYS, VALUES, EFFECTS.filter(bool)),
)
def test_spotalis_evaluates_tolerations_the_same_way(
    key: str, operator: str, value: str, effect: str, taint: tuple[str, str, str]
) -> None:
    expected = Toleration(key, operator, value, effect).tolerates(Taint(*taint))
    actual = model.Toleration(key, operator, value, effect).tolerates(model.Taint(*taint))
    assert actual is expected


def test_a_toleration_without_a_key_tolerates_every_taint() -> None:
    assert Toleration(operator="Exists").tolerates(Taint("spot", "x", "NoExecute"))
