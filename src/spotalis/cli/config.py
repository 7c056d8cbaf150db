"""``spotalis config``: what is set, by whom, and what may be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from spotalis.app.settings import InForce
from spotalis.cli.faults import ExitCode, Fault
from spotalis.cli.flags import CONFIG_HELP, SettingFlags, load, sources


def config(
    *,
    show: Annotated[bool, Parameter(negative="")] = False,
    schema: Annotated[bool, Parameter(negative="")] = False,
    reference: Annotated[bool, Parameter(negative="")] = False,
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
    reference
        The reference page of all settings (Markdown).
    output
        Of --show: table or json.
    """
    if [show, schema, reference].count(True) != 1:
        raise Fault(
            code="SP020",
            what="one of --show, --schema and --reference must be given",
            fix="spotalis config --show",
            exit_code=ExitCode.USAGE,
        )
    if show:
        in_force = list(load(sources(config, flags)).in_force.values())
        print(_json(in_force) if output == "json" else _table(in_force))
        return ExitCode.DONE
    from spotalis.cli import reference as pages

    print(json.dumps(pages.schema(), indent=2) if schema else pages.markdown(), end="\n")
    return ExitCode.DONE


def _table(in_force: list[InForce]) -> str:
    rows = [("SETTING", "VALUE", "SOURCE")]
    rows += [(one.setting.path, one_line(one.data), one.source) for one in in_force]
    paths, values = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{p:<{paths}}  {v:<{min(values, 40)}}  {s}" for p, v, s in rows)


def _json(in_force: list[InForce]) -> str:
    items = [{"path": o.setting.path, "value": o.data, "source": o.source} for o in in_force]
    whole = {"apiVersion": "cli.spotalis.io/v1", "kind": "SettingList", "items": items}
    return json.dumps(whole, indent=2)


def one_line(data: object) -> str:
    """A value in one line; text that is empty or has blanks in quotes."""
    if isinstance(data, str) and data and " " not in data:
        return data
    return json.dumps(data)
