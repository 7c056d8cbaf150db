"""Manifests with the place of every key and value, as editors count lines and columns."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spotalis.cli.errors import CommandError, ExitCode
from spotalis.kube.config.yaml_document import load_all, value_of

SUFFIXES = (".yaml", ".yml", ".json")
_HELM_SOURCE = re.compile(r"^# Source: (?P<file>\S+)")
"""The comment that `helm template` writes above each document."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file; line and column from 1."""

    file: str
    line: int = 1
    column: int = 1
    width: int = 1
    """Characters to underline."""
    text: str = ""
    """The whole line."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of a file."""

    value: Mapping[str, Any]
    node: yaml.MappingNode
    file: str
    lines: Sequence[str]

    @property
    def kind(self) -> str:
        """``kind``; empty if it is not text."""
        kind = self.value.get("kind")
        return kind if isinstance(kind, str) else ""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """``metadata``; empty if it is not a mapping."""
        metadata = self.value.get("metadata")
        return metadata if isinstance(metadata, Mapping) else {}

    def has(self, *path: str) -> bool:
        """Whether a field exists."""
        value: object = self.value
        for name in path:
            if not isinstance(value, Mapping) or name not in value:
                return False
            value = value[name]
        return True

    def place(self, *path: str, key: bool = False) -> Place:
        """The place of a field: of its value, or of its key.

        If the field does not exist, the place of the nearest field above it.
        """
        node: yaml.Node = self.node
        at: yaml.Node = self.node
        for index, name in enumerate(path):
            if not isinstance(node, yaml.MappingNode):
                break
            pair = next((pair for pair in node.value if pair[0].value == name), None)
            if pair is None:
                break
            is_last = index == len(path) - 1
            node, at = pair[1], pair[0] if key or not is_last else pair[1]
        return self._at(at)

    def _at(self, node: yaml.Node) -> Place:
        start, end = node.start_mark, node.end_mark
        text = self.lines[start.line] if start.line < len(self.lines) else ""
        width = end.column - start.column if end.line == start.line else len(text) - start.column
        return Place(self.file, start.line + 1, start.column + 1, max(1, width), text)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file, or a part of it, that is not YAML."""

    place: Place
    message: str


def read_manifests(names: Sequence[str], *, recursive: bool) -> Iterator[Manifest | Unreadable]:
    """Read files, directories and ``-`` for standard input.

    Args:
        recursive: read the directories in directories too.

    Raises:
        CommandError: a file does not exist or cannot be read.
    """
    for name in names:
        for shown, data in _files(name, recursive=recursive):
            yield from _documents(shown, data)


def _files(name: str, *, recursive: bool) -> Iterator[tuple[str, bytes]]:
    if name == "-":
        yield "(stdin)", sys.stdin.buffer.read()
        return
    path = Path(name)
    try:
        if path.is_dir():
            entries = path.rglob("*") if recursive else path.glob("*")
            for found in sorted(p for p in entries if p.suffix in SUFFIXES):
                yield str(found), found.read_bytes()
        else:
            yield name, path.read_bytes()
    except OSError as error:
        raise CommandError(
            code="SP044",
            what=f"cannot read {error.filename}: {error.strerror}",
            fix="name a file, a directory, or - for standard input",
            exit_code=ExitCode.FAILED,
        ) from None


def _documents(file: str, data: bytes) -> Iterator[Manifest | Unreadable]:
    lines = data.decode("utf-8", "replace").splitlines()
    try:
        nodes = load_all(data)
    except yaml.YAMLError as error:
        yield _unreadable(file, lines, error)
        return
    except RecursionError:
        yield Unreadable(Place(file), "is nested too deeply")
        return
    for node in nodes:
        yield from _objects(node, _source(file, lines, node.start_mark.line), lines)


def _objects(node: yaml.Node, file: str, lines: Sequence[str]) -> Iterator[Manifest]:
    """The objects of a document: itself, or the items of a List."""
    value = value_of(node)
    if not isinstance(value, dict) or not isinstance(node, yaml.MappingNode):
        return
    kind = value.get("kind")
    items = next((v for k, v in node.value if k.value == "items"), None)
    if isinstance(kind, str) and kind.endswith("List") and isinstance(items, yaml.SequenceNode):
        for item in items.value:
            yield from _objects(item, file, lines)
    else:
        yield Manifest(value, node, file, lines)


def _source(file: str, lines: Sequence[str], line: int) -> str:
    """The template that Helm names in a comment above the document, or the file itself."""
    for text in reversed(lines[max(0, line - 5) : line + 1]):
        if (match := _HELM_SOURCE.match(text)) is not None:
            return f"{file} ({match['file']})"
        if text.startswith("---"):
            break
    return file


def _unreadable(file: str, lines: Sequence[str], error: yaml.YAMLError) -> Unreadable:
    message = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    mark = getattr(error, "problem_mark", None)
    if any("{{" in line for line in lines):
        message += "; render a Helm chart first: helm template CHART | spotalis validate -"
    if mark is None:
        return Unreadable(Place(file), message)
    text = lines[mark.line] if mark.line < len(lines) else ""
    return Unreadable(Place(file, mark.line + 1, mark.column + 1, 1, text), message)
