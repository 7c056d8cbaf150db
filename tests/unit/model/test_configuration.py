"""Reading the policy of a workload."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spotalis.model.configuration import (
    FOREVER,
    KEYS,
    WorkloadConfiguration,
    pause_everywhere,
    read_configuration,
)
from spotalis.model.disruption import MoveLimit
from spotalis.model.objects import PREFIX, Namespace
from tests.support.builders import (
    DEPLOYMENT,
    STATEFUL_SET,
    a_namespace,
    annotated,
    workload_named_api,
)

ON = {PREFIX + "enabled": "true"}
OFF = {PREFIX + "enabled": "false"}
INVALID = {PREFIX + "enabled": "yes"}
NOTHING: Mapping[str, str] = {}


def read(
    annotations: Mapping[str, str] | None = None,
    *,
    labels: Mapping[str, str] = ON,
    namespace: Namespace | None = None,
    defaults: Mapping[str, str] | None = None,
    kind: str = DEPLOYMENT,
    replicas: int = 10,
    template_keys: tuple[str, ...] = (),
) -> WorkloadConfiguration:
    workload = workload_named_api(
        kind=kind,
        replicas=replicas,
        labels=labels,
        annotations=annotations or {},
        template_keys=template_keys,
    )
    return read_configuration(
        workload, a_namespace() if namespace is None else namespace, defaults or {}
    )


def value_of(configuration: WorkloadConfiguration, key: str) -> object:
    disruption = configuration.disruption
    window = disruption.window
    return {
        "spot-percentage": configuration.spot_percentage,
        "min-on-demand": configuration.min_on_demand,
        "spot-fallback": configuration.spot_fallback,
        "disruption-schedule": window and window.schedule,
        "disruption-duration": window and window.duration,
        "disruption-timezone": window and window.timezone,
        "pdb-override": disruption.pdb_override,
        "paused-until": disruption.paused_until,
        "max-moves-in-flight": disruption.moves_in_flight,
    }[key]


NIGHTLY = annotated(disruption_schedule="0 2 * * *", disruption_duration="3h")
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("spot-percentage", "70", 70),
        ("spot-percentage", "70%", 70),
        ("spot-percentage", "0", 0),
        ("spot-percentage", "100%", 100),
        ("spot-percentage", " 70 ", 70),
        ("min-on-demand", "0", 0),
        ("min-on-demand", "2", 2),
        ("min-on-demand", "9999", 9999),
        ("spot-fallback", "90s", timedelta(seconds=90)),
        ("spot-fallback", "5m", timedelta(minutes=5)),
        ("spot-fallback", "never", timedelta.max),
        ("disruption-schedule", "*/15 1-5 * * MON", "*/15 1-5 * * MON"),
        ("disruption-schedule", "0 2 * * 1-5", "0 2 * * 1-5"),
        ("disruption-duration", "1h30m", timedelta(minutes=90)),
        ("disruption-timezone", "Europe/Berlin", BERLIN),
        ("disruption-timezone", "UTC", ZoneInfo("UTC")),
        ("pdb-override", "true", True),
        ("pdb-override", "false", False),
        ("paused-until", "forever", FOREVER),
        ("paused-until", "2026-03-01T18:00:00Z", datetime(2026, 3, 1, 18, tzinfo=UTC)),
        ("paused-until", "2026-03-01T18:00:00+01:00", datetime(2026, 3, 1, 17, tzinfo=UTC)),
        ("paused-until", "2026-03-01T18:00:00.5Z", datetime(2026, 3, 1, 18, 0, 0, 500000, UTC)),
        ("max-moves-in-flight", "1", MoveLimit(count=1)),
        ("max-moves-in-flight", "9999", MoveLimit(count=9999)),
        ("max-moves-in-flight", "25%", MoveLimit(percent=25)),
        ("max-moves-in-flight", "100%", MoveLimit(percent=100)),
    ],
)
def test_a_valid_value_is_read(key: str, text: str, value: object) -> None:
    annotations = NIGHTLY | {PREFIX + "spot-percentage": "50", PREFIX + key: text}
    configuration = read(annotations, replicas=9999)
    assert configuration.problems == ()
    assert configuration.warnings == ()
    assert value_of(configuration, key) == value
    assert configuration.sources[key] == "annotation on deploy/api"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *(
            ("spot-percentage", text)
            for text in ("7O", "101", "-1", "+7", "70.5", "70 %", "%", "", "1000", "７０", "70%%")
        ),
        *(("min-on-demand", text) for text in ("10000", "-1", "two", "2.0", "20%", "", "0x2")),
        *(("spot-fallback", text) for text in ("90", "0s", "5 m", "Never", "", "-5m", "off")),
        *(
            ("disruption-schedule", text)
            for text in (
                "",
                "@daily",
                "0 2 * *",
                "0 2 * * * *",
                "60 2 * * *",
                "0 24 * * *",
                "0 2 30 2 *",
                "0 2 * * FRI-MON",
                "every night at two o'clock",
            )
        ),
        *(("disruption-duration", text) for text in ("", "3", "0h", "3 hours", "400d")),
        *(
            ("disruption-timezone", text)
            for text in ("", "Berlin", "Europe", "../etc/passwd", "+01:00", "a" * 256, "\x00")
        ),
        *(("pdb-override", text) for text in ("", "True", "yes", "1")),
        *(
            ("paused-until", text)
            for text in (
                "",
                "tomorrow",
                "2026-03-01",
                "2026-03-01T18:00:00",
                "2026-13-01T18:00:00Z",
                "18:00:00Z",
                "Forever",
            )
        ),
        *(("max-moves-in-flight", text) for text in ("", "0", "0%", "101%", "-1", "1.5", "10000")),
    ],
)
def test_an_invalid_value_is_one_problem_that_names_key_value_and_place(
    key: str, text: str
) -> None:
    configuration = read(NIGHTLY | {PREFIX + "spot-percentage": "50", PREFIX + key: text})
    (problem,) = configuration.problems
    assert (problem.key, problem.value) == (key, text)
    assert problem.source == "annotation on deploy/api"
    assert f"{PREFIX}{key} '{text}' must " in str(problem)


@pytest.mark.parametrize("key", [*KEYS, "enabled"])
def test_a_value_above_256_characters_is_not_parsed_and_its_length_is_named(key: str) -> None:
    valid = {"enabled": "true", "spot-percentage": "70", "max-moves-in-flight": "1"}
    for text in ("1" * 24_000, valid.get(key, "1") + " " * 256):
        configuration = read({PREFIX + key: text}, labels=ON)
        (problem,) = configuration.problems
        assert problem.key == key
        assert problem.value == f"{text[:40]}..."
        assert problem.message == f"must have at most 256 characters; it has {len(text)}"


def test_a_value_of_256_characters_is_parsed() -> None:
    assert read({PREFIX + "spot-percentage": f"{'70':<256}"}).percent == 70


def test_of_many_keys_that_are_not_read_five_are_named_and_the_rest_is_counted() -> None:
    unread = {f"{PREFIX}spot-percentag{n:04}": "x" for n in range(4_000)}
    warnings = [str(one) for one in read(unread | annotated(spot_percentage="50")).warnings]
    assert len(warnings) == 6
    assert warnings[0] == (
        "spotalis.io/spot-percentag0000 'x' is not read by Spotalis; did you mean "
        "'spot-percentage'? (annotation on deploy/api)"
    )
    assert warnings[5] == (
        "spotalis.io/spot-percentag0005 and 3994 more are not read by Spotalis (deploy/api)"
    )


def test_the_sixth_key_that_is_not_read_is_named_if_it_is_the_last() -> None:
    unread = {f"{PREFIX}x{n}": "x" for n in range(6)}
    warnings = [str(one) for one in read(unread | annotated(spot_percentage="50")).warnings]
    assert warnings[5] == "spotalis.io/x5 is not read by Spotalis (deploy/api)"


def test_absent_keys_have_the_built_in_values() -> None:
    configuration = read(annotated(spot_percentage="70"))
    assert configuration.enabled
    assert (configuration.percent, configuration.floor) == (70, 0)
    assert configuration.spot_fallback == timedelta(seconds=120)
    assert configuration.disruption.window is None
    assert configuration.disruption.moves_in_flight == MoveLimit(percent=10)
    assert configuration.disruption.pdb_override is False
    assert configuration.disruption.paused_until is None
    assert configuration.sources.keys() == {"enabled", "spot-percentage"}


def test_without_a_percentage_there_is_no_policy() -> None:
    assert not read().has_policy
    assert read(annotated(spot_percentage="0")).has_policy
    assert not read(annotated(min_on_demand="2")).has_policy
    assert read(defaults={"spot-percentage": "50"}).has_policy


def test_a_window_needs_schedule_and_duration_and_is_in_utc_by_default() -> None:
    window = read(NIGHTLY).disruption.window
    assert window is not None
    assert window.timezone == ZoneInfo("UTC")
    for key, other in (
        ("disruption-schedule", "disruption-duration"),
        ("disruption-duration", "disruption-schedule"),
    ):
        (problem,) = read({PREFIX + key: NIGHTLY[PREFIX + key]}).problems
        assert problem.key == key
        assert f"also needs {PREFIX}{other}" in str(problem)


def test_half_a_window_with_an_invalid_other_half_is_one_problem() -> None:
    problems = read(NIGHTLY | annotated(disruption_duration="3")).problems
    assert [problem.key for problem in problems] == ["disruption-duration"]


def test_a_window_may_come_from_workload_and_namespace() -> None:
    schedule, duration = ({key: text} for key, text in NIGHTLY.items())
    configuration = read(schedule, namespace=a_namespace(annotations=duration))
    assert configuration.problems == ()
    assert configuration.disruption.window is not None


@pytest.mark.parametrize(
    ("labels", "annotations", "in_namespace", "enabled", "source"),
    [
        pytest.param(NOTHING, NOTHING, NOTHING, False, None, id="neither label nor annotation"),
        pytest.param(ON, NOTHING, NOTHING, True, "label on deploy/api", id="a label"),
        pytest.param(NOTHING, ON, NOTHING, True, "annotation on deploy/api", id="an annotation"),
        pytest.param(
            ON,
            OFF,
            NOTHING,
            False,
            "annotation on deploy/api",
            id="false takes precedence over true",
        ),
        pytest.param(
            OFF, ON, NOTHING, False, "label on deploy/api", id="a false label takes precedence too"
        ),
        pytest.param(NOTHING, NOTHING, ON, True, "label on namespace/shop", id="a namespace"),
        pytest.param(
            OFF,
            NOTHING,
            ON,
            False,
            "label on deploy/api",
            id="a workload overrides its namespace with false",
        ),
        pytest.param(
            ON,
            NOTHING,
            OFF,
            True,
            "label on deploy/api",
            id="a workload overrides its namespace with true",
        ),
        pytest.param(
            ON,
            OFF,
            ON,
            False,
            "annotation on deploy/api",
            id="false takes precedence on the workload",
        ),
        pytest.param(
            ON,
            NOTHING,
            INVALID,
            True,
            "label on deploy/api",
            id="an invalid namespace label is not read",
        ),
    ],
)
def test_a_workload_is_managed_if_a_label_or_annotation_enables_it(
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    in_namespace: Mapping[str, str],
    enabled: bool,
    source: str | None,
) -> None:
    configuration = read(annotations, labels=labels, namespace=a_namespace(labels=in_namespace))
    assert configuration.enabled is enabled
    assert configuration.problems == ()
    assert configuration.sources.get("enabled") == source


def test_label_and_annotation_of_a_namespace_may_disagree_too() -> None:
    assert not read(labels={}, namespace=a_namespace(labels=ON, annotations=OFF)).enabled
    assert not read(labels={}, namespace=a_namespace(labels=OFF, annotations=ON)).enabled
    assert read(labels={}, namespace=a_namespace(annotations=ON)).enabled


def test_a_workload_can_be_read_before_its_namespace_is_known() -> None:
    workload = workload_named_api(labels=ON, annotations=annotated(spot_percentage="70"))
    assert read_configuration(workload, None, {}).percent == 70
    assert not read_configuration(workload_named_api(), None, {}).enabled


@pytest.mark.parametrize(
    ("labels", "in_namespace", "place"),
    [
        pytest.param(INVALID, NOTHING, "label on deploy/api", id="on the workload"),
        pytest.param(NOTHING, INVALID, "label on namespace/shop", id="on the namespace"),
        pytest.param(
            INVALID, ON, "label on deploy/api", id="not replaced by the value of the namespace"
        ),
    ],
)
def test_an_invalid_enabled_is_a_problem(
    labels: Mapping[str, str], in_namespace: Mapping[str, str], place: str
) -> None:
    configuration = read(labels=labels, namespace=a_namespace(labels=in_namespace))
    assert not configuration.enabled
    (problem,) = configuration.problems
    assert str(problem) == f'spotalis.io/enabled \'yes\' must be "true" or "false" ({place})'


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
