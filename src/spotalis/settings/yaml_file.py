"""YAML as text: every scalar is the text that was written, with its line.

YAML 1.1 reads ``12:30`` as 750, ``0123`` as 83 and ``on`` as true. Spotalis does not use this
interpretation: the type of the setting alone decides what a text means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import yaml

try:
    from yaml import CBaseLoader as Loader
except ImportError:  # PyYAML was built without libyaml
    from yaml import BaseLoader as Loader  # type: ignore[assignment]

from spotalis.settings.value_types import Problem, Problems, RawValue

_NOTHING = ("", "~", "null")
"""What YAML writes, without quotes, for a key without a value."""
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map")}


def parse(
    data: bytes, key: str, where: Callable[[int], str], problems: Problems
) -> RawValue | None:
    """Read a YAML document.

    Args:
        data: UTF-8.
        key: of the setting that the document is the value of; empty for a file of settings.
        where: turns a line number, from 1, into a place as messages show it; 0 for the document.
        problems: receives syntax errors, duplicate keys, tags, and values that contain themselves.

    Returns:
        None if the document is empty or cannot be parsed.
    """
    line = 0
    try:
        root = yaml.compose(data.decode("utf-8-sig"), Loader=Loader)
    except UnicodeDecodeError:
        message = "must be in UTF-8"
    except yaml.YAMLError as error:
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        if getattr(error, "context", None) == "expected a single document in the stream":
            what = "a second document begins here"
        message = f"must be one YAML document: {what}"
        if mark := getattr(error, "problem_mark", None):
            line = mark.line + 1
    except RecursionError:
        message = "is nested too deeply"
    else:
        return None if root is None else _Converter(where, problems).convert(root, key, root)
    problems.append(Problem(where(line), key or "(the file)", message))
    return None


class _Converter:
    """Converts a tree of YAML nodes; aliases make it a graph, so each node is converted once."""

    def __init__(self, where: Callable[[int], str], problems: Problems) -> None:
        self._where = where
        self._problems = problems
        self._values: dict[int, tuple[RawValue, ...] | Mapping[str, RawValue] | None] = {}
        """Of lists and mappings, by the id of their node; None while one is being converted."""

    def convert(self, node: yaml.Node, key: str, at: yaml.Node) -> RawValue:
        """The value of a node; its place is the line of ``at``, which is its key or itself."""
        if node.tag not in _TAGS:
            self._report(at, key, f"must not have the tag {node.tag}")
        value: str | tuple[RawValue, ...] | Mapping[str, RawValue] | None
        if isinstance(node, yaml.ScalarNode):
            value = None if node.value in _NOTHING and not node.style else str(node.value)
        else:
            if id(node) not in self._values:
                self._values[id(node)] = None
                self._values[id(node)] = self._items(node, key)
            value = self._values[id(node)]
            if value is None:
                self._report(at, key, "must not contain itself")
        return RawValue(value, key, self._where(at.start_mark.line + 1))

    def _items(self, node: yaml.Node, path: str) -> tuple[RawValue, ...] | Mapping[str, RawValue]:
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.convert(n, f"{path}[{i}]", n) for i, n in enumerate(node.value))
        found: dict[str, RawValue] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "(a key)"
            here = f"{path}.{name}" if path else name
            if not isinstance(key, yaml.ScalarNode):
                self._report(key, here, "must not be a key: lists and mappings cannot be keys")
            elif name in lines:
                self._report(key, here, f"is a duplicate of line {lines[name]}")
            else:
                lines[name] = key.start_mark.line + 1
                found[name] = self.convert(value, here, key)
        return found

    def _report(self, at: yaml.Node, key: str, message: str) -> None:
        self._problems.append(Problem(self._where(at.start_mark.line + 1), key, message))
