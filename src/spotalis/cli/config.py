"""``spotalis config``: what is set, by whom, and what may be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from spotalis.cli.faults import ExitCode, Fault
from spotalis.cli.flags import CONFIG_HELP, SettingFlags, load, sources
from spotalis.settings.declarations import SETTINGS
from spotalis.settings.sources import Effective


def config(
    *,
    show: Annotated[bool, Parameter(negative="")] = False,
    schema: Annotated[bool, Parameter(negative="")] = False,
    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table",
    config: Annotated[Path | None, Parameter(help=CONFIG_HELP)] = None,
    flags: SettingFlags = None,
) -> int:
    """Print the settings in force and where each comes from, or what may be set.

    Parameters
    ----------
    show
        Every value in force with its source: what `spotalis controller` would start with here.
    schema
        The JSON Schema of the settings file.
    output
        Of --show: table or json.
    """
    if show == schema:
        raise Fault(
            code="SP020",
            what="one of --show and --schema must be given",
            fix="spotalis config --show",
            exit_code=ExitCode.USAGE,
        )
    if show:
        in_force = list(load(sources(config, flags)).effective.values())
        print(_json(in_force) if output == "json" else _table(in_force))
        return ExitCode.DONE
    print(json.dumps(settings_schema(), indent=2))
    return ExitCode.DONE


def settings_schema() -> dict[str, Any]:
    """JSON Schema of the settings file."""
    root = _section("Settings of the Spotalis operator.")
    for key, setting in SETTINGS.items():
        *sections, name = key.split(".")
        at = root
        for section in sections:
            at = at["properties"].setdefault(section, _section())
        default = setting.default
        known = {} if default == "" else {"default": default}
        at["properties"][name] = setting.type.schema | {"description": setting.help} | known
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}


def _section(description: str = "") -> dict[str, Any]:
    about = {"description": description} if description else {}
    return {**about, "type": ["object", "null"], "properties": {}, "additionalProperties": False}


def _table(in_force: list[Effective]) -> str:
    rows = [("SETTING", "VALUE", "SOURCE")]
    rows += [(one.setting.key, one_line(one.data), one.source) for one in in_force]
    paths, values = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{p:<{paths}}  {v:<{min(values, 40)}}  {s}" for p, v, s in rows)


def _json(in_force: list[Effective]) -> str:
    items = [{"path": o.setting.key, "value": o.data, "source": o.source} for o in in_force]
    whole = {"apiVersion": "cli.spotalis.io/v1", "kind": "SettingList", "items": items}
    return json.dumps(whole, indent=2)


def one_line(data: object) -> str:
    """A value in one line; text that is empty or has blanks in quotes."""
    if isinstance(data, str) and data and " " not in data:
        return data
    return json.dumps(data)
