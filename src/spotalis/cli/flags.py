"""A flag for every declared setting, and the sources that a command line names."""

from __future__ import annotations

import os
import re
from dataclasses import make_dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from spotalis.cli.faults import ExitCode, Fault
from spotalis.settings.declarations import SETTINGS, Setting
from spotalis.settings.raw_values import InvalidValue
from spotalis.settings.sources import FILE_VARIABLE, Loaded, Sources
from spotalis.settings.value_types import BOOLEAN

_SHORT = {"namespace": "-n"}

CONFIG_HELP = f"The settings file (YAML); default: ${FILE_VARIABLE}, or none."


def _field(setting: Setting) -> tuple[str, Any, Any]:
    default = setting.default
    names = [f"--{setting.flag}", *([_SHORT[setting.key]] if setting.key in _SHORT else [])]
    truth = setting.type is BOOLEAN
    shown = str(default).lower() if truth else default
    about = re.sub(r"`([^`]*)`", r"\1", setting.help)
    section = setting.key.partition(".")[0] if "." in setting.key else "general"
    parameter = Parameter(
        name=names,
        help=about if default in ("", [], {}) else f"{about} Default: {shown}.",
        negative=f"--no-{setting.flag}" if truth else "",
        group=Group(f"Settings: {section}"),
        show_default=False,
    )
    wanted = bool | None if truth else str | None
    return _attribute(setting), Annotated[wanted, parameter], None


def _attribute(setting: Setting) -> str:
    return setting.flag.replace("-", "_")


_Flags = make_dataclass("SettingFlags", map(_field, SETTINGS.values()), frozen=True, kw_only=True)
_Flags.__module__ = __name__  # it is "types" else, and cyclopts expands no class of Python's own
SettingFlags: Any = Annotated[_Flags, Parameter(name="*")] | None
"""The type of a command's argument that takes all these flags."""


def sources(config: Path | None, flags: object | None) -> Sources:
    """Where the settings come from: the file, this process's environment, and ``flags``."""
    given: dict[str, str] = {}
    for setting in SETTINGS.values():
        value = getattr(flags, _attribute(setting), None)
        if value is not None:
            given[setting.key] = str(value).lower() if isinstance(value, bool) else str(value)
    named = os.environ.get(FILE_VARIABLE)
    file = config or (Path(named) if named else None)
    return Sources(file=file, environment=os.environ, flags=given)


def load(sources: Sources) -> Loaded:
    """The settings in force.

    Raises:
        Fault: something is wrong with them.
    """
    try:
        return sources.load()
    except InvalidValue as invalid:
        problems = invalid.problems
        settings = "1 setting" if len(problems) == 1 else f"{len(problems)} settings"
        raise Fault(
            code="SP023",
            what=f"{settings} cannot be used; nothing was started",
            detail=tuple(str(problem) for problem in problems),
            fix="correct the above; what may be written: spotalis config --schema",
            exit_code=ExitCode.USAGE,
        ) from None
    except OSError as error:
        raise Fault(
            code="SP024",
            what=f"the settings file {sources.file} cannot be read: {error.strerror}",
            detail=("nothing was started",),
            fix=f"name a file that is there: --config or ${FILE_VARIABLE}",
            exit_code=ExitCode.USAGE,
        ) from None
