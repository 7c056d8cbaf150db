"""Hypothesis strategies for pods that the API server accepts, in their placement-related parts."""

from __future__ import annotations

from hypothesis import strategies as st

POD_KEYS = ("spotalis.io/capacity-type", "spotalis.io/slot", "spotalis.io/decision")
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"

texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=12)
keys = st.sampled_from(["app", "a~b/c", "disk", DELETION_COST, *POD_KEYS]) | texts
_maps = st.none() | st.dictionaries(keys, texts, max_size=5)
_label_keys = st.sampled_from(
    ["disk", "cloud.google.com/gke-spot", "eks.amazonaws.com/capacityType", "absent"]
)
_label_values = st.sampled_from(["ssd", "hdd", "true", "SPOT", "ON_DEMAND"])
_expressions = st.one_of(
    st.fixed_dictionaries(
        {
            "key": _label_keys,
            "operator": st.sampled_from(["In", "NotIn"]),
            "values": st.lists(_label_values, min_size=1, max_size=3),
        }
    ),
    st.fixed_dictionaries(
        {"key": _label_keys, "operator": st.sampled_from(["Exists", "DoesNotExist"])}
    ),
)
NODE_NAMES = ("spot-0", "on-demand-2", "elsewhere")
_fields = st.fixed_dictionaries(
    {
        "key": st.just("metadata.name"),
        "operator": st.sampled_from(["In", "NotIn"]),
        "values": st.tuples(st.sampled_from(NODE_NAMES)).map(list),
    }
)
"""The API allows only this field and exactly one value."""
_terms = st.fixed_dictionaries(
    {},
    optional={
        "matchExpressions": st.lists(_expressions, max_size=3) | st.none(),
        "matchFields": st.lists(_fields, max_size=2) | st.none(),
    },
)
_node_affinities = st.fixed_dictionaries(
    {},
    optional={
        REQUIRED: st.none()
        | st.fixed_dictionaries({"nodeSelectorTerms": st.lists(_terms, min_size=1, max_size=3)}),
        PREFERRED: st.just([{"weight": 1}]),
    },
)
_affinities = st.fixed_dictionaries(
    {}, optional={"nodeAffinity": _node_affinities | st.none(), "podAffinity": st.just({"x": [1]})}
)
_tolerations = st.fixed_dictionaries(
    {},
    optional={
        "key": st.sampled_from(["cloud.google.com/gke-spot", "dedicated"]),
        "operator": st.sampled_from(["Exists", "Equal"]),
        "value": st.sampled_from(["true", "x"]),
        "effect": st.sampled_from(["NoSchedule", "NoExecute"]),
    },
)
pods = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries({}, optional={"labels": _maps, "annotations": _maps}),
        "spec": st.fixed_dictionaries(
            {"containers": st.just([{"name": "app"}])},
            optional={
                "nodeSelector": st.none() | st.dictionaries(_label_keys, _label_values, max_size=2),
                "affinity": st.none() | _affinities,
                "tolerations": st.none() | st.lists(_tolerations, max_size=3),
            },
        ),
    }
)
