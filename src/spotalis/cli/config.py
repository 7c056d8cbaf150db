"""``spotalis config``: the effective settings, and the schema of the settings file."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from spotalis.cli.errors import usage_error
from spotalis.cli.setting_flags import add_setting_flags, load, sources
from spotalis.settings.declarations import SETTINGS

if TYPE_CHECKING:  # it imports YAML, which help and schema do not need
    from spotalis.settings.sources import Effective

DESCRIPTION = """\
Print the effective settings with their sources, or the JSON Schema of the
settings file.

Examples:
  spotalis config --show
  spotalis config --show --config spotalis.yaml --output json
  spotalis config --schema > spotalis.schema.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--show",
        action="store_true",
        help="Print every effective setting and its source: the value that `spotalis controller` "
        "uses with the same file, variables and flags.",
    )
    parser.add_argument(
        "--schema", action="store_true", help="Print the JSON Schema of the settings file."
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json"),
        default="table",
        metavar="FORMAT",
        help="Output format of --show: table or json. Default: table.",
    )
    add_setting_flags(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print what was asked for.

    Raises:
        CommandError: the flags or the settings are invalid.
    """
    if arguments.show == arguments.schema:
        raise usage_error("specify either --show or --schema", "spotalis config --show")
    if arguments.schema:
        print(json.dumps(settings_schema(), indent=2))
        return
    effective = list(load(sources(arguments)).effective.values())
    print(_json(effective) if arguments.output == "json" else _table(effective))


def settings_schema() -> dict[str, Any]:
    """The JSON Schema of the settings file."""
    root = _section("Settings of the Spotalis operator.")
    for key, setting in SETTINGS.items():
        *sections, name = key.split(".")
        at = root
        for section in sections:
            at = at["properties"].setdefault(section, _section())
        default = {} if setting.default == "" else {"default": setting.default}
        at["properties"][name] = setting.type.schema | {"description": setting.help} | default
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}


def _section(description: str = "") -> dict[str, Any]:
    about = {"description": description} if description else {}
    return {**about, "type": ["object", "null"], "properties": {}, "additionalProperties": False}


def _table(effective: list[Effective]) -> str:
    rows = [("SETTING", "VALUE", "SOURCE")]
    rows += [(e.setting.key, _one_line(e.data), e.source) for e in effective]
    keys, values = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{k:<{keys}}  {v:<{min(values, 40)}}  {s}" for k, v, s in rows)


def _json(effective: list[Effective]) -> str:
    items = [{"key": e.setting.key, "value": e.data, "source": e.source} for e in effective]
    document = {"apiVersion": "cli.spotalis.io/v1", "kind": "SettingList", "items": items}
    return json.dumps(document, indent=2)


def _one_line(data: object) -> str:
    """A value on one line; text that is empty or contains spaces is quoted."""
    if isinstance(data, str) and data and " " not in data:
        return data
    return json.dumps(data)
