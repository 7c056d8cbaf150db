"""Reading settings: a file, environment variables above it, flags above those.

Every source is read completely and every problem is reported at once. A value that a stronger
source overrides must be valid too, because it takes effect as soon as the stronger one is removed.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from spotalis.model.controller_configuration import (
    APIRateLimiter,
    ControllerConfiguration,
    InterruptionBreaker,
    LeaderElection,
    NamespaceFilter,
    StormBreaker,
)
from spotalis.model.suggestion import did_you_mean, suggest
from spotalis.settings.contradictions import find_contradictions
from spotalis.settings.declarations import FILE_VARIABLE, SETTINGS, Setting
from spotalis.settings.options import LogOptions, ServingOptions, Settings
from spotalis.settings.value_types import InvalidSettings, Problem, Problems, RawValue
from spotalis.settings.yaml_file import parse

DEFAULT = "default"

_PREFIX = "SPOTALIS_"
_SERVICE_LINK = re.compile(
    r"SPOTALIS_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)=.*"
    r"|SPOTALIS_(\w+_)?PORT=(tcp|udp|sctp)://.*"
)
"""Variables, with their values, that Kubernetes sets in every container for a Service whose name
begins with "spotalis" (`enableServiceLinks`; kubernetes/pkg/kubelet/envvars/envvars.go). For a
Service `spotalis-serving-webhook`, the last one has the name of a setting."""


class Effective(msgspec.Struct, frozen=True):
    """The effective value of a setting, and its source."""

    setting: Setting
    value: object
    data: object
    """As it was written; a default as it would be written."""
    source: str
    """``default``, ``spotalis.yaml:7``, ``$SPOTALIS_RESYNC`` or ``--resync``."""


class Loaded(msgspec.Struct, frozen=True):
    """All settings after reading every source."""

    settings: Settings
    effective: Mapping[str, Effective]
    """By key, in the order of the declarations."""


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """The sources of settings, weakest first."""

    file: Path | None = None
    content: bytes | None = None
    """Of the file, if it is not on this machine; None: it is read."""
    environment: Mapping[str, str]
    flags: Mapping[str, str]
    """Text by the setting's key."""

    def load(self) -> Loaded:
        """Read all sources.

        Raises:
            InvalidSettings: with every problem.
            OSError: the file cannot be read.
        """
        problems: Problems = []
        effective = {
            key: Effective(setting, setting.default_value, setting.default, DEFAULT)
            for key, setting in SETTINGS.items()
        }
        for setting, raw in [*self._read_file(problems), *self._read_texts(problems)]:
            already = len(problems)
            value = setting.type.read(raw, problems)
            if len(problems) == already:
                effective[setting.key] = Effective(setting, value, raw.data(), raw.where)
        invalid_keys = {problem.key for problem in problems}
        for key, other, message in find_contradictions({k: e.value for k, e in effective.items()}):
            if not invalid_keys & {key, other}:
                places = dict.fromkeys(effective[k].source for k in (key, other))
                where = " and ".join(place for place in places if place != DEFAULT) or DEFAULT
                problems.append(Problem(where, key, message))
        if problems:
            raise InvalidSettings(sorted(problems, key=self._line))
        return Loaded(_build(effective.values()), effective)

    def _line(self, problem: Problem) -> float:
        """Sort key: problems in the file by line, then the others as found."""
        line = problem.where.removeprefix(f"{self.file}:")
        return int(line) if line.isdecimal() else math.inf

    def _read_file(self, problems: Problems) -> Iterator[tuple[Setting, RawValue]]:
        if self.file is None:
            return
        name = str(self.file)
        data = self.file.read_bytes() if self.content is None else self.content
        if root := parse(data, "", lambda line: f"{name}:{line}" if line else name, problems):
            yield from _leaves(root, problems)

    def _read_texts(self, problems: Problems) -> Iterator[tuple[Setting, RawValue]]:
        """Read the variables, then the flags."""
        by_variable = {setting.variable: setting for setting in SETTINGS.values()}
        texts = []
        for name, text in self.environment.items():
            if _SERVICE_LINK.fullmatch(f"{name}={text}"):
                continue
            if setting := by_variable.get(name):
                if text:  # as in most programs, an empty variable counts as unset
                    texts.append((setting, text, f"${name}"))
            elif name.startswith(_PREFIX) and name != FILE_VARIABLE:
                hint = did_you_mean(name, [*by_variable, FILE_VARIABLE])
                problems.append(Problem(f"${name}", name, f"is not a setting{hint}"))
        texts += [(SETTINGS[k], text, f"--{SETTINGS[k].flag}") for k, text in self.flags.items()]
        for setting, text, where in texts:
            if raw := _from_text(setting, text, where, problems):
                yield setting, raw


def _build(effective: Iterable[Effective]) -> Settings:
    """The settings as the objects that hold them."""
    given: defaultdict[object, dict[str, Any]] = defaultdict(dict)
    for one in effective:
        if one.source != DEFAULT:
            given[one.setting.owner][one.setting.field] = one.value
    controller = ControllerConfiguration(
        **given[ControllerConfiguration],
        namespaces=NamespaceFilter(**given[NamespaceFilter]),
        defaults=given[dict],
        rate_limit=APIRateLimiter(**given[APIRateLimiter]),
        leader_election=LeaderElection(**given[LeaderElection]),
        storm=StormBreaker(**given[StormBreaker]),
        breaker=InterruptionBreaker(**given[InterruptionBreaker]),
    )
    serving, logging = ServingOptions(**given[ServingOptions]), LogOptions(**given[LogOptions])
    return Settings(controller=controller, serving=serving, logging=logging)


def _from_text(setting: Setting, text: str, where: str, problems: Problems) -> RawValue | None:
    """The value of a variable or flag; lists and mappings are YAML on one line."""
    key, form = setting.key, setting.type.form
    if form == "text":
        return RawValue(text, key, where)
    if form == "words" and not text.lstrip().startswith("["):
        words = [RawValue(w.strip(), f"{key}[{n}]", where) for n, w in enumerate(text.split(","))]
        return RawValue(tuple(words), key, where)
    return parse(text.encode(), key, lambda line: where, problems)


def _leaves(raw: RawValue, problems: Problems) -> Iterator[tuple[Setting, RawValue]]:
    """The settings in a file with their values."""
    if raw.value is None:
        return  # a section in which every line is commented out
    if not isinstance(raw.value, Mapping):
        message = "must be a mapping of settings"
        problems.append(Problem(raw.where, raw.key or "(the file)", message))
        return
    for item in raw.value.values():
        if item.key in SETTINGS:
            yield SETTINGS[item.key], item
        elif any(known.startswith(f"{item.key}.") for known in SETTINGS):
            yield from _leaves(item, problems)
        else:
            item.report(problems, f"is not a setting{_suggestion(item.key)}")


def _suggestion(key: str) -> str:
    """Suggest a setting of the same name in another section, else a similar setting or section."""
    by_name = {known.rpartition(".")[2]: known for known in SETTINGS}
    if same := by_name.get(key.rpartition(".")[2]):
        return suggest(same)
    return did_you_mean(key, {*SETTINGS, *(setting.section for setting in SETTINGS.values())})
