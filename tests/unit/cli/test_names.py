"""``TYPE/NAME`` arguments."""

from __future__ import annotations

import pytest

from spotalis.cli.errors import CommandError
from spotalis.cli.names import Target, not_found, read_targets


@pytest.mark.parametrize(
    "words",
    [
        ["deploy/api"],
        ["deployment/api"],
        ["deployments.apps/api"],
        ["Deployment/api"],
        ["deploy", "api"],
    ],
)
def test_a_workload_is_named_as_for_kubectl(words: list[str]) -> None:
    assert read_targets(words, "spotalis status") == [Target("Deployment", "api")]


def test_several_workloads_can_be_named() -> None:
    both = [Target("Deployment", "api"), Target("StatefulSet", "db")]
    assert read_targets(["deploy/api", "sts/db"], "spotalis status") == both
    assert read_targets(["sts", "a", "b"], "spotalis status") == [
        Target("StatefulSet", "a"),
        Target("StatefulSet", "b"),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["api"], "'api' must be TYPE/NAME, such as deploy/api"),
        (["deploy/"], "'deploy/' must be TYPE/NAME, such as deploy/api"),
        (["deploy/.."], "'deploy/..' must be TYPE/NAME, such as deploy/api"),
        (["deploy/a%b"], "'deploy/a%b' must be TYPE/NAME, such as deploy/api"),
        (["deploy/a/b"], "'deploy/a/b' must be TYPE/NAME, such as deploy/api"),
        (["deplyo/api"], "unknown type 'deplyo'; did you mean 'deploy'?"),
        (["pod/api"], "spotalis status does not accept pod"),
    ],
)
def test_another_name_is_an_error_with_an_example(words: list[str], message: str) -> None:
    with pytest.raises(CommandError) as caught:
        read_targets(words, "spotalis status")
    assert caught.value.what == message
    assert caught.value.fix == "spotalis status deploy/NAME"
    assert caught.value.exit_code == 2


def test_a_missing_object_suggests_a_similar_name() -> None:
    error = not_found(Target("Deployment", "chekout"), "shop", ["checkout", "api"])
    assert str(error) == (
        'error[SP043]: deployment "chekout" not found in namespace "shop"; '
        'did you mean "checkout"?\n'
        "fix: kubectl get deployments -n shop"
    )
    assert error.exit_code == 1
