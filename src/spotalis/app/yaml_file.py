"""YAML as it was written: each value's text, line, and what YAML 1.1 takes it for.

Works on PyYAML's node tree, because its objects have lost what a message needs: lines, the second
of two equal keys, and that ``12:30`` was no 750.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import yaml

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

from spotalis.model.kinds import TEXT, BadSetting, Written

_TAGS = {
    "tag:yaml.org,2002:str": TEXT,
    "tag:yaml.org,2002:value": TEXT,
    "tag:yaml.org,2002:int": "int",
    "tag:yaml.org,2002:float": "float",
    "tag:yaml.org,2002:bool": "bool",
    "tag:yaml.org,2002:null": "null",
    "tag:yaml.org,2002:timestamp": "timestamp",
}


class NotYaml(Exception):
    """The text is not YAML; ``where`` is the place if it is known."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.where = where


def written_in(
    data: bytes, where: Callable[[int], str], problems: list[BadSetting]
) -> Written | None:
    """What a YAML text holds; None if nothing.

    Args:
        data: UTF-8.
        where: a line's number, from 1, to a place as messages show it.
        problems: gets keys that are there twice, tags, and values that contain themselves.

    Raises:
        NotYaml: it cannot be read at all.
    """
    try:
        root = yaml.compose(data.decode("utf-8-sig"), Loader=Loader)
    except UnicodeDecodeError:
        raise NotYaml("must be in UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        if getattr(error, "context", None) == "expected a single document in the stream":
            what = "a second document begins here"
        place = where(mark.line + 1) if mark else ""
        raise NotYaml(f"must be one YAML document: {what}", place) from None
    except RecursionError:
        raise NotYaml("must not be nested so deep") from None
    return None if root is None else _Walk(where, problems).written(root, "", root)


@dataclass
class _Walk:
    """One walk over a tree of nodes; aliases make it a graph."""

    where: Callable[[int], str]
    problems: list[BadSetting]
    done: dict[int, Written] = field(default_factory=dict)
    inside: set[int] = field(default_factory=set)

    def written(self, node: yaml.Node, path: str, at: yaml.Node) -> Written:
        """A node; its place is that of its key or dash, ``at``."""
        place = self.where(at.start_mark.line + 1)
        if id(node) in self.inside:
            self.problems.append(BadSetting(place, path, "must not contain itself"))
            return Written("", place, "null")
        if id(node) not in self.done:
            self.inside.add(id(node))
            self.done[id(node)] = self._made(node, path, place)
            self.inside.discard(id(node))
        return self.done[id(node)]

    def _made(self, node: yaml.Node, path: str, place: str) -> Written:
        if isinstance(node, yaml.MappingNode):
            return Written(self._mapping(node, path), place, TEXT)
        if isinstance(node, yaml.SequenceNode):
            items = (self.written(n, f"{path}[{i}]", n) for i, n in enumerate(node.value))
            return Written(tuple(items), place, TEXT)
        if node.tag not in _TAGS:
            self.problems.append(BadSetting(place, path, f"must not have the tag {node.tag}"))
        return Written(node.value, place, _TAGS.get(node.tag, TEXT))

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Written]:
        found: dict[str, Written] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            name = key.value if isinstance(key, yaml.ScalarNode) else "(a key)"
            here = f"{path}.{name}" if path else name
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                message = "must not be a key: merges, lists and mappings cannot be"
                self.problems.append(BadSetting(self.where(line), here, message))
            elif name in lines:
                message = f"is written twice; first in line {lines[name]}"
                self.problems.append(BadSetting(self.where(line), here, message))
            else:
                lines[name] = line
                found[name] = self.written(value, here, key)
        return found
