"""The policy of a workload, read from labels and annotations.

See docs/reference/behaviour.md, "What an owner writes".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from spotalis.model.disruption import DisruptionPolicy, DisruptionWindow, MoveLimit
from spotalis.model.objects import PREFIX, Namespace, Workload
from spotalis.model.policy_text import check_length, cut
from spotalis.model.policy_values import (
    FOREVER,
    KEYS,
    parse_boolean,
    parse_paused_until,
    parse_timezone,
)
from spotalis.model.possible_types import selects_compute_class
from spotalis.model.suggestion import did_you_mean

DEFAULT_SPOT_FALLBACK = timedelta(seconds=120)

SHORT_KINDS = {"Deployment": "deploy", "StatefulSet": "sts", "Rollout": "rollout"}
"""The kinds that can be managed, with their names in messages."""

ENABLED = PREFIX + "enabled"
POD_SLOT = PREFIX + "slot"
POD_CAPACITY_TYPE = PREFIX + "capacity-type"
POD_DECISION = PREFIX + "decision"
POD_KEYS = frozenset({POD_SLOT, POD_CAPACITY_TYPE, POD_DECISION})
"""The keys that the webhook writes on pods. In a pod template they were copied from a pod."""


NOT_READ = "is not read by Spotalis"
MISPLACED = "has no effect in a pod template; write it in the metadata of the workload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A value that is invalid or has no effect."""

    key: str
    """Without the prefix: ``spot-percentage``."""
    value: str | None
    """None if it is not known."""
    message: str
    """The end of a sentence: ``must be a whole number from 0 to 100``."""
    source: str
    """Where the value is written: ``annotation on deploy/api``."""
    is_unknown_key: bool = False
    """Spotalis does not read the key."""

    def __str__(self) -> str:
        value = "" if self.value is None else f" '{self.value}'"
        return f"{PREFIX}{self.key}{value} {self.message} ({self.source})"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadConfiguration:
    """The policy of one workload, with the source of each value."""

    enabled: bool = False
    spot_percentage: int | None = None
    min_on_demand: int | None = None
    spot_fallback: timedelta = DEFAULT_SPOT_FALLBACK
    """How long a spot replica may be unschedulable; ``timedelta.max`` is ``never``."""
    disruption: DisruptionPolicy = DisruptionPolicy()
    sources: Mapping[str, str] = field(default_factory=dict)
    """Key (without the prefix) to the source of its value. Absent keys have their defaults."""
    problems: tuple[Problem, ...] = ()
    """If there are any, the workload is left unchanged."""
    warnings: tuple[Problem, ...] = ()
    """They are reported and stop nothing."""

    @property
    def has_policy(self) -> bool:
        """Whether a percentage is set. A minimum alone says nothing about spot."""
        return self.spot_percentage is not None

    @property
    def percent(self) -> int:
        """The percentage on spot; 0 without a policy."""
        return self.spot_percentage or 0

    @property
    def floor(self) -> int:
        """The minimum of replicas on on-demand."""
        return self.min_on_demand or 0


READ_KEYS = frozenset({ENABLED, *POD_KEYS, *(PREFIX + key for key in KEYS)})
"""Every key under the prefix that has a meaning."""
MAX_NAMED_KEYS = 5
"""Of the other keys, how many are named, each with a suggestion. The rest is only counted."""


def read_configuration(
    workload: Workload, namespace: Namespace | None, defaults: Mapping[str, str]
) -> WorkloadConfiguration:
    """Read the policy of a workload: from its metadata, its namespace, then ``defaults``.

    Invalid values do not raise an error; all of them are in ``problems``.

    Args:
        defaults: key (without the prefix) to text, from the operator's settings.
    """
    here = f"{SHORT_KINDS[workload.kind]}/{workload.name}"
    there = f"namespace/{workload.namespace}"
    reader = _Reader()
    enabled = reader.enabled(workload.labels, workload.annotations, here)
    if enabled is None and namespace is not None:
        enabled = reader.enabled(namespace.labels, namespace.annotations, there)
    if enabled is None:
        reader.check_template(workload, here)
    # If ``enabled`` is invalid, the other problems are reported at the same time.
    if not enabled and not reader.problems:
        return WorkloadConfiguration(sources=reader.sources)
    layers = [(workload.annotations, PREFIX, f"annotation on {here}")]
    if namespace is not None:
        layers.append((namespace.annotations, PREFIX, f"annotation on {there}"))
    layers.append((defaults, "", "the operator's settings"))
    values = reader.values(layers)
    reader.check_window(values)
    reader.warn(workload, here, values)
    return WorkloadConfiguration(
        enabled=bool(enabled),
        spot_percentage=values.get("spot-percentage"),
        min_on_demand=values.get("min-on-demand"),
        spot_fallback=values.get("spot-fallback", DEFAULT_SPOT_FALLBACK),
        disruption=_disruption(values),
        sources=reader.sources,
        problems=tuple(reader.problems),
        warnings=tuple(reader.warnings),
    )


def pause_everywhere(
    configuration: WorkloadConfiguration, operators_namespace: Namespace | None
) -> WorkloadConfiguration:
    """The same policy, paused as long as ``paused-until`` on the operator's namespace says.

    This is the emergency stop of the cluster. An invalid value pauses forever.
    """
    key = PREFIX + "paused-until"
    if operators_namespace is None or key not in operators_namespace.annotations:
        return configuration
    try:
        until = parse_paused_until(check_length(operators_namespace.annotations[key]).strip())
    except ValueError:
        until = FOREVER
    own = configuration.disruption.paused_until
    if own is not None and own >= until:
        return configuration
    source = f"annotation on namespace/{operators_namespace.name}"
    return replace(
        configuration,
        disruption=replace(configuration.disruption, paused_until=until),
        sources={**configuration.sources, "paused-until": source},
    )


def _disruption(values: Mapping[str, Any]) -> DisruptionPolicy:
    window = None
    if "disruption-schedule" in values and "disruption-duration" in values:
        window = DisruptionWindow(
            schedule=values["disruption-schedule"],
            duration=values["disruption-duration"],
            timezone=values.get("disruption-timezone") or parse_timezone("UTC"),
        )
    return DisruptionPolicy(
        window=window,
        moves_in_flight=values.get("max-moves-in-flight", MoveLimit(percent=10)),
        pdb_override=values.get("pdb-override", False),
        paused_until=values.get("paused-until"),
        paused_reason=values.get("paused-reason", ""),
    )


class _Reader:
    """Collects values, their sources, and problems."""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def enabled(
        self, labels: Mapping[str, str], annotations: Mapping[str, str], where: str
    ) -> bool | None:
        """The value of ``enabled`` on one object; None if it is not set. False wins."""
        value: bool | None = None
        for mapping, what in ((labels, "label"), (annotations, "annotation")):
            if ENABLED in mapping:
                source = f"{what} on {where}"
                parsed = self._parse("enabled", mapping[ENABLED], parse_boolean, source)
                if value is not False:
                    value = bool(parsed)
                    self.sources["enabled"] = source
        return value

    def check_template(self, workload: Workload, here: str) -> None:
        """Report an ``enabled`` that is only in the pod template: it was meant to enable."""
        if ENABLED in workload.template_keys:
            self._problem("enabled", None, MISPLACED, f"template of {here}")

    def values(self, layers: list[tuple[Mapping[str, str], str, str]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, parse in KEYS.items():
            for mapping, prefix, source in layers:
                if prefix + key in mapping:
                    value = self._parse(key, mapping[prefix + key], parse, source)
                    if value is not None:
                        found[key] = value
                        self.sources[key] = source
                    break
        return found

    def check_window(self, values: Mapping[str, Any]) -> None:
        pair = ("disruption-schedule", "disruption-duration")
        for key, other in (pair, pair[::-1]):
            is_invalid = any(problem.key == other for problem in self.problems)
            if key in values and other not in self.sources and not is_invalid:
                self._problem(key, "", f"also needs {PREFIX}{other}", self.sources[key])

    def warn(self, workload: Workload, here: str, values: Mapping[str, Any]) -> None:
        for name in workload.template_keys:
            if name in READ_KEYS:
                overwritten = "does not belong in a pod template and is overwritten"
                message = overwritten if name in POD_KEYS else MISPLACED
                self._warning(name.removeprefix(PREFIX), None, message, f"template of {here}")
        self._warn_of_unread_keys(workload, here)
        if selects_compute_class(workload.shape):
            message = "only counts the replicas: the pod template selects a GKE ComputeClass, "
            message += "which decides where they run"
            self._warning("enabled", "true", message, f"template of {here}")
        floor = values.get("min-on-demand")
        if "spot-percentage" not in values:
            if not self.problems:
                self._warn_of_missing_percentage(floor)
        elif floor is not None and floor > workload.replicas > 0:
            self._warning(
                "min-on-demand",
                str(floor),
                f"is greater than the {workload.replicas} replicas: all belong on on-demand",
                self.sources["min-on-demand"],
            )

    def _warn_of_unread_keys(self, workload: Workload, here: str) -> None:
        unread = [
            (name.removeprefix(PREFIX), text, source)
            for found, source in (
                (workload.annotations.items(), f"annotation on {here}"),
                (workload.labels.items(), f"label on {here}"),
                (((name, None) for name in workload.template_keys), f"template of {here}"),
            )
            for name, text in found
            if name not in READ_KEYS
        ]
        for key, text, source in unread[:MAX_NAMED_KEYS]:
            suggestion = did_you_mean(key, (*KEYS, "enabled"), quote="'")
            self._warning(key, text, NOT_READ + suggestion, source, is_unknown_key=True)
        if rest := unread[MAX_NAMED_KEYS:]:
            count = len(rest) - 1 + workload.dropped_keys
            message = f"and {count} more are not read by Spotalis" if count else NOT_READ
            self._warning(rest[0][0], None, message, here, is_unknown_key=True)

    def _warn_of_missing_percentage(self, floor: int | None) -> None:
        key, value = ("enabled", "true") if floor is None else ("min-on-demand", str(floor))
        self._warning(
            key,
            value,
            f"has no effect without {PREFIX}spot-percentage: no replica is placed or moved; add it "
            'to enable Spotalis, or "0" to keep every replica on on-demand',
            self.sources[key],
        )

    def _parse(self, key: str, text: str, parse: Callable[[str], Any], source: str) -> Any:
        try:
            return parse(check_length(text).strip())
        except ValueError as error:
            self._problem(key, text, str(error), source)
            return None

    def _problem(self, key: str, value: str | None, message: str, source: str) -> None:
        self.problems.append(_problem(key, value, message, source))

    def _warning(
        self,
        key: str,
        value: str | None,
        message: str,
        source: str,
        *,
        is_unknown_key: bool = False,
    ) -> None:
        found = _problem(key, value, message, source)
        self.warnings.append(replace(found, is_unknown_key=is_unknown_key))


def _problem(key: str, value: str | None, message: str, source: str) -> Problem:
    shown = None if value is None else cut(value)
    return Problem(key=key, value=shown, message=message, source=source)
