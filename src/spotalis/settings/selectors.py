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


def _selector(given: Mapping[str, Any]) -> LabelSelector:
    labels: Mapping[str, str] = given.get("matchLabels", {})
    requirements = [Requirement(key=k, operator="In", values=(v,)) for k, v in labels.items()]
    return LabelSelector((*requirements, *given.get("matchExpressions", ())))


def _expression(given: Mapping[str, Any]) -> Requirement:
    operator, values = given["operator"], given.get("values", ())
    if operator in ("In", "NotIn") and not values:
        raise ValueError(f"must have `values` with the operator {operator}")
    if operator in ("Exists", "DoesNotExist") and values:
        raise ValueError(f"must not have `values` with the operator {operator}")
    return Requirement(key=given["key"], operator=operator, values=values)


def _toleration(given: Mapping[str, Any]) -> Toleration:
    toleration = Toleration(**given)
    if not toleration.key and toleration.operator != "Exists":
        raise ValueError("must have a `key`, or the operator Exists to tolerate every taint")
    if toleration.operator == "Exists" and toleration.value:
        raise ValueError("must not have a `value` with the operator Exists")
    return toleration


def _rule(given: Mapping[str, Any]) -> NodeRule:
    ways = [word for word in ("values", "exists", "absent") if given.get(word)]
    if len(ways) != 1:
        raise ValueError("must have exactly one of `values`, `exists: true` and `absent: true`")
    operator = {"values": "In", "exists": "Exists", "absent": "DoesNotExist"}[ways[0]]
    requirement = Requirement(key=given["key"], operator=operator, values=given.get("values", ()))
    return NodeRule(NodeType(given["capacityType"]), requirement)


def _group(given: Mapping[str, Any]) -> ProviderGroup:
    group = ProviderGroup(
        name=given["name"],
        marker=given["marker"],
        rules=given["rules"],
        otherwise_on_demand=given.get("otherwiseOnDemand", False),
        spot_tolerations=given.get("spotTolerations", ()),
    )
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


SELECTOR = record(
    "a label selector",
    _selector,
    {
        "matchLabels": map_of("label keys to values", _KEY, _VALUE),
        "matchExpressions": list_of(
            "match expressions",
            record(
                "a match expression",
                _expression,
                {
                    "key": _KEY,
                    "operator": choice("In", "NotIn", "Exists", "DoesNotExist"),
                    "values": _VALUES,
                },
                required=("key", "operator"),
            ),
        ),
    },
)

TOLERATION = record(
    "a toleration",
    _toleration,
    {
        "key": _KEY,
        "operator": choice("Equal", "Exists"),
        "value": _VALUE,
        "effect": choice("NoSchedule", "PreferNoSchedule", "NoExecute"),
    },
)

_OWN_GROUP = record(
    "a node group",
    _group,
    {
        "name": text("a name", _NAME, max_length=63),
        "marker": _KEY,
        "rules": list_of(
            "rules",
            record(
                "a rule",
                _rule,
                {
                    "capacityType": choice(NodeType.SPOT, NodeType.ON_DEMAND),
                    "key": _KEY,
                    "values": _VALUES,
                    "exists": BOOLEAN,
                    "absent": BOOLEAN,
                },
                required=("capacityType", "key"),
            ),
        ),
        "otherwiseOnDemand": BOOLEAN,
        "spotTolerations": list_of("tolerations", TOLERATION),
    },
    required=("name", "marker", "rules"),
)


_BUILT_IN = {group.name: group for group in BUILT_IN_GROUPS}
_NODE_GROUP = "a node group, or the name of a built-in one"


def _read_node_group(raw: RawValue, key: str) -> ProviderGroup:
    name = raw.value
    if not isinstance(name, str):
        return _OWN_GROUP.read(raw, key)
    if name not in _BUILT_IN:
        raise raw.invalid(key, f"must be {_NODE_GROUP}", did_you_mean(name, _BUILT_IN))
    return _BUILT_IN[name]


NODE_GROUP = ValueType(
    _NODE_GROUP,
    {"oneOf": [{"enum": list(_BUILT_IN)}, _OWN_GROUP.schema]},
    _read_node_group,
    "YAML",
    "yaml",
)
