"""The types of setting values: what may be written, what it means, and its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from spotalis.model.configuration import KEYS
from spotalis.model.durations import format_duration, parse_duration
from spotalis.model.suggestion import did_you_mean

T = TypeVar("T")
N = TypeVar("N", int, float)
Schema: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason why a setting cannot be used."""

    where: str
    key: str
    message: str
    """The rest of a sentence that begins with the key: ``must be at least 5s; it is '2s'``."""

    def __str__(self) -> str:
        return f"{self.where}  `{self.key}` {self.message}"


class InvalidValue(Exception):
    """At least one value cannot be used; lists every problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class RawValue:
    """The text, list or mapping that was written for a setting, before it is interpreted."""

    value: str | tuple[RawValue, ...] | Mapping[str, RawValue] | None
    """None if nothing was written: ``resync:`` or ``resync: null`` in YAML."""
    where: str
    """File and line, variable or flag, as a message shows it."""

    def data(self) -> object:
        """The same as lists, mappings and text."""
        match self.value:
            case tuple():
                return [item.data() for item in self.value]
            case Mapping():
                return {key: item.data() for key, item in self.value.items()}
            case text:
                return text

    def invalid(self, key: str, message: str, hint: str = "") -> InvalidValue:
        """The error for a value of the wrong type; the message ends with what was written."""
        match self.value:
            case None | "":
                found = "it has no value"
            case str() as text:
                found = f"it is '{text}'"
            case tuple():
                found = "it is a list"
            case _:
                found = "it is a mapping"
        return InvalidValue([Problem(self.where, key, f"{message}; {found}{hint}")])


@dataclass(frozen=True, slots=True, eq=False)
class ValueType(Generic[T]):
    """A type of setting values."""

    description: str
    """What must be written, as the end of a sentence: ``a whole number from 1 to 10``."""
    schema: Schema
    """JSON Schema of the value in the settings file."""
    read: Callable[[RawValue, str], T]
    """Interprets the value of a key; raises InvalidValue with every problem."""
    metavar: str = "TEXT"
    """What stands for a value in the help of a flag."""
    form: Literal["text", "words", "yaml"] = "text"
    """How a variable or flag writes it: as text, words with commas, or YAML on one line."""


def _scalar(
    description: str,
    schema: Schema,
    parse: Callable[[str], T],
    metavar: str = "TEXT",
    hint: Callable[[str], str] = lambda text: "",
) -> ValueType[T]:
    """A type whose values are written as one text.

    Args:
        description: what must be written.
        schema: its JSON Schema.
        parse: the value of a text; raises ValueError with a message that begins with ``must``, or
            with an empty message for the description.
        metavar: what stands for a value in the help of a flag.
        hint: the end of the message about a text that does not parse.
    """

    def read(raw: RawValue, key: str) -> T:
        expected = f"must be {description}"
        if not isinstance(raw.value, str):
            raise raw.invalid(key, expected)
        try:
            return parse(raw.value)
        except ValueError as error:
            raise raw.invalid(key, str(error) or expected, hint(raw.value)) from None

    return ValueType(description, schema, read, metavar)


def text(description: str, pattern: str, *, max_length: int = 253) -> ValueType[str]:
    """Text that matches a pattern."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        if len(text) > max_length:
            raise ValueError(f"must not be longer than {max_length} characters")
        return text

    schema = {"type": "string", "pattern": f"^(?:{pattern})$", "maxLength": max_length}
    return _scalar(description, schema, parse)


def choice(*choices: str) -> ValueType[str]:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    description = ", ".join(choices[:-1]) + f" or {choices[-1]}"
    schema = {"type": "string", "enum": list(choices)}
    return _scalar(description, schema, parse, "WORD", lambda text: did_you_mean(text, choices))


def integer(minimum: int, maximum: int) -> ValueType[int]:
    """A whole number between two bounds."""
    description = f"a whole number from {minimum} to {maximum}"
    schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return _number(int, description, schema, "-?(0|[1-9][0-9]{0,17})")


def number(minimum: float, maximum: float) -> ValueType[float]:
    """A decimal number between two bounds."""
    description = f"a number from {minimum:g} to {maximum:g}"
    schema = {"type": "number", "minimum": minimum, "maximum": maximum}
    return _number(float, description, schema, r"-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?")


def _number(
    convert: Callable[[str], N], description: str, schema: Schema, pattern: str
) -> ValueType[N]:
    def parse(text: str) -> N:
        if not re.fullmatch(pattern, text):
            raise ValueError
        if not schema["minimum"] <= (number := convert(text)) <= schema["maximum"]:
            raise ValueError
        return number

    def hint(text: str) -> str:
        return "; write it without the leading 0" if re.fullmatch(r"0[0-9]+", text) else ""

    return _scalar(description, schema, parse, "NUMBER", hint)


def duration(minimum: timedelta, *, whole_seconds: bool = False) -> ValueType[timedelta]:
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
    schema = {"type": "string", "pattern": f"^(?=.){parts}$"}
    return _scalar(description, schema, parse, "DURATION")


def policy_value(key: str) -> ValueType[str]:
    """The value of a policy annotation; it stays text if the annotation's parser accepts it."""

    def parse(text: str) -> str:
        KEYS[key](text)
        return text

    description = f"a value of the annotation `spotalis.io/{key}`"
    return _scalar(description, {"type": ["string", "integer", "boolean"]}, parse)


def _parse_boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _parse_path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError
    return Path(text)


BOOLEAN = _scalar("true or false", {"type": "boolean"}, _parse_boolean)
FILE = _scalar("the path of a file", {"type": "string", "minLength": 1}, _parse_path, "FILE")


def list_of(items: str, item: ValueType[T]) -> ValueType[tuple[T, ...]]:
    """A list."""
    description = f"a list of {items}"

    def read(raw: RawValue, key: str) -> tuple[T, ...]:
        if not isinstance(raw.value, tuple):
            raise raw.invalid(key, f"must be {description}")
        return tuple(_read_all((item, one, f"{key}[{n}]") for n, one in enumerate(raw.value)))

    return ValueType(description, {"type": "array", "items": item.schema}, read, "YAML", "yaml")


def names(items: str, name: ValueType[str]) -> ValueType[frozenset[str]]:
    """A list of words whose order and repetition mean nothing."""
    words = list_of(items, name)

    def read(raw: RawValue, key: str) -> frozenset[str]:
        return frozenset(words.read(raw, key))

    return ValueType(words.description, words.schema, read, "NAME,...", "words")


def map_of(items: str, key: ValueType[str], value: ValueType[T]) -> ValueType[Mapping[str, T]]:
    """A mapping whose keys are free."""
    description = f"a mapping of {items}"
    schema = {"type": "object", "propertyNames": key.schema, "additionalProperties": value.schema}

    def read(raw: RawValue, path: str) -> Mapping[str, T]:
        if not isinstance(raw.value, Mapping):
            raise raw.invalid(path, f"must be {description}")
        given = raw.value.items()
        names = [(key, RawValue(name, one.where), f"{path}.{name}") for name, one in given]
        values = [(value, one, f"{path}.{name}") for name, one in given]
        read = _read_all([*names, *values])
        return dict(zip(raw.value, read[len(names) :], strict=True))

    return ValueType(description, schema, read, "YAML", "yaml")


def record(
    description: str,
    make: Callable[[Mapping[str, Any]], T],
    types: Mapping[str, ValueType[Any]],
    *,
    required: tuple[str, ...] = (),
) -> ValueType[T]:
    """A mapping with known keys, made into one value.

    Args:
        description: what it is.
        make: builds the value from the given keys; raises ValueError (``must ...``) if they
            contradict each other.
        types: of the known keys.
        required: the keys that must be given.
    """
    description += " (a mapping)"
    schema: Schema = {
        "type": "object",
        "properties": {key: value_type.schema for key, value_type in types.items()},
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
    }

    def read(raw: RawValue, key: str) -> T:
        given = raw.value
        if not isinstance(given, Mapping):
            raise raw.invalid(key, f"must be {description}")
        problems = [
            Problem(item.where, f"{key}.{k}", f"is not a known key{did_you_mean(k, types)}")
            for k, item in given.items()
            if k not in types
        ]
        problems += [
            Problem(raw.where, key, f"must have `{k}`") for k in required if k not in given
        ]
        known = [k for k in given if k in types]
        values = _read_all(((types[k], given[k], f"{key}.{k}") for k in known), problems)
        try:
            return make(dict(zip(known, values, strict=True)))
        except ValueError as error:
            raise InvalidValue([Problem(raw.where, key, str(error))]) from None

    return ValueType(description, schema, read, "YAML", "yaml")


def _read_all(
    parts: Iterable[tuple[ValueType[Any], RawValue, str]], found: Iterable[Problem] = ()
) -> list[Any]:
    """Interpret every part; raise every problem, those found before included."""
    values, problems = [], list(found)
    for value_type, raw, key in parts:
        try:
            values.append(value_type.read(raw, key))
        except InvalidValue as invalid:
            problems += invalid.problems
    if problems:
        raise InvalidValue(problems)
    return values
