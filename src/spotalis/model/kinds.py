"""The kinds of value that a setting can have: what may be written, what it means, its JSON Schema.

A value arrives as :class:`Written`: text as somebody wrote it, with its place, and with what YAML
takes it for where it stands in a file without quotes. Kinds read the text and never YAML's
reading: ``12:30`` is not 750, ``0123`` is not 83, and ``on`` is no truth value here; where the two
could differ, the value is refused and the message says so.
"""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from spotalis.model.configuration import KEYS
from spotalis.model.durations import format_duration, parse_duration

T = TypeVar("T")
Schema: TypeAlias = dict[str, Any]

TEXT, PLAIN = "text", "plain"
"""``Written.taken_for`` of quoted text or of what can only be text; and of text outside YAML."""


@dataclass(frozen=True, slots=True)
class Written:
    """A value as it was written."""

    value: str | tuple[Written, ...] | Mapping[str, Written]
    where: str
    """File and line, variable or flag, as a message shows it."""
    taken_for: str = PLAIN
    """Of a text: ``plain`` outside YAML, else what YAML 1.1 makes of it: ``text``, ``int``,
    ``float``, ``bool``, ``null`` or ``timestamp``."""

    def data(self) -> object:
        """The same as lists, mappings and text, for printing."""
        match self.value:
            case str():
                return self.value
            case tuple():
                return [item.data() for item in self.value]
            case _:
                return {key: item.data() for key, item in self.value.items()}


@dataclass(frozen=True, slots=True)
class BadSetting:
    """Something written that cannot be used."""

    where: str
    path: str
    message: str
    """The rest of a sentence that begins with the path: ``must be at least 5s; it is '2s'``."""

    def __str__(self) -> str:
        return f"{self.where}  `{self.path}` {self.message}"


class Refused(Exception):
    """A value cannot be used: everything that is wrong with it."""

    def __init__(self, problems: Iterable[BadSetting]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a word that is not known."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""


class Kind(ABC, Generic[T]):
    """How values of one kind are written."""

    composed: ClassVar[bool] = False
    """Lists and mappings: in a variable or flag they are written as YAML on one line."""
    commas: bool = False
    """A list of words, for which commas will do in a variable or flag."""
    words: str
    """What must be written, as the end of ``must be``."""

    @abstractmethod
    def read(self, written: Written, path: str) -> T:
        """The value.

        Raises:
            Refused: with all problems.
        """

    @property
    def schema(self) -> Schema:
        """JSON Schema of what may be written in a file."""
        return self._schema()

    def data(self, value: T) -> object:
        """A default, as lists, mappings, numbers and text."""
        return self._data(value)

    @abstractmethod
    def _schema(self) -> Schema: ...

    def _data(self, value: T) -> object:
        return value

    def refuse(
        self, written: Written, path: str, message: str = "", suggestion: str = ""
    ) -> Refused:
        """What to raise for a value that is not of this kind."""
        message = message or f"must be {self.words}"
        if isinstance(written.value, str):
            message += "; it has no value" if _empty(written) else f"; it is '{written.value}'"
        elif not self.composed:
            message += "; it is a " + ("list" if isinstance(written.value, tuple) else "mapping")
        return Refused([BadSetting(written.where, path, message + suggestion)])


def _empty(written: Written) -> bool:
    return written.value == "" or written.taken_for == "null"


_TAKEN = {"int": "a number", "float": "a number", "bool": "a truth value", "timestamp": "a date"}


class Scalar(Kind[T]):
    """A kind that is one word or number."""

    unquoted: ClassVar[frozenset[str]] = frozenset()
    """What YAML may take the text for without that being a mistake, besides text."""
    quoted: ClassVar[bool] = True
    """Whether text in quotes will do."""

    def read(self, written: Written, path: str) -> T:
        """The value of a text; what is no text is refused."""
        text = written.value
        if not isinstance(text, str) or written.taken_for == "null":
            raise self.refuse(written, path)
        if hint := self._hint(text, written.taken_for):
            raise self.refuse(written, path, f"must be {self.words} ({hint})")
        try:
            return self._parse(text)
        except ValueError as error:
            raise self.refuse(written, path, str(error), self._suggestion(text)) from None

    @abstractmethod
    def _parse(self, text: str) -> T:
        """From text.

        Raises:
            ValueError: begins with ``must``; or empty, for ``words``.
        """

    def _hint(self, text: str, taken_for: str) -> str:
        """What is wrong with a text that YAML takes for something else; empty if nothing is."""
        if taken_for == TEXT and not self.quoted and self._parses(text):
            return "without quotes"
        if taken_for in _TAKEN and taken_for not in self.unquoted and self._parses(text):
            return f"YAML takes it for {_TAKEN[taken_for]} unless it stands in quotes"
        return ""

    def _suggestion(self, text: str) -> str:
        return ""

    def _parses(self, text: str) -> bool:
        try:
            self._parse(text)
        except ValueError:
            return False
        return True


class Text(Scalar[str]):
    """Text, of a pattern if one is given."""

    def __init__(self, words: str = "text", pattern: str = r"[^\n]+", *, most: int = 253) -> None:
        self.words = words
        self._pattern, self._most = pattern, most

    def _parse(self, text: str) -> str:
        if not re.fullmatch(self._pattern, text):
            raise ValueError
        if len(text) > self._most:
            raise ValueError(f"must not be longer than {self._most} characters")
        return text

    def _schema(self) -> Schema:
        return {"type": "string", "pattern": f"^(?:{self._pattern})$", "maxLength": self._most}


class Truth(Scalar[bool]):
    """``true`` or ``false``, and none of YAML's other words for them."""

    words = "true or false"
    unquoted = frozenset({"bool"})
    quoted = False

    def _parse(self, text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError
        return text == "true"

    def _schema(self) -> Schema:
        return {"type": "boolean"}


class Whole(Scalar[int]):
    """A whole number between two bounds."""

    unquoted = frozenset({"int"})
    quoted = False

    def __init__(self, least: int, most: int) -> None:
        self.words = f"a whole number from {least} to {most}"
        self._least, self._most = least, most

    def _parse(self, text: str) -> int:
        if re.fullmatch(r"0[0-7]+", text):
            raise ValueError(f"must be {self.words} (YAML takes a leading 0 for an octal number)")
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text):
            raise ValueError
        if not self._least <= int(text) <= self._most:
            raise ValueError
        return int(text)

    def _schema(self) -> Schema:
        return {"type": "integer", "minimum": self._least, "maximum": self._most}


class Number(Scalar[float]):
    """A decimal number between two bounds."""

    unquoted = frozenset({"int", "float"})
    quoted = False

    def __init__(self, least: float, most: float) -> None:
        self.words = f"a number from {least:g} to {most:g}"
        self._least, self._most = least, most

    def _parse(self, text: str) -> float:
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?", text):
            raise ValueError
        if not self._least <= float(text) <= self._most:
            raise ValueError
        return float(text)

    def _data(self, value: float) -> object:
        return int(value) if value.is_integer() else value

    def _schema(self) -> Schema:
        return {"type": "number", "minimum": self._least, "maximum": self._most}


class Duration(Scalar[timedelta]):
    """A duration with units; a bare number has none and is refused."""

    def __init__(self, least: timedelta, *, whole_seconds: bool = False) -> None:
        floor = f" of at least {format_duration(least)}" if least else ""
        whole = ", in whole seconds" if whole_seconds else ""
        self.words = f"a duration such as 30s, 5m or 1h30m{floor}{whole}"
        self._least, self._whole = least, whole_seconds

    def _hint(self, text: str, taken_for: str) -> str:
        if taken_for in ("int", "float") and ":" not in text:
            return "a number alone has no unit"
        return super()._hint(text, taken_for)

    def _parse(self, text: str) -> timedelta:
        if text == "0s" and not self._least:
            return timedelta(0)
        duration = parse_duration(text)
        if duration < self._least:
            raise ValueError(f"must be at least {format_duration(self._least)}")
        if self._whole and duration % timedelta(seconds=1):
            raise ValueError("must be in whole seconds")
        return duration

    def _data(self, value: timedelta) -> object:
        return format_duration(value)

    def _schema(self) -> Schema:
        number = r"[0-9]+(\.[0-9]+)?"
        parts = "".join(f"({number}{unit})?" for unit in ("w", "d", "h", "m", "s", "ms"))
        return {"type": "string", "pattern": f"^(?=.){parts}$"}


class Choice(Scalar[str]):
    """One of a few words."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices
        self.words = ", ".join(choices[:-1]) + f" or {choices[-1]}"

    def _parse(self, text: str) -> str:
        if text not in self.choices:
            raise ValueError
        return text

    def _suggestion(self, text: str) -> str:
        return did_you_mean(text, self.choices)

    def _schema(self) -> Schema:
        return {"type": "string", "enum": list(self.choices)}


class File(Scalar[Path | None]):
    """The path of a file; whether it is there shows when it is opened."""

    words = "the path of a file"

    def _parse(self, text: str) -> Path | None:
        if not text or "\0" in text:
            raise ValueError
        return Path(text)

    def _data(self, value: Path | None) -> object:
        return str(value or "")

    def _schema(self) -> Schema:
        return {"type": "string", "minLength": 1}


class PolicyText(Scalar[str]):
    """The value of an owner's key, kept as text once its parser has taken it."""

    def __init__(self, key: str) -> None:
        self._key = key
        self.words = f"what the annotation `spotalis.io/{key}` may be"

    def _parse(self, text: str) -> str:
        KEYS[self._key](text)
        return text

    def _hint(self, text: str, taken_for: str) -> str:
        plain = {"int": r"-?(0|[1-9][0-9]*)", "bool": "true|false"}.get(taken_for)
        if plain and not re.fullmatch(plain, text):
            return f"YAML takes it for {_TAKEN[taken_for]} unless it stands in quotes"
        return ""

    def _schema(self) -> Schema:
        return {"type": ["string", "integer", "boolean"]}


class Items(Kind[tuple[T, ...]]):
    """A list."""

    composed = True

    def __init__(self, words: str, item: Kind[T]) -> None:
        self.words = f"a list of {words}"
        self.commas = not item.composed
        self._item = item

    def read(self, written: Written, path: str) -> tuple[T, ...]:
        """Each item."""
        if not isinstance(written.value, tuple):
            raise self.refuse(written, path)
        values: list[T] = []
        problems: list[BadSetting] = []
        for number, item in enumerate(written.value):
            try:
                values.append(self._item.read(item, f"{path}[{number}]"))
            except Refused as refused:
                problems += refused.problems
        if problems:
            raise Refused(problems)
        return tuple(values)

    def _data(self, value: tuple[T, ...]) -> object:
        return [self._item.data(item) for item in value]

    def _schema(self) -> Schema:
        return {"type": "array", "items": self._item.schema}


class Names(Kind[frozenset[str]]):
    """A list of words in which order and repetition mean nothing."""

    composed = True
    commas = True

    def __init__(self, words: str, name: Scalar[str]) -> None:
        self._items = Items(words, name)
        self.words = self._items.words

    def read(self, written: Written, path: str) -> frozenset[str]:
        """The set of them."""
        return frozenset(self._items.read(written, path))

    def _data(self, value: frozenset[str]) -> object:
        return sorted(value)

    def _schema(self) -> Schema:
        return self._items.schema


class Table(Kind[Mapping[str, T]]):
    """A mapping with free keys of one kind and values of another."""

    composed = True

    def __init__(self, words: str, key: Scalar[str], value: Kind[T]) -> None:
        self.words = f"a mapping of {words}"
        self._key, self._value = key, value

    def read(self, written: Written, path: str) -> Mapping[str, T]:
        """Each key and value."""
        if not isinstance(written.value, Mapping):
            raise self.refuse(written, path)
        values: dict[str, T] = {}
        problems: list[BadSetting] = []
        for key, item in written.value.items():
            try:
                self._key.read(Written(key, item.where), f"{path}.{key}")
                values[key] = self._value.read(item, f"{path}.{key}")
            except Refused as refused:
                problems += refused.problems
        if problems:
            raise Refused(problems)
        return values

    def _data(self, value: Mapping[str, T]) -> object:
        return {key: self._value.data(item) for key, item in value.items()}

    def _schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": self._key.schema,
            "additionalProperties": self._value.schema,
        }


class Structure(Kind[T]):
    """A mapping with known keys, made into a record; ``make`` gets what was written, by key."""

    composed = True

    def __init__(
        self,
        words: str,
        make: Callable[[Mapping[str, Any]], T],
        keys: Mapping[str, Kind[Any]],
        required: tuple[str, ...] = (),
    ) -> None:
        """A structure.

        Args:
            words: what it is.
            make: the record; raises ValueError (``must ...``) for a contradiction.
            keys: what may be written.
            required: what must be.
        """
        self.words = f"{words} (a mapping)"
        self._make, self._keys, self._required = make, keys, required

    def read(self, written: Written, path: str) -> T:
        """The record that the keys make."""
        if not isinstance(written.value, Mapping):
            raise self.refuse(written, path)
        values: dict[str, Any] = {}
        problems: list[BadSetting] = []
        for key, item in written.value.items():
            if key not in self._keys:
                message = f"is not known here{did_you_mean(key, self._keys)}"
                problems.append(BadSetting(item.where, f"{path}.{key}", message))
                continue
            try:
                values[key] = self._keys[key].read(item, f"{path}.{key}")
            except Refused as refused:
                problems += refused.problems
        for key in self._required:
            if key not in written.value:
                problems.append(BadSetting(written.where, path, f"must have `{key}`"))
        if problems:
            raise Refused(problems)
        try:
            return self._make(values)
        except ValueError as error:
            raise Refused([BadSetting(written.where, path, str(error))]) from None

    def _data(self, value: T) -> object:
        return {}  # of the empty structure: the only one that is a default

    def _schema(self) -> Schema:
        schema: Schema = {
            "type": "object",
            "properties": {key: kind.schema for key, kind in self._keys.items()},
            "additionalProperties": False,
        }
        return schema | ({"required": list(self._required)} if self._required else {})
