"""Settings that select by labels and taints, written as the Kubernetes API writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from spotalis.model.kinds import (
    Choice,
    Items,
    Kind,
    Schema,
    Structure,
    Table,
    Text,
    Truth,
    Written,
    did_you_mean,
)
from spotalis.model.nodes import BUILT_IN_GROUPS, NodeRule, NodeType, ProviderGroup
from spotalis.model.objects import LabelSelector, Requirement, Toleration

MOST_WORLDS = 1000
"""Combinations of label values that one group may tell apart: a pin tries them all."""

_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = Text("a label key", rf"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?{_NAME}", most=317)
_VALUE = Text("a label value", rf"({_NAME})?", most=63)
_VALUES = Items("label values", _VALUE)


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
        raise ValueError("must have one of `values`, `exists: true` and `absent: true`")
    operator = {"values": "In", "exists": "Exists", "absent": "DoesNotExist"}[ways[0]]
    requirement = Requirement(key=given["key"], operator=operator, values=given.get("values", ()))
    return NodeRule(NodeType(given["class"]), requirement)


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
    if math.prod(map(len, values.values())) > MOST_WORLDS:
        raise ValueError(
            f"must not tell apart more than {MOST_WORLDS} combinations of label values"
        )
    return group


SELECTOR: Kind[LabelSelector] = Structure(
    "a label selector",
    _selector,
    {
        "matchLabels": Table("label keys to values", _KEY, _VALUE),
        "matchExpressions": Items(
            "match expressions",
            Structure(
                "a match expression",
                _expression,
                {
                    "key": _KEY,
                    "operator": Choice("In", "NotIn", "Exists", "DoesNotExist"),
                    "values": _VALUES,
                },
                required=("key", "operator"),
            ),
        ),
    },
)

TOLERATION: Kind[Toleration] = Structure(
    "a toleration",
    _toleration,
    {
        "key": _KEY,
        "operator": Choice("Equal", "Exists"),
        "value": _VALUE,
        "effect": Choice("NoSchedule", "PreferNoSchedule", "NoExecute"),
    },
)

_OWN_GROUP: Kind[ProviderGroup] = Structure(
    "a node group",
    _group,
    {
        "name": Text("a name", _NAME, most=63),
        "marker": _KEY,
        "rules": Items(
            "rules",
            Structure(
                "a rule",
                _rule,
                {
                    "class": Choice(NodeType.SPOT, NodeType.ON_DEMAND),
                    "key": _KEY,
                    "values": _VALUES,
                    "exists": Truth(),
                    "absent": Truth(),
                },
                required=("class", "key"),
            ),
        ),
        "otherwiseOnDemand": Truth(),
        "spotTolerations": Items("tolerations", TOLERATION),
    },
    required=("name", "marker", "rules"),
)


class _NodeGroup(Kind[ProviderGroup]):
    """A group of one's own, or the name of a built-in one."""

    composed = True
    words = "a node group, or the name of a built-in one"

    def read(self, written: Written, path: str) -> ProviderGroup:
        """The group."""
        if not isinstance(written.value, str):
            return _OWN_GROUP.read(written, path)
        built_in = {group.name: group for group in BUILT_IN_GROUPS}
        if written.value not in built_in:
            raise self.refuse(written, path, suggestion=did_you_mean(written.value, built_in))
        return built_in[written.value]

    def _schema(self) -> Schema:
        return {"oneOf": [{"enum": [group.name for group in BUILT_IN_GROUPS]}, _OWN_GROUP.schema]}


NODE_GROUP: Kind[ProviderGroup] = _NodeGroup()
