"""The types of setting values: what may be written, what it means, and its JSON Schema."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from spotalis.model.configuration import KEYS
from spotalis.model.durations import format_duration, parse_duration
from spotalis.model.suggestion import did_you_mean
from spotalis.settings.raw_values import InvalidValue, Problem, RawValue

T = TypeVar("T")
Schema: TypeAlias = dict[str, Any]


class ValueType(ABC, Generic[T]):
    """A type of setting values."""

    structured: ClassVar[bool] = False
    """A list or mapping: in a variable or flag it is written as YAML on one line."""
    comma_separated: ClassVar[bool] = False
    """A list of words, which a variable or flag may also separate by commas."""
    description: str
    """What must be written, as the end of a sentence: ``a whole number from 1 to 10``."""
    schema: Schema
    """JSON Schema of the value in the settings file."""
    metavar: str = "TEXT"
    """What stands for a value in the help of a flag."""

    @abstractmethod
    def read(self, raw: RawValue, key: str) -> T:
        """Interpret a value.

        Raises:
            InvalidValue: with every problem.
        """

    def invalid(self, raw: RawValue, key: str, message: str = "", hint: str = "") -> InvalidValue:
        """The error for a value that is not of this type."""
        message = message or f"must be {self.description}"
        match raw.value:
            case None | "":
                message += "; it has no value"
            case str() as text:
                message += f"; it is '{text}'"
            case tuple():
                message += "; it is a list"
            case _:
                message += "; it is a mapping"
        return InvalidValue([Problem(raw.where, key, message + hint)])


class Scalar(ValueType[T]):
    """A type whose values are written as one text."""

    def __init__(
        self,
        description: str,
        schema: Schema,
        parse: Callable[[str], T],
        *,
        hint: Callable[[str], str] = lambda text: "",
        metavar: str = "TEXT",
    ) -> None:
        """Describe a scalar.

        Args:
            description: what must be written.
            schema: its JSON Schema.
            parse: the value of a text; raises ValueError with a message that begins with
                ``must``, or with an empty message for the description.
            hint: the end of the message about a text that does not parse.
            metavar: what stands for a value in the help of a flag.
        """
        self.description, self.schema, self.metavar = description, schema, metavar
        self._parse, self._hint = parse, hint

    def read(self, raw: RawValue, key: str) -> T:
        """Interpret the text."""
        if not isinstance(raw.value, str):
            raise self.invalid(raw, key)
        try:
            return self._parse(raw.value)
        except ValueError as error:
            raise self.invalid(raw, key, str(error), self._hint(raw.value)) from None


def text(description: str, pattern: str, *, max_length: int = 253) -> Scalar[str]:
    """Text that matches a pattern."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        if len(text) > max_length:
            raise ValueError(f"must not be longer than {max_length} characters")
        return text

    schema = {"type": "string", "pattern": f"^(?:{pattern})$", "maxLength": max_length}
    return Scalar(description, schema, parse)


def _parse_boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


BOOLEAN = Scalar("true or false", {"type": "boolean"}, _parse_boolean)


def integer(minimum: int, maximum: int) -> Scalar[int]:
    """A whole number between two bounds."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text):
            raise ValueError
        if not minimum <= int(text) <= maximum:
            raise ValueError
        return int(text)

    def hint(text: str) -> str:
        return "; write it without the leading 0" if re.fullmatch(r"0[0-9]+", text) else ""

    schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return Scalar(
        f"a whole number from {minimum} to {maximum}", schema, parse, hint=hint, metavar="NUMBER"
    )


def number(minimum: float, maximum: float) -> Scalar[float]:
    """A decimal number between two bounds."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?", text):
            raise ValueError
        if not minimum <= float(text) <= maximum:
            raise ValueError
        return float(text)

    schema = {"type": "number", "minimum": minimum, "maximum": maximum}
    return Scalar(f"a number from {minimum:g} to {maximum:g}", schema, parse, metavar="NUMBER")


def duration(minimum: timedelta, *, whole_seconds: bool = False) -> Scalar[timedelta]:
    """A duration with units."""
    bound = f" of at least {format_duration(minimum)}" if minimum else ""
    description = f"a duration such as 30s, 5m or 1h30m{bound}"
    description += ", in whole seconds" if whole_seconds else ""

    def parse(text: str) -> timedelta:
        if re.fullmatch(r"[0-9.]+", text):
            raise ValueError(f"must be {description} (the number has no unit)")
        if text == "0s" and not minimum:
            return timedelta(0)
        duration = parse_duration(text)
        if duration < minimum:
            raise ValueError(f"must be at least {format_duration(minimum)}")
        if whole_seconds and duration % timedelta(seconds=1):
            raise ValueError("must be in whole seconds")
        return duration

    parts = "".join(rf"([0-9]+(\.[0-9]+)?{unit})?" for unit in ("w", "d", "h", "m", "s", "ms"))
    return Scalar(
        description, {"type": "string", "pattern": f"^(?=.){parts}$"}, parse, metavar="DURATION"
    )


def choice(*choices: str) -> Scalar[str]:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    description = ", ".join(choices[:-1]) + f" or {choices[-1]}"
    schema = {"type": "string", "enum": list(choices)}
    return Scalar(
        description, schema, parse, hint=lambda text: did_you_mean(text, choices), metavar="WORD"
    )


def _parse_path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError
    return Path(text)


FILE = Scalar("the path of a file", {"type": "string", "minLength": 1}, _parse_path, metavar="FILE")


def policy_value(key: str) -> Scalar[str]:
    """The value of a policy annotation; it stays text if the annotation's parser accepts it."""

    def parse(text: str) -> str:
        KEYS[key](text)
        return text

    description = f"a value of the annotation `spotalis.io/{key}`"
    return Scalar(description, {"type": ["string", "integer", "boolean"]}, parse)


class List(ValueType[tuple[T, ...]]):
    """A list."""

    structured = True
    metavar = "YAML"

    def __init__(self, items: str, item: ValueType[T]) -> None:
        self.description = f"a list of {items}"
        self.schema = {"type": "array", "items": item.schema}
        self._item = item

    def read(self, raw: RawValue, key: str) -> tuple[T, ...]:
        """Interpret each item."""
        if not isinstance(raw.value, tuple):
            raise self.invalid(raw, key)
        parts = [(self._item, item, f"{key}[{n}]") for n, item in enumerate(raw.value)]
        return tuple(_read_all(parts, []))


class Names(ValueType[frozenset[str]]):
    """A list of words whose order and repetition mean nothing."""

    structured = True
    comma_separated = True
    metavar = "NAME,..."

    def __init__(self, items: str, name: Scalar[str]) -> None:
        self._list = List(items, name)
        self.description, self.schema = self._list.description, self._list.schema

    def read(self, raw: RawValue, key: str) -> frozenset[str]:
        """Interpret each word."""
        return frozenset(self._list.read(raw, key))


class Map(ValueType[Mapping[str, T]]):
    """A mapping whose keys are free."""

    structured = True
    metavar = "YAML"

    def __init__(self, items: str, key: Scalar[str], value: ValueType[T]) -> None:
        self.description = f"a mapping of {items}"
        self.schema = {
            "type": "object",
            "propertyNames": key.schema,
            "additionalProperties": value.schema,
        }
        self._key, self._value = key, value

    def read(self, raw: RawValue, key: str) -> Mapping[str, T]:
        """Interpret each key and value."""
        if not isinstance(raw.value, Mapping):
            raise self.invalid(raw, key)
        names = [(self._key, RawValue(k, v.where), f"{key}.{k}") for k, v in raw.value.items()]
        values = [(self._value, v, f"{key}.{k}") for k, v in raw.value.items()]
        read = _read_all([*names, *values], [])
        return dict(zip(raw.value, read[len(names) :], strict=True))


class Record(ValueType[T]):
    """A mapping with known keys, made into one value."""

    structured = True
    metavar = "YAML"

    def __init__(
        self,
        description: str,
        make: Callable[[Mapping[str, Any]], T],
        types: Mapping[str, ValueType[Any]],
        *,
        required: tuple[str, ...] = (),
    ) -> None:
        """Describe a record.

        Args:
            description: what it is.
            make: builds the value from the given keys; raises ValueError (``must ...``) if they
                contradict each other.
            types: of the known keys.
            required: the keys that must be given.
        """
        self.description = f"{description} (a mapping)"
        self.schema = {
            "type": "object",
            "properties": {key: value_type.schema for key, value_type in types.items()},
            "additionalProperties": False,
            **({"required": list(required)} if required else {}),
        }
        self._make, self._types, self._required = make, types, required

    def read(self, raw: RawValue, key: str) -> T:
        """Interpret each key, then build the value."""
        given = raw.value
        if not isinstance(given, Mapping):
            raise self.invalid(raw, key)
        problems = [
            Problem(item.where, f"{key}.{k}", f"is not a known key{did_you_mean(k, self._types)}")
            for k, item in given.items()
            if k not in self._types
        ] + [
            Problem(raw.where, key, f"must have `{name}`")
            for name in self._required
            if name not in given
        ]
        known = [k for k in given if k in self._types]
        read = _read_all([(self._types[k], given[k], f"{key}.{k}") for k in known], problems)
        try:
            return self._make(dict(zip(known, read, strict=True)))
        except ValueError as error:
            raise InvalidValue([Problem(raw.where, key, str(error))]) from None


def _read_all(
    parts: Iterable[tuple[ValueType[Any], RawValue, str]], problems: list[Problem]
) -> list[Any]:
    """Interpret every part; raise every problem, those found before included."""
    values = []
    for value_type, raw, key in parts:
        try:
            values.append(value_type.read(raw, key))
        except InvalidValue as invalid:
            problems += invalid.problems
    if problems:
        raise InvalidValue(problems)
    return values
