"""A flag for every setting, and loading the settings that a command line selects."""

from __future__ import annotations

import argparse
import os
from itertools import groupby
from typing import TYPE_CHECKING

from spotalis.cli.errors import CommandError, ExitCode
from spotalis.cli.parser import BooleanFlag
from spotalis.settings.declarations import FILE_VARIABLE, SETTINGS, Setting
from spotalis.settings.value_types import BOOLEAN, InvalidSettings

if TYPE_CHECKING:  # it imports YAML, which help does not need
    from spotalis.settings.sources import Loaded, Sources

_SHORT_FLAGS = {"namespace": ("-n",)}


FREQUENT = frozenset(
    {
        "namespace",
        "readOnly",
        "maxMovesInFlight",
        "watchNamespaces",
        "nodeGroups",
        "leaderElection.enabled",
        "logging.level",
        "logging.format",
    }
)
"""The settings that the help shows; docs/reference/configuration.md lists all."""


def add_setting_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--config`` and a flag for every setting."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"Settings file (YAML). Default: ${FILE_VARIABLE}, or no file.",
    )
    for section, settings in groupby(SETTINGS.values(), lambda setting: setting.section):
        group = parser.add_argument_group(f"Settings in {section}" if section else "Settings")
        for setting in settings:
            _add_flag(group, setting)


def _add_flag(group: argparse._ArgumentGroup, setting: Setting) -> None:
    text = setting.help.replace("`", "").replace("%", "%%")
    if setting.default not in ("", [], {}):
        text += f" Default: {str(setting.default).lower()}."
    if setting.key not in FREQUENT:
        text = argparse.SUPPRESS
    names = [*_SHORT_FLAGS.get(setting.key, ()), f"--{setting.flag}"]
    if setting.type is BOOLEAN:
        names.append(f"--no-{setting.flag}")
        group.add_argument(*names, dest=setting.key, action=BooleanFlag, nargs="?", help=text)
    else:
        group.add_argument(*names, dest=setting.key, metavar=setting.type.metavar, help=text)


def sources(arguments: argparse.Namespace) -> Sources:
    """The sources of the settings: the file, this process's environment, and the flags."""
    from pathlib import Path

    from spotalis.settings.sources import Sources

    flags = {key: text for key in SETTINGS if (text := getattr(arguments, key)) is not None}
    file = arguments.config or os.environ.get(FILE_VARIABLE)
    return Sources(file=Path(file) if file else None, environment=os.environ, flags=flags)


def load(sources: Sources) -> Loaded:
    """Read the settings.

    Raises:
        CommandError: a setting is invalid, or the file cannot be read.
    """
    try:
        return sources.load()
    except InvalidSettings as invalid:
        count = len(invalid.problems)
        raise CommandError(
            code="SP023",
            what=f"{count} invalid setting{'s' if count > 1 else ''}; nothing was started",
            detail=tuple(str(problem) for problem in invalid.problems),
            fix="correct the lines above; to list all settings: spotalis config --schema",
            exit_code=ExitCode.USAGE,
        ) from None
    except OSError as error:
        raise CommandError(
            code="SP024",
            what=f"cannot read the settings file {sources.file}: {error.strerror}",
            detail=("nothing was started",),
            fix=f"correct the path in --config or ${FILE_VARIABLE}",
            exit_code=ExitCode.USAGE,
        ) from None
