"""What may be set, for programs (JSON Schema) and for people (docs/reference/configuration.md)."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from spotalis.model.configuration import KEYS
from spotalis.model.kinds import Truth
from spotalis.model.nodes import BUILT_IN_GROUPS
from spotalis.model.settings import OWNERS_ALONE, Setting, declared


def schema() -> dict[str, Any]:
    """JSON Schema of the settings file."""
    root = _section("Settings of the Spotalis operator.")
    for path, setting in declared().items():
        *sections, name = path.split(".")
        at = root
        for section in sections:
            at = at["properties"].setdefault(section, _section())
        default = setting.kind.data(setting.default)
        known = {} if default == "" else {"default": default}
        at["properties"][name] = setting.kind.schema | {"description": setting.about} | known
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}


def _section(description: str = "") -> dict[str, Any]:
    about = {"description": description} if description else {}
    return {**about, "type": ["object", "null"], "properties": {}, "additionalProperties": False}


_HEAD = """# Settings

<!-- Made from the declarations in src/spotalis/model/settings.py by `make docs`; do not edit. -->

Settings of the operator come from, weakest first:

1. the defaults below;
2. one YAML file, named by `--config` or `$SPOTALIS_CONFIG`;
3. variables `SPOTALIS_...`; an empty variable is one that is not set;
4. flags of `spotalis controller`.

`spotalis config --show` (with the same file, variables and flags) prints every value in force with
its source; `spotalis config --schema` prints the JSON Schema of the file, for editors and CI.

They are read at start. Unknown keys, keys written twice, bad values and contradictions are all
listed, with file and line, variable or flag, and nothing is started (exit code 2). A value that a
stronger source overrides must be right too. At SIGHUP the process reads the sources again and
applies the log levels; whatever else has changed it names in its log, and goes on with the old.

Durations have units: `90s`, `5m`, `1h30m`. In the file, text that YAML 1.1 would take for something
else must stand in quotes (`"on"`, `"12:30"`, `"0123"`); without, it is refused, not guessed. In
variables and flags, lists and mappings are YAML on one line; plain words may be listed with commas.
"""

_NODE_GROUPS = """
## Node groups

A group speaks for the nodes that carry its `marker` label. Its `rules` are asked in order: each has
a `class` (`spot` or `on-demand`), a label `key`, and one of `values: [...]`, `exists: true` and
`absent: true`. With `otherwiseOnDemand: true` its nodes that no rule knows are on-demand.
`spotTolerations` go onto pods placed on its spot nodes. The first group that has an answer for a
node decides. Groups named in the settings count even before a node of theirs is there; one with the
name of a built-in group takes its place.
"""

_EXAMPLE = """
## Example

```yaml
# yaml-language-server: $schema=./spotalis.schema.json   (from `spotalis config --schema`)
namespaceSelector:
  matchExpressions:
    - {key: team, operator: In, values: [shop, data]}
excludedNamespaces: [monitoring]
defaults:
  spot-percentage: 50
  disruption-schedule: "0 2 * * *"
  disruption-duration: 4h
nodeGroups:
  - name: our-own                     # asked before the built-in groups
    marker: pool.example.com/kind     # a label that all of its nodes carry
    rules:
      - {class: spot, key: pool.example.com/kind, values: [cheap]}
    otherwiseOnDemand: true
    spotTolerations:
      - {key: pool.example.com/cheap, operator: Exists}
logging:
  levels: {spotalis.kube: debug}
```
"""


def markdown() -> str:
    """The reference page."""
    parts = [_HEAD]
    for section, settings in groupby(declared().values(), _section_of):
        parts.append(f"\n## {section}\n" if section else "\n## Top level\n")
        parts += [_entry(setting) for setting in settings]
        if section == "defaults":
            alone = ", ".join(f"`{key}`" for key in KEYS if key in OWNERS_ALONE)
            parts.append(f"\nThere is no default for {alone}: only an owner can ask for it.\n")
    names = ", ".join(f"`{group.name}`" for group in BUILT_IN_GROUPS)
    parts.append(f"{_NODE_GROUPS}\nBuilt in, in order: {names}.\n")
    parts.append(_EXAMPLE)
    return "".join(parts).rstrip("\n")


def _section_of(setting: Setting[Any]) -> str:
    return setting.path.partition(".")[0] if "." in setting.path else ""


def _entry(setting: Setting[Any]) -> str:
    default = setting.kind.data(setting.default)
    shown = "none" if default == "" else f"`{_text(default)}`"
    flag = f"`--{setting.flag}`"
    if isinstance(setting.kind, Truth):
        flag += f", `--no-{setting.flag}`"
    live = " Applied at SIGHUP." if setting.live else ""
    return (
        f"\n### `{setting.path}`\n\n{setting.about}{live}\n\n"
        f"- must be {setting.kind.words}\n- default: {shown}\n"
        f"- variable: `{setting.variable}`; flag: {flag}\n"
    )


def _text(data: object) -> str:
    return data if isinstance(data, str) else json.dumps(data)
