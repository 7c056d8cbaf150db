"""Reading the policy of a workload."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from spotalis.model.configuration import WorkloadConfiguration, read_configuration
from spotalis.model.disruption import MoveLimit
from spotalis.model.objects import PREFIX
from spotalis.model.policy_values import FOREVER, KEYS
from tests.support.builders import (
    a_namespace,
    annotated,
    workload_named_api,
)
from tests.support.policies import INVALID, NOTHING, OFF, ON, read


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
