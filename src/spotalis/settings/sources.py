"""Reading settings: a file, environment variables above it, flags above those.

Every source is read completely and every problem is reported at once. A value that a stronger
source overrides must be valid too, because it takes effect as soon as the stronger one is removed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from spotalis.model.suggestion import did_you_mean, find_similar, suggest
from spotalis.settings.contradictions import find_contradictions
from spotalis.settings.declarations import FILE_VARIABLE, SETTINGS, Setting
from spotalis.settings.options import Settings, build, default_of
from spotalis.settings.value_types import InvalidValue, Problem, RawValue
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


@dataclass(frozen=True, slots=True)
class Effective:
    """The effective value of a setting, and its source."""

    setting: Setting
    value: object
    data: object
    """As it was written; a default as it would be written."""
    source: str
    """``default``, ``spotalis.yaml:7``, ``$SPOTALIS_RESYNC`` or ``--resync``."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """All settings after reading every source."""

    settings: Settings
    effective: Mapping[str, Effective]
    """By key, in the order of the declarations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The sources of settings, weakest first."""

    file: Path | None = None
    environment: Mapping[str, str]
    flags: Mapping[str, str]
    """Text by the setting's key."""

    def load(self) -> Loaded:
        """Read all sources.

        Raises:
            InvalidValue: with every problem.
            OSError: the file cannot be read.
        """
        problems: list[Problem] = []
        given: dict[str, Effective] = {}
        for setting, raw in [*self._read_file(problems), *self._read_texts(problems)]:
            try:
                value = setting.type.read(raw, setting.key)
            except InvalidValue as invalid:
                problems += invalid.problems
            else:
                given[setting.key] = Effective(setting, value, raw.data(), raw.where)
        defaults = {
            key: Effective(setting, default_of(Settings, setting.field), setting.default, DEFAULT)
            for key, setting in SETTINGS.items()
        }
        effective = defaults | given
        invalid_keys = {problem.key for problem in problems}
        for key, other, message in find_contradictions({k: e.value for k, e in effective.items()}):
            if not invalid_keys & {key, other}:
                places = dict.fromkeys(given[k].source for k in (key, other) if k in given)
                where = " and ".join(places) or DEFAULT
                problems.append(Problem(where, key, message))
        if problems:
            raise InvalidValue(sorted(problems, key=self._line))
        settings = build({e.setting.field: e.value for e in given.values()})
        return Loaded(settings, effective)

    def _line(self, problem: Problem) -> float:
        """Sort key: problems in the file by line, then the others as found."""
        line = problem.where.removeprefix(f"{self.file}:")
        return int(line) if line.isdecimal() else math.inf

    def _read_file(self, problems: list[Problem]) -> Iterator[tuple[Setting, RawValue]]:
        if self.file is None:
            return
        name = str(self.file)
        root = parse(
            self.file.read_bytes(),
            "(the file)",
            lambda line: f"{name}:{line}" if line else name,
            problems,
        )
        if root is not None:
            yield from _leaves(root, "", problems)

    def _read_texts(self, problems: list[Problem]) -> Iterator[tuple[Setting, RawValue]]:
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


def _from_text(setting: Setting, text: str, where: str, problems: list[Problem]) -> RawValue | None:
    """The value of a variable or flag; lists and mappings are YAML on one line."""
    if setting.type.form == "text":
        return RawValue(text, where)
    if setting.type.form == "words" and not text.lstrip().startswith("["):
        return RawValue(tuple(RawValue(word.strip(), where) for word in text.split(",")), where)
    return parse(text.encode(), setting.key, lambda line: where, problems)


def _leaves(
    raw: RawValue, path: str, problems: list[Problem]
) -> Iterator[tuple[Setting, RawValue]]:
    """The settings in a file with their values."""
    if raw.value is None:
        return  # a section in which every line is commented out
    if not isinstance(raw.value, Mapping):
        problems.append(Problem(raw.where, path or "(the file)", "must be a mapping of settings"))
        return
    for name, item in raw.value.items():
        key = f"{path}.{name}" if path else name
        if key in SETTINGS:
            yield SETTINGS[key], item
        elif any(known.startswith(f"{key}.") for known in SETTINGS):
            yield from _leaves(item, key, problems)
        else:
            hint = _suggestion(path, name)
            problems.append(Problem(item.where, key, f"is not a setting{hint}"))


def _suggestion(path: str, name: str) -> str:
    """Suggest a setting of this name in another section, else a similar key, nearest first."""
    by_name = {key.rpartition(".")[2]: key for key in SETTINGS}
    if name in by_name:
        return suggest(by_name[name])
    prefix = f"{path}." if path else ""
    siblings = {k.removeprefix(prefix).partition(".")[0] for k in SETTINGS if k.startswith(prefix)}
    for known in ({name: prefix + name for name in siblings}, by_name):
        if similar := find_similar(name, known):
            return suggest(known[similar])
    return ""
