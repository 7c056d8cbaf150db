"""YAML as client-go reads it: by the rules of go.yaml.in/yaml/v2 (resolve.go, decode.go).

PyYAML reads ``2024-05-01`` as a date and ``12:30`` as 750, rejects ``=`` and unknown tags, and
knows no ``y``; the Go library does the opposite in each case.
"""

from __future__ import annotations

import base64
import binascii
import re

import yaml

try:
    from yaml import CBaseLoader as BaseLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import BaseLoader  # type: ignore[assignment]

_PLAIN = "plain"
"""The tag of scalars without quotes and without a tag, whose text determines their type."""
_YAML = "tag:yaml.org,2002:"
_BY_TEXT = (_PLAIN, *(_YAML + name for name in ("null", "bool", "int", "float")))
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF"), False),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"\.(nan|NaN|NAN)|[-+]?\.(inf|Inf|INF)")


def load(data: bytes) -> object:
    """Read the first document, as client-go does; None if there is none.

    The result consists of dicts with text as keys, lists, text, numbers, booleans and None. Unlike
    client-go, this rejects duplicate keys, of which client-go silently uses the last one.

    Raises:
        yaml.YAMLError: the data is not YAML.
        RecursionError: a value is nested too deeply, or contains itself.
    """
    loader = _Loader(data)
    try:
        node = loader.get_node() if loader.check_node() else None
        return None if node is None else _Converter().convert(node)
    finally:
        loader.dispose()


def load_all(data: bytes) -> list[yaml.Node]:
    """The root nodes of all documents, for :func:`value_of`; empty documents are left out.

    Raises:
        yaml.YAMLError: the data is not YAML.
    """
    loader = _Loader(data)
    nodes = []
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None and value_of(node) is not None:
                nodes.append(node)
    finally:
        loader.dispose()
    return nodes


def value_of(node: yaml.Node) -> object:
    """The value of a node, as client-go reads it.

    Raises:
        yaml.YAMLError, RecursionError: as for :func:`load`.
    """
    return _Converter().convert(node)


class _Loader(BaseLoader):
    """Tells scalars without quotes from others."""

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]


class _Converter:
    """Converts a tree of nodes; aliases make it a graph, so each node is converted once."""

    def __init__(self) -> None:
        self._done: dict[int, object] = {}

    def convert(self, node: yaml.Node) -> object:
        """The value of a node. Tags of mappings and lists have no meaning."""
        if id(node) not in self._done:
            self._done[id(node)] = self._value(node)
        return self._done[id(node)]

    def _value(self, node: yaml.Node) -> object:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(item) for item in node.value]
        return _scalar(node) if isinstance(node, yaml.ScalarNode) else None

    def _mapping(self, node: yaml.MappingNode) -> dict[str, object]:
        found: dict[str, object] = {}
        own: set[str] = set()
        for key_node, value in node.value:
            if key_node.value == "<<" and key_node.tag in (_PLAIN, _YAML + "merge"):
                # A merge also overwrites the keys in front of it, other than in the specification.
                found.update(self._merged(value))
                continue
            key = _key(key_node)
            if key in own:
                raise _error(f"duplicate key {key!r}", key_node)
            own.add(key)
            found[key] = self.convert(value)
        return found

    def _merged(self, node: yaml.Node) -> dict[str, object]:
        """The mappings behind ``<<``; the first that has a key wins."""
        merged: dict[str, object] = {}
        for source in reversed(node.value if isinstance(node, yaml.SequenceNode) else [node]):
            value = self.convert(source)
            if not isinstance(value, dict):
                raise _error("<< must be a mapping or a list of mappings", source)
            merged.update(value)
        return merged


def _key(node: yaml.Node) -> str:
    value = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if value is None:
        raise _error("a key must be text", node)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _scalar(node: yaml.ScalarNode) -> object:
    text = str(node.value)
    if node.tag == _YAML + "binary":
        try:
            return base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True).decode(
                errors="replace"
            )
        except binascii.Error:
            raise _error("!!binary must be base64", node) from None
    return _resolved(text) if node.tag in _BY_TEXT else text


def _resolved(text: str) -> object:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _SPECIAL_FLOAT.fullmatch(text):
        return float(text.replace(".", ""))
    digits = text if text.startswith(".") else text.replace("_", "")
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(digits):
        is_octal = re.fullmatch("[-+]?0[0-7]+", digits)
        return int(digits, 8 if is_octal else 0)
    return float(digits) if _FLOAT.fullmatch(digits) else text


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
