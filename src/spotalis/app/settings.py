"""Settings from their sources: a file, variables on top, flags on top of those.

All sources are read whole and every problem is told at once; what a stronger source overrides must
be right too, because the day the stronger one goes is a bad day to find out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from spotalis import logs
from spotalis.app.logs import set_level
from spotalis.app.yaml_file import NotYaml, written_in
from spotalis.model.kinds import BadSetting, Kind, Refused, Written, did_you_mean
from spotalis.model.settings import (
    Setting,
    Settings,
    contradictions,
    declared,
    settings_of,
)

log = logs.get(__name__)

PREFIX = "SPOTALIS_"
FILE_VARIABLE = "SPOTALIS_CONFIG"
DEFAULT = "default"

_SERVICE_LINK = re.compile(
    # What Kubernetes puts into every container for a Service of our name (`enableServiceLinks`).
    r"SPOTALIS_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)?)"
)


@dataclass(frozen=True, slots=True)
class InForce:
    """A setting's value, and where it comes from."""

    setting: Setting[Any]
    value: Any
    data: object
    """As it was written; a default as one would write it."""
    source: str
    """``default``, ``spotalis.yaml:7``, ``$SPOTALIS_RESYNC`` or ``--resync``."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything in force."""

    settings: Settings
    in_force: Mapping[str, InForce]
    """By path, in the order of the declarations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where settings come from, weakest first."""

    file: Path | None = None
    environment: Mapping[str, str]
    flags: Mapping[str, str]
    """Text by the setting's path."""

    def load(self) -> Loaded:
        """Read them all.

        Raises:
            Refused: with everything that is wrong.
            OSError: the file cannot be read.
        """
        problems: list[BadSetting] = []
        values: dict[str, InForce] = {}
        for written in (self._in_file(problems), self._variables(problems), self._flags(problems)):
            for path, one in written.items():
                setting = declared()[path]
                try:
                    value = setting.kind.read(one, path)
                except Refused as refused:
                    problems += refused.problems
                else:
                    values[path] = InForce(setting, value, one.data(), one.where)
        settings = settings_of({path: one.value for path, one in values.items()})
        bad = {problem.path for problem in problems}
        for path, other, message in contradictions(settings):
            if not bad & {path, other}:
                places = [values[p].source for p in (path, other) if p in values]
                where = " and ".join(dict.fromkeys(places)) or DEFAULT
                problems.append(BadSetting(where, path, message))
        if problems:
            raise Refused(sorted(problems, key=self._place))
        in_force = {path: values.get(path) or _default(s) for path, s in declared().items()}
        return Loaded(settings, in_force)

    def _place(self, problem: BadSetting) -> tuple[int, int]:
        """To sort by: the file, by line; then the rest as found."""
        line = problem.where.removeprefix(f"{self.file}:")
        return (0, int(line)) if line.isdecimal() else (1, 0)

    def _in_file(self, problems: list[BadSetting]) -> dict[str, Written]:
        if self.file is None:
            return {}
        name = str(self.file)
        try:
            root = written_in(self.file.read_bytes(), lambda line: f"{name}:{line}", problems)
        except NotYaml as wrong:
            problems.append(BadSetting(wrong.where or name, "(the file)", str(wrong)))
            return {}
        if root is None:
            return {}
        return dict(_leaves(root, "", _tree(), problems))

    def _variables(self, problems: list[BadSetting]) -> dict[str, Written]:
        by_variable = {setting.variable: setting for setting in declared().values()}
        found = {}
        for name, text in self.environment.items():
            if setting := by_variable.get(name):
                # As for most programs, an empty variable is one that is not set.
                if text and (one := _from_text(setting, text, f"${name}", problems)):
                    found[setting.path] = one
            elif _is_meant_for_us(name):
                hint = did_you_mean(name, [*by_variable, FILE_VARIABLE])
                problems.append(BadSetting(f"${name}", name, f"is not a setting{hint}"))
        return found

    def _flags(self, problems: list[BadSetting]) -> dict[str, Written]:
        found = {}
        for path, text in self.flags.items():
            setting = declared()[path]
            if one := _from_text(setting, text, f"--{setting.flag}", problems):
                found[path] = one
        return found


def _is_meant_for_us(variable: str) -> bool:
    if variable == FILE_VARIABLE or not variable.startswith(PREFIX):
        return False
    return not _SERVICE_LINK.fullmatch(variable)


def _from_text(
    setting: Setting[Any], text: str, where: str, problems: list[BadSetting]
) -> Written | None:
    """The value of a variable or flag; lists and mappings are YAML on one line."""
    kind: Kind[Any] = setting.kind
    if not kind.composed:
        return Written(text, where)
    if kind.commas and not text.lstrip().startswith("["):
        return Written(tuple(Written(word.strip(), where) for word in text.split(",")), where)
    try:
        return written_in(text.encode(), lambda line: where, problems)
    except NotYaml as wrong:
        problems.append(BadSetting(where, setting.path, f"{wrong}"))
        return None


def _default(setting: Setting[Any]) -> InForce:
    return InForce(setting, setting.default, setting.kind.data(setting.default), DEFAULT)


def _tree() -> dict[str, Any]:
    """The declared paths as nested mappings, with settings at the ends."""
    tree: dict[str, Any] = {}
    for path, setting in declared().items():
        *sections, name = path.split(".")
        at = tree
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = setting
    return tree


def _leaves(
    written: Written, path: str, tree: Mapping[str, Any], problems: list[BadSetting]
) -> Iterator[tuple[str, Written]]:
    """What stands in a file, by the path of its setting."""
    if written.taken_for == "null":
        return  # a section whose lines are all commented out
    if not isinstance(written.value, Mapping):
        message = "must be a mapping of settings"
        problems.append(BadSetting(written.where, path or "(the file)", message))
        return
    for key, item in written.value.items():
        here = f"{path}.{key}" if path else key
        match tree.get(key):
            case None:
                hint = _suggestion(path, key, tree)
                problems.append(BadSetting(item.where, here, f"is not a setting{hint}"))
            case Setting():
                yield here, item
            case section:
                yield from _leaves(item, here, section, problems)


def _suggestion(path: str, key: str, siblings: Mapping[str, Any]) -> str:
    """What may have been meant: a neighbour, else a setting of that name somewhere else."""
    elsewhere = {p.rpartition(".")[2]: p for p in declared()}
    if key in elsewhere:
        return f"; did you mean `{elsewhere[key]}`?"
    for known in ({name: f"{path}.{name}" if path else name for name in siblings}, elsewhere):
        if close := get_close_matches(key, known, n=1, cutoff=0.6):
            return f"; did you mean `{known[close[0]]}`?"
    return ""


class Rereading:
    """Reads the settings again when asked, and applies what may change while a process runs."""

    def __init__(self, sources: Sources, loaded: Loaded) -> None:
        self._sources = sources
        self._started_with = loaded
        self._now = loaded

    def __call__(self) -> None:
        """Apply log levels; say what else has changed, or what is wrong."""
        try:
            loaded = self._sources.load()
        except Refused as refused:
            problems = [str(problem) for problem in refused.problems]
            log.error("Failed to reload settings", problems=problems)
            return
        except OSError as error:
            log.error("Failed to reload settings", error=str(error))
            return
        old, new = self._now.settings.logging, loaded.settings.logging
        set_level("", new.level)
        for name in old.levels.keys() - new.levels.keys():
            set_level(name, "notset")
        for name, level in new.levels.items():
            set_level(name, level)
        self._now = loaded
        at_start = self._started_with.in_force
        changed = [
            path
            for path, one in loaded.in_force.items()
            if not one.setting.live and one.value != at_start[path].value
        ]
        log.info("Reloaded log levels", log_level=new.level)
        if changed:
            log.warning("Changed settings take effect after a restart", settings=changed)
