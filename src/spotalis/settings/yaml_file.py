"""YAML as text: every scalar is the text that was written, with its line.

YAML 1.1 reads ``12:30`` as 750, ``0123`` as 83 and ``on`` as true. Spotalis does not use this
interpretation: the type of the setting alone decides what a text means.
"""

from __future__ import annotations

from collections.abc import Callable

import yaml

try:
    from yaml import CBaseLoader as Loader
except ImportError:  # PyYAML was built without libyaml
    from yaml import BaseLoader as Loader  # type: ignore[assignment]

from spotalis.settings.raw_values import Problem, RawValue

_NOTHING = ("", "~", "null")
"""What YAML writes, without quotes, for a key without a value."""
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map")}


class NotYAML(Exception):
    """The text is not one YAML document; ``where`` is the place, if it is known."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.where = where


def parse(data: bytes, where: Callable[[int], str], problems: list[Problem]) -> RawValue | None:
    """Read a YAML document.

    Args:
        data: UTF-8.
        where: turns a line number, from 1, into a place as messages show it.
        problems: receives duplicate keys, tags, and values that contain themselves.

    Returns:
        None if the document is empty.

    Raises:
        NotYAML: the text cannot be parsed.
    """
    try:
        root = yaml.compose(data.decode("utf-8-sig"), Loader=Loader)
    except UnicodeDecodeError:
        raise NotYAML("must be in UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        if getattr(error, "context", None) == "expected a single document in the stream":
            what = "a second document begins here"
        place = where(mark.line + 1) if mark else ""
        raise NotYAML(f"must be one YAML document: {what}", place) from None
    except RecursionError:
        raise NotYAML("is nested too deeply") from None
    return None if root is None else _Converter(where, problems).convert(root, "", root)


class _Converter:
    """Converts a tree of YAML nodes; aliases make it a graph, so each node is converted once."""

    def __init__(self, where: Callable[[int], str], problems: list[Problem]) -> None:
        self._where = where
        self._problems = problems
        self._done: dict[int, RawValue] = {}
        self._open: set[int] = set()

    def convert(self, node: yaml.Node, path: str, at: yaml.Node) -> RawValue:
        """The value of a node; its place is the line of ``at``, its key or itself."""
        place = self._where(at.start_mark.line + 1)
        if id(node) in self._open:
            self._problems.append(Problem(place, path, "must not contain itself"))
            return RawValue(None, place)
        if id(node) not in self._done:
            self._open.add(id(node))
            self._done[id(node)] = RawValue(self._value(node, path, place), place)
            self._open.discard(id(node))
        return self._done[id(node)]

    def _value(
        self, node: yaml.Node, path: str, place: str
    ) -> str | tuple[RawValue, ...] | dict[str, RawValue] | None:
        if node.tag not in _TAGS:
            self._problems.append(Problem(place, path, f"must not have the tag {node.tag}"))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.convert(n, f"{path}[{i}]", n) for i, n in enumerate(node.value))
        is_quoted = bool(getattr(node, "style", None))
        return None if node.value in _NOTHING and not is_quoted else str(node.value)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, RawValue]:
        found: dict[str, RawValue] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            name = key.value if isinstance(key, yaml.ScalarNode) else "(a key)"
            here = f"{path}.{name}" if path else name
            if not isinstance(key, yaml.ScalarNode):
                message = "must not be a key: lists and mappings cannot be keys"
                self._problems.append(Problem(self._where(line), here, message))
            elif name in lines:
                message = f"is a duplicate of line {lines[name]}"
                self._problems.append(Problem(self._where(line), here, message))
            else:
                lines[name] = line
                found[name] = self.convert(value, here, key)
        return found
