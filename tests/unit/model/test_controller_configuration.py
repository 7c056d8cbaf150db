"""Which namespaces Spotalis manages."""

from __future__ import annotations

import pytest

from spotalis.model.controller_configuration import ControllerConfiguration, NamespaceFilter
from spotalis.model.objects import LabelSelector, Namespace, Requirement
from tests.support.builders import a_namespace, a_selector

TEAMS = NamespaceFilter(
    selector=LabelSelector(
        (
            Requirement(key="team", operator="In", values=("a", "b")),
            Requirement(key="frozen", operator="DoesNotExist"),
        )
    ),
    excluded=frozenset({"kube-system", "spotalis-system"}),
)


@pytest.mark.parametrize(
    ("namespace", "admitted"),
    [
        pytest.param(a_namespace(labels={"team": "a"}), True, id="selected"),
        pytest.param(a_namespace(labels={"team": "c"}), False, id="not selected"),
        pytest.param(a_namespace(labels={"team": "a", "frozen": ""}), False, id="partly selected"),
        pytest.param(a_namespace("kube-system", labels={"team": "a"}), False, id="excluded"),
        pytest.param(
            a_namespace("spotalis-system", labels={"team": "a"}),
            False,
            id="operator's",
        ),
        pytest.param(None, False, id="unknown"),
    ],
)
def test_a_namespace_is_managed_if_it_is_selected_and_not_excluded(
    namespace: Namespace | None, admitted: bool
) -> None:
    assert TEAMS.admits(namespace) is admitted


def test_without_a_selector_all_namespaces_but_two_are_managed() -> None:
    everywhere = ControllerConfiguration(namespace="ops").namespaces
    assert everywhere.admits(a_namespace())
    assert not everywhere.admits(a_namespace("kube-system"))
    assert not everywhere.admits(a_namespace("ops"))
    assert NamespaceFilter(selector=a_selector({})).admits(a_namespace())


def test_only_watched_namespaces_that_are_selected_are_managed() -> None:
    some = NamespaceFilter(
        selector=a_selector({"team": "a"}),
        excluded=frozenset({"frozen"}),
        watched=frozenset({"shop", "frozen"}),
    )
    assert some.admits(a_namespace("shop", labels={"team": "a"}))
    assert not some.admits(a_namespace("shop", labels={"team": "b"}))
    assert not some.admits(a_namespace("frozen", labels={"team": "a"}))
    assert not some.admits(a_namespace("data", labels={"team": "a"}))
