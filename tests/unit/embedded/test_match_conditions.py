"""Match conditions: what is supported, and what is rejected by name."""

from __future__ import annotations

from typing import Any

import pytest

from spotalis.embedded.server.match_conditions import (
    EvaluationFailed,
    UnsupportedExpression,
    compiled,
)
from spotalis.webhook.webhook_configuration import OWNER_CONDITION

POD: dict[str, Any] = {
    "metadata": {
        "name": "web",
        "labels": {"app": "a && b"},
        "ownerReferences": [{"kind": "Job"}, {"kind": "ReplicaSet", "controller": True}],
    }
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (OWNER_CONDITION, True),
        (f"!({OWNER_CONDITION})", False),
        ("object.metadata.name == 'web'", True),
        ("!(object.metadata.name == 'web') || true", True),
        ("!false == true", True),
        ("object.metadata['labels']['app'] == 'a && b'", True),
        ("'app' in object.metadata.labels && has(object.metadata.name)", True),
        ("has(object.metadata.annotations)", False),
        ("object.metadata.missing == 'x' || true", True),
        ("false && object.metadata.missing == 'x'", False),
        ("object.metadata.ownerReferences.exists(o, o.kind in ['Job', 'Pod'])", True),
    ],
)
def test_expressions(expression: str, value: bool) -> None:
    assert compiled(expression)({"object": POD}) is value


@pytest.mark.parametrize(
    "expression", ["object.metadata.missing == 'x'", "'x' in true", "object.metadata.name && true"]
)
def test_expressions_that_fail(expression: str) -> None:
    with pytest.raises(EvaluationFailed):
        compiled(expression)({"object": POD})


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("size(object.metadata.labels) == '1'", "size"),
        ("object.metadata.labels.all(k, true)", "all"),
        ("1 == 1", "1"),
        ("true ? false : true", "invalid syntax"),
        ("true and false", "and"),
        ("object.spec.replicas > object.spec.x", ">"),
        ("lambda: true", "lambda"),
    ],
)
def test_unsupported_expressions_are_named(expression: str, named: str) -> None:
    with pytest.raises(UnsupportedExpression, match=named):
        compiled(expression)
