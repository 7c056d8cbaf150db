"""Settings made of labels and taints: selectors, tolerations and node groups.

They are written as in the Kubernetes API.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from spotalis.model.nodes import NodeRule, NodeType, ProviderGroup
from spotalis.model.objects import LabelSelector, Requirement, Toleration
from spotalis.model.provider_groups import BUILT_IN_GROUPS
from spotalis.model.suggestion import did_you_mean
from spotalis.settings.value_types import (
    BOOLEAN,
    Problems,
    RawValue,
    ValueType,
    choice,
    list_of,
    map_of,
    record,
    text,
)

MAX_LABEL_COMBINATIONS = 1000
"""Combinations of label values that the rules of one group may distinguish. The webhook evaluates
each of them when a pod's own node selector limits it to some of the nodes."""

_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = text("a label key", rf"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?{_NAME}", max_length=317)
_VALUE = text("a label value", rf"({_NAME})?", max_length=63)
_VALUES = list_of("label values", _VALUE)


def _expression(key: str, operator: str, values: tuple[str, ...] = ()) -> Requirement:
    if (operator in ("In", "NotIn")) != bool(values):
        verb = "must not have" if values else "must have"
        raise ValueError(f"{verb} `values` with the operator {operator}")
    return Requirement(key=key, operator=operator, values=values)


_EXPRESSION = record(
    "a match expression",
    _expression,
    ("key", "operator"),
    key=_KEY,
    operator=choice("In", "NotIn", "Exists", "DoesNotExist"),
    values=_VALUES,
)


def _selector(
    match_labels: Mapping[str, str] | None = None,
    match_expressions: tuple[Requirement, ...] = (),
) -> LabelSelector:
    labels = (match_labels or {}).items()
    requirements = [Requirement(key=key, operator="In", values=(value,)) for key, value in labels]
    return LabelSelector((*requirements, *match_expressions))


SELECTOR = record(
    "a label selector",
    _selector,
    matchLabels=map_of("label keys to values", _KEY, _VALUE),
    matchExpressions=list_of("match expressions", _EXPRESSION),
)


def _toleration(**given: str) -> Toleration:
    toleration = Toleration(**given)
    if not toleration.key and toleration.operator != "Exists":
        raise ValueError("must have a `key`, or the operator Exists to tolerate every taint")
    if toleration.operator == "Exists" and toleration.value:
        raise ValueError("must not have a `value` with the operator Exists")
    return toleration


TOLERATION = record(
    "a toleration",
    _toleration,
    key=_KEY,
    operator=choice("Equal", "Exists"),
    value=_VALUE,
    effect=choice("NoSchedule", "PreferNoSchedule", "NoExecute"),
)


def _rule(
    capacity_type: str,
    key: str,
    values: tuple[str, ...] = (),
    exists: bool = False,
    absent: bool = False,
) -> NodeRule:
    if bool(values) + exists + absent != 1:
        raise ValueError("must have exactly one of `values`, `exists: true` and `absent: true`")
    operator = "In" if values else "Exists" if exists else "DoesNotExist"
    return NodeRule(NodeType(capacity_type), Requirement(key=key, operator=operator, values=values))


_RULE = record(
    "a rule",
    _rule,
    ("capacityType", "key"),
    capacityType=choice(NodeType.SPOT, NodeType.ON_DEMAND),
    key=_KEY,
    values=_VALUES,
    exists=BOOLEAN,
    absent=BOOLEAN,
)


def _group(**given: Any) -> ProviderGroup:
    group = ProviderGroup(**given)
    if not group.rules:
        raise ValueError("must have at least one rule")
    values = {key: {"none", "other"} for key in group.keys}
    for rule in group.rules:
        values[rule.requirement.key] |= set(rule.requirement.values)
    if math.prod(map(len, values.values())) > MAX_LABEL_COMBINATIONS:
        raise ValueError(
            f"must not distinguish more than {MAX_LABEL_COMBINATIONS} combinations of label values"
        )
    return group


_OWN_GROUP = record(
    "a node group",
    _group,
    ("name", "marker", "rules"),
    name=text("a name", _NAME, max_length=63),
    marker=_KEY,
    rules=list_of("rules", _RULE),
    otherwiseOnDemand=BOOLEAN,
    spotTolerations=list_of("tolerations", TOLERATION),
)
_BUILT_IN = {group.name: group for group in BUILT_IN_GROUPS}
_NODE_GROUP = "a node group, or the name of a built-in one"


def _read_node_group(raw: RawValue, problems: Problems) -> object:
    if not isinstance(raw.value, str):
        return _OWN_GROUP.read(raw, problems)
    if group := _BUILT_IN.get(raw.value):
        return group
    return raw.reject(problems, f"must be {_NODE_GROUP}", did_you_mean(raw.value, _BUILT_IN))


NODE_GROUP = ValueType(
    _NODE_GROUP,
    {"oneOf": [{"enum": list(_BUILT_IN)}, _OWN_GROUP.schema]},
    _read_node_group,
    "YAML",
    "yaml",
)
