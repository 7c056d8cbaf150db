"""Records of Kubernetes objects follow the API's own rules of matching."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from spotalis.model.objects import LabelSelector, Requirement, Taint, Toleration
from tests.support.builders import a_pod, a_selector

NOTHING: Mapping[str, str] = {}


@pytest.mark.parametrize(
    ("operator", "values", "labels", "matches"),
    [
        pytest.param("In", ("a", "b"), {"key": "b"}, True, id="one of the values"),
        pytest.param("In", ("a", "b"), {"key": "c"}, False, id="none of the values"),
        pytest.param("In", ("a",), NOTHING, False, id="In needs the label"),
        pytest.param("NotIn", ("a",), {"key": "b"}, True, id="another value"),
        pytest.param("NotIn", ("a",), {"key": "a"}, False, id="an excluded value"),
        pytest.param("NotIn", ("a",), NOTHING, True, id="NotIn does not need the label"),
        pytest.param("Exists", (), {"key": ""}, True, id="exists with an empty value"),
        pytest.param("Exists", (), NOTHING, False, id="does not exist"),
        pytest.param("DoesNotExist", (), NOTHING, True, id="absent"),
        pytest.param("DoesNotExist", (), {"key": ""}, False, id="must be absent, but exists"),
        pytest.param("Gt", ("4",), {"key": "5"}, True, id="greater"),
        pytest.param("Gt", ("4",), {"key": "4"}, False, id="not greater"),
        pytest.param("Lt", ("10",), {"key": "9"}, True, id="less, as a number"),
        pytest.param("Lt", ("10",), {"key": "x"}, False, id="not a number"),
        pytest.param("Lt", ("10",), NOTHING, False, id="no number"),
        pytest.param("Lt", ("10", "20"), {"key": "9"}, False, id="two numbers"),
        pytest.param("Like", ("a",), {"key": "a"}, False, id="an unknown operator"),
    ],
)
def test_a_requirement_matches_as_in_the_api(
    operator: str, values: tuple[str, ...], labels: Mapping[str, str], matches: bool
) -> None:
    assert Requirement(key="key", operator=operator, values=values).matches(labels) is matches


def test_a_selector_needs_all_its_requirements_and_an_empty_one_none() -> None:
    both = a_selector({"app": "api", "tier": "web"})
    assert both.matches({"app": "api", "tier": "web", "more": "yes"})
    assert not both.matches({"app": "api"})
    assert LabelSelector().matches({})


TAINT = Taint(key="spot", value="true", effect="NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "tolerates"),
    [
        pytest.param(Toleration("spot", "Equal", "true", "NoSchedule"), True, id="the same"),
        pytest.param(Toleration("spot", "Equal", "true"), True, id="any effect"),
        pytest.param(Toleration("spot", "Equal", "true", "NoExecute"), False, id="another effect"),
        pytest.param(Toleration("spot", "Equal", "false"), False, id="another value"),
        pytest.param(Toleration("spot", "Exists"), True, id="any value"),
        pytest.param(Toleration("spot", "Exists", effect="NoExecute"), False, id="not this effect"),
        pytest.param(Toleration("other", "Exists"), False, id="another key"),
        pytest.param(Toleration("", "Exists"), True, id="everything"),
        pytest.param(Toleration("", "Equal", "true"), False, id="a value without a key"),
    ],
)
def test_a_toleration_tolerates_as_in_the_api(toleration: Toleration, tolerates: bool) -> None:
    assert toleration.tolerates(TAINT) is tolerates


@pytest.mark.parametrize(
    ("phase", "finished"),
    [
        ("Pending", False),
        ("Running", False),
        ("Unknown", False),
        ("Succeeded", True),
        ("Failed", True),
    ],
)
def test_succeeded_and_failed_pods_are_finished(phase: str, finished: bool) -> None:
    assert a_pod(phase=phase).finished is finished
    assert a_pod(phase="Failed").finished
