"""Where the values of a policy come from, and which problems and warnings they cause."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spotalis.model.configuration import pause_everywhere
from spotalis.model.objects import PREFIX
from spotalis.model.policy_values import FOREVER, KEYS
from tests.support.builders import (
    STATEFUL_SET,
    a_namespace,
    annotated,
)
from tests.support.policies import INVALID, OFF, ON, read


@pytest.mark.parametrize(
    ("mine", "namespaces", "settings", "percent", "source"),
    [
        pytest.param("10", "20", "30", 10, "annotation on sts/api", id="the workload"),
        pytest.param(None, "20", "30", 20, "annotation on namespace/shop", id="the namespace"),
        pytest.param(None, None, "30", 30, "the operator's settings", id="the settings"),
        pytest.param(None, None, None, 0, None, id="no source"),
    ],
)
def test_the_nearest_value_counts(
    mine: str | None,
    namespaces: str | None,
    settings: str | None,
    percent: int,
    source: str | None,
) -> None:
    configuration = read(
        annotated(spot_percentage=mine) if mine else {},
        namespace=a_namespace(
            annotations=annotated(spot_percentage=namespaces) if namespaces else {}
        ),
        defaults={"spot-percentage": settings} if settings else {},
        kind=STATEFUL_SET,
    )
    assert configuration.percent == percent
    assert configuration.sources.get("spot-percentage") == source


def test_each_key_is_looked_up_by_itself() -> None:
    configuration = read(
        annotated(spot_percentage="70"),
        namespace=a_namespace(annotations=annotated(spot_percentage="10", min_on_demand="3")),
        defaults={"min-on-demand": "1", "spot-fallback": "5m"},
    )
    assert (configuration.percent, configuration.floor) == (70, 3)
    assert configuration.spot_fallback == timedelta(minutes=5)


def test_an_invalid_value_is_not_replaced_by_one_from_the_next_source() -> None:
    configuration = read(
        annotated(spot_percentage="7O"),
        namespace=a_namespace(annotations=annotated(spot_percentage="70")),
    )
    assert [problem.source for problem in configuration.problems] == ["annotation on deploy/api"]
    assert configuration.spot_percentage is None
    assert "spot-percentage" not in configuration.sources


def test_problems_name_their_source() -> None:
    configuration = read(
        namespace=a_namespace(annotations=annotated(spot_percentage="7O")),
        defaults={"min-on-demand": "two"},
    )
    assert [problem.source for problem in configuration.problems] == [
        "annotation on namespace/shop",
        "the operator's settings",
    ]


def test_all_problems_are_reported_at_once() -> None:
    invalid = {PREFIX + key: "?" for key in KEYS}
    configuration = read(invalid, labels=INVALID)
    any_text = {"paused-reason"}
    assert {problem.key for problem in configuration.problems} == {"enabled", *KEYS} - any_text


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("min-ondemand", "min-on-demand"),
        ("spot-percent", "spot-percentage"),
        ("spot_percentage", "spot-percentage"),
        ("pause-until", "paused-until"),
        ("enable", "enabled"),
        ("max-move-in-flight", "max-moves-in-flight"),
    ],
)
def test_an_unknown_key_causes_a_suggestion(key: str, meant: str) -> None:
    configuration = read(annotated(spot_percentage="70") | {PREFIX + key: "2"})
    assert configuration.problems == ()
    (warning,) = configuration.warnings
    assert (warning.key, warning.value, warning.source) == (key, "2", "annotation on deploy/api")
    assert str(warning) == (
        f"spotalis.io/{key} '2' is not read by Spotalis; did you mean '{meant}'?"
        " (annotation on deploy/api)"
    )


def test_an_unknown_key_without_a_similar_one_is_only_named() -> None:
    labels = ON | {PREFIX + "owner": "team-a"}
    (warning,) = read(annotated(spot_percentage="70"), labels=labels).warnings
    assert warning.source == "label on deploy/api"
    assert "did you mean" not in str(warning)


def test_each_pod_key_in_a_template_is_a_warning() -> None:
    keys = tuple(PREFIX + key for key in ("slot", "capacity-type", "decision"))
    warnings = read(annotated(spot_percentage="70"), template_keys=keys).warnings
    assert [warning.key for warning in warnings] == ["slot", "capacity-type", "decision"]
    assert {warning.source for warning in warnings} == {"template of deploy/api"}
    assert all("overwritten" in str(warning) for warning in warnings)


def test_each_key_of_owners_in_a_template_is_a_warning() -> None:
    keys = tuple(PREFIX + key for key in ("enabled", "spot-percentage", "spot-percantage"))
    warnings = read(annotated(spot_percentage="70"), template_keys=keys).warnings
    moved = "has no effect in a pod template; write it in the metadata of the workload"
    assert [(w.key, w.message) for w in warnings] == [
        ("enabled", moved),
        ("spot-percentage", moved),
        ("spot-percantage", "is not read by Spotalis; did you mean 'spot-percentage'?"),
    ]
    assert {w.source for w in warnings} == {"template of deploy/api"}


def test_enabled_only_in_a_template_is_a_problem_unless_the_owner_decides_elsewhere() -> None:
    keys = (PREFIX + "enabled", PREFIX + "spot-percentage")
    found = read(labels={}, template_keys=keys)
    assert not found.enabled
    assert [str(problem) for problem in found.problems] == [
        (
            "spotalis.io/enabled has no effect in a pod template; write it in the metadata of the "
            "workload (template of deploy/api)"
        )
    ]
    assert read(labels=OFF, template_keys=keys).problems == ()
    assert read(labels={}, namespace=a_namespace(labels=OFF), template_keys=keys).problems == ()
    assert read(labels={}, template_keys=keys[1:]).problems == ()


@pytest.mark.parametrize(
    ("annotations", "replicas", "says"),
    [
        pytest.param(
            annotated(min_on_demand="11", spot_percentage="70"),
            10,
            "greater than the 10 replicas",
            id="a floor above the replicas",
        ),
        pytest.param(
            annotated(min_on_demand="10", spot_percentage="70"),
            10,
            None,
            id="a floor equal to the replicas",
        ),
        pytest.param(
            annotated(min_on_demand="2", spot_percentage="70"), 0, None, id="scaled to zero"
        ),
        pytest.param(annotated(spot_percentage="70"), 1, None, id="no floor"),
    ],
)
def test_a_policy_that_puts_everything_on_on_demand_is_a_warning(
    annotations: Mapping[str, str], replicas: int, says: str | None
) -> None:
    configuration = read(annotations, replicas=replicas)
    assert configuration.problems == ()
    if says is None:
        assert configuration.warnings == ()
    else:
        (warning,) = configuration.warnings
        assert says in str(warning)


MISSING = (
    "has no effect without spotalis.io/spot-percentage: no replica is placed or moved; add it to "
    'enable Spotalis, or "0" to keep every replica on on-demand'
)


@pytest.mark.parametrize(
    ("annotations", "warned"),
    [
        pytest.param(annotated(min_on_demand="2"), ("min-on-demand", "2"), id="only a minimum"),
        pytest.param({}, ("enabled", "true"), id="only enabled"),
        pytest.param(annotated(spot_fallback="5m"), ("enabled", "true"), id="only a patience"),
        pytest.param(annotated(min_on_demand="11"), ("min-on-demand", "11"), id="a high minimum"),
        pytest.param(annotated(spot_percentage="0"), None, id="0 percent is a policy"),
    ],
)
def test_a_missing_percentage_is_a_warning_that_says_what_to_add(
    annotations: Mapping[str, str], warned: tuple[str, str] | None
) -> None:
    warnings = read(annotations).warnings
    assert [(w.key, w.value, w.message) for w in warnings] == (
        [(*warned, MISSING)] if warned else []
    )


def test_a_minimum_in_the_settings_is_no_policy() -> None:
    configuration = read(defaults={"min-on-demand": "2"})
    assert not configuration.has_policy
    (warning,) = configuration.warnings
    assert (warning.key, warning.source) == ("min-on-demand", "the operator's settings")


@pytest.mark.parametrize(
    ("own", "everywhere", "until", "source"),
    [
        pytest.param(None, "forever", FOREVER, "namespace/spotalis-system", id="forever"),
        pytest.param(None, "frever", FOREVER, "namespace/spotalis-system", id="invalid"),
        pytest.param("forever", "2026-03-01T18:00:00Z", FOREVER, "deploy/api", id="the longer"),
        pytest.param("forever", None, FOREVER, "deploy/api", id="only its own"),
    ],
)
def test_the_namespace_of_the_operator_pauses_every_workload(
    own: str | None, everywhere: str | None, until: datetime, source: str
) -> None:
    mine = {} if own is None else annotated(paused_until=own)
    stop = {} if everywhere is None else annotated(paused_until=everywhere)
    namespace = a_namespace(name="spotalis-system", annotations=stop)
    found = pause_everywhere(read(annotated(spot_percentage="70") | mine), namespace)
    assert found.disruption.paused_until == until
    assert found.sources["paused-until"] == f"annotation on {source}"


_TEXTS = st.one_of(
    st.text(max_size=20),
    st.from_regex(r"[0-9*/,#L\-]{1,6}( [0-9*/,#L\-A-Z]{1,6}){4}", fullmatch=True),
    st.from_regex(r"[0-9]{1,4}(ms|s|m|h|d|w|%)?", fullmatch=True),
    st.from_regex(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})"
    ),
)
_WRITTEN = st.dictionaries(
    st.sampled_from([PREFIX + key for key in (*KEYS, "enabled", "spot-percantage", "slot")]), _TEXTS
)


@given(mine=_WRITTEN, labels=_WRITTEN, namespaces=_WRITTEN, defaults=_WRITTEN)
@example(
    mine={PREFIX + "disruption-timezone": "Europe/\ud800"}, labels=ON, namespaces={}, defaults={}
)
def test_any_text_is_a_value_or_a_problem(
    mine: dict[str, str],
    labels: dict[str, str],
    namespaces: dict[str, str],
    defaults: dict[str, str],
) -> None:
    settings = {key.removeprefix(PREFIX): text for key, text in defaults.items()}
    configuration = read(
        ON | mine, labels=labels, namespace=a_namespace(annotations=namespaces), defaults=settings
    )
    assert 0 <= configuration.percent <= 100
    assert 0 <= configuration.floor <= 9999
    assert configuration.spot_fallback > timedelta(0)
    read_or_reported = {*configuration.sources, *(p.key for p in configuration.problems)}
    if configuration.enabled:
        assert {key.removeprefix(PREFIX) for key in mine} & set(KEYS) <= read_or_reported
