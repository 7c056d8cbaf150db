"""The types of setting values: what may be written, what it means, and its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from spotalis.model.durations import parse_duration
from spotalis.model.policy_text import check_length
from spotalis.model.policy_values import KEYS
from spotalis.model.suggestion import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

Schema: TypeAlias = dict[str, Any]


def snake_case(key: str) -> str:
    """``leaderElection.leaseDuration`` as ``leader_election_lease_duration``."""
    words = re.sub("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", key)
    return re.sub("[.-]", "_", words).lower()


class Problem(msgspec.Struct, frozen=True):
    """A reason why a setting cannot be used."""

    where: str
    key: str
    message: str
    """The rest of a sentence that begins with the key: ``must be at least 5s; it is '2s'``."""

    def __str__(self) -> str:
        return f"{self.where}  `{self.key}` {self.message}"


Problems: TypeAlias = list[Problem]
"""Collects every problem, so that all of them are reported at once."""


class InvalidSettings(Exception):
    """At least one setting cannot be used; lists every problem."""

    def __init__(self, problems: Problems) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


class RawValue(msgspec.Struct, frozen=True):
    """The text, list or mapping that was written for a setting, before it is interpreted."""

    value: str | tuple[RawValue, ...] | Mapping[str, RawValue] | None
    """None if nothing was written: ``resync:`` or ``resync: null`` in YAML."""
    key: str
    """Of the setting, or of a part of it: ``nodeGroups[0].rules``."""
    where: str
    """File and line, variable or flag, as a message shows it."""

    def data(self) -> object:
        """The same as lists, mappings and text."""
        if isinstance(self.value, tuple):
            return [item.data() for item in self.value]
        if isinstance(self.value, Mapping):
            return {name: item.data() for name, item in self.value.items()}
        return self.value

    def report(self, problems: Problems, message: str) -> object:
        """Add a problem with this value; returns None in its place."""
        problems.append(Problem(self.where, self.key, message))
        return None

    def reject(self, problems: Problems, expected: str, hint: str = "") -> object:
        """Add a problem that shows what was written; returns None in its place."""
        if isinstance(self.value, str) and self.value:
            found = f"'{self.value}'"
        else:
            found = "a list" if isinstance(self.value, tuple) else "a mapping"
        verb = f"is {found}" if self.value not in (None, "") else "has no value"
        return self.report(problems, f"{expected}; it {verb}{hint}")


class ValueType(msgspec.Struct, frozen=True, eq=False):
    """A type of setting values."""

    description: str
    """What must be written, as the end of a sentence: ``a whole number from 1 to 10``."""
    schema: Schema
    """JSON Schema of the value in the settings file."""
    read: Callable[[RawValue, Problems], Any]
    """Interprets a value. The result must not be used if a problem was added."""
    metavar: str = "TEXT"
    """What stands for a value in the help of a flag."""
    form: Literal["text", "words", "yaml"] = "text"
    """How a variable or flag writes it: as text, words with commas, or YAML on one line."""


def _scalar(
    description: str,
    schema: Schema,
    parse: Callable[[str], object],
    metavar: str = "TEXT",
    hint: Callable[[str], str] = lambda text: "",
) -> ValueType:
    """A type whose values are written as one text.

    ``parse`` returns None for a text that is not as described, and raises ValueError with a better
    message. ``hint`` is the end of the message about such a text.
    """
    expected = f"must be {description}"

    def read(raw: RawValue, problems: Problems) -> object:
        if not isinstance(raw.value, str):
            return raw.reject(problems, expected)
        try:
            value, message = parse(raw.value), expected
        except ValueError as error:
            value, message = None, str(error)
        return raw.reject(problems, message, hint(raw.value)) if value is None else value

    return ValueType(description, schema, read, metavar)


def text(description: str, pattern: str, *, max_length: int = 253) -> ValueType:
    """Text that matches a pattern."""

    def parse(text: str) -> str | None:
        if len(text) > max_length:
            raise ValueError(f"must not be longer than {max_length} characters")
        return text if re.fullmatch(pattern, text) else None

    schema = {"type": "string", "pattern": f"^(?:{pattern})$", "maxLength": max_length}
    return _scalar(description, schema, parse)


def choice(*choices: str) -> ValueType:
    """One of a few words."""
    description = ", ".join(choices[:-1]) + f" or {choices[-1]}"
    schema = {"type": "string", "enum": list(choices)}
    parse = {word: word for word in choices}.get
    return _scalar(description, schema, parse, "WORD", lambda text: did_you_mean(text, choices))


def number(minimum: float, maximum: float) -> ValueType:
    """A number between two bounds; a whole number if the lower one is an int."""
    is_whole = isinstance(minimum, int)
    pattern = "-?(0|[1-9][0-9]{0,17})" + ("" if is_whole else r"(\.[0-9]+)?")

    def parse(text: str) -> float | None:
        if not re.fullmatch(pattern, text):
            return None
        number = int(text) if is_whole else float(text)
        return number if minimum <= number <= maximum else None

    def hint(text: str) -> str:
        return "; write it without the leading 0" if re.fullmatch(r"0[0-9]+", text) else ""

    description = f"a {'whole ' * is_whole}number from {minimum:g} to {maximum:g}"
    kind = "integer" if is_whole else "number"
    schema = {"type": kind, "minimum": minimum, "maximum": maximum}
    return _scalar(description, schema, parse, "NUMBER", hint)


def duration(minimum: str, *, whole_seconds: bool = False) -> ValueType:
    """A duration with units."""
    shortest = parse_duration(minimum) if minimum != "0s" else timedelta(0)
    description = "a duration such as 30s, 5m or 1h30m"
    description += f" of at least {minimum}" if shortest else ""
    description += ", in whole seconds" if whole_seconds else ""

    def parse(text: str) -> timedelta:
        if re.fullmatch(r"[0-9.]+", text):
            raise ValueError(f"must be {description} (the number has no unit)")
        duration = timedelta(0) if text == minimum == "0s" else parse_duration(text)
        if duration < shortest:
            raise ValueError(f"must be at least {minimum}")
        if whole_seconds and duration % timedelta(seconds=1):
            raise ValueError("must be in whole seconds")
        return duration

    parts = "".join(rf"([0-9]+(\.[0-9]+)?{unit})?" for unit in ("w", "d", "h", "m", "s", "ms"))
    return _scalar(description, {"type": "string", "pattern": f"^(?=.){parts}$"}, parse, "DURATION")


def policy_value(key: str) -> ValueType:
    """The value of a policy annotation; it stays text if the annotation's parser accepts it."""

    def parse(text: str) -> str:
        KEYS[key](check_length(text))
        return text

    description = f"a value of the annotation `spotalis.io/{key}`"
    return _scalar(description, {"type": ["string", "integer", "boolean"]}, parse)


def _path(text: str) -> Path | None:
    from pathlib import Path

    return Path(text) if text and "\0" not in text else None


BOOLEAN = _scalar("true or false", {"type": "boolean"}, {"true": True, "false": False}.get)
FILE = _scalar(
    "the path of a file",
    {"type": "string", "minLength": 1},
    _path,
    "FILE",
)


def list_of(items: str, item: ValueType) -> ValueType:
    """A list, read as a tuple."""
    description = f"a list of {items}"

    def read(raw: RawValue, problems: Problems) -> object:
        if not isinstance(raw.value, tuple):
            return raw.reject(problems, f"must be {description}")
        return tuple(item.read(one, problems) for one in raw.value)

    return ValueType(description, {"type": "array", "items": item.schema}, read, "YAML", "yaml")


def set_of(items: str, item: ValueType) -> ValueType:
    """A list of words whose order and repetition mean nothing, read as a frozenset."""
    words = list_of(items, item)

    def read(raw: RawValue, problems: Problems) -> object:
        return frozenset(words.read(raw, problems) or ())

    return ValueType(words.description, words.schema, read, "NAME,...", "words")


def map_of(items: str, name: ValueType, value: ValueType) -> ValueType:
    """A mapping whose keys are free."""
    description = f"a mapping of {items}"
    schema = {"type": "object", "propertyNames": name.schema, "additionalProperties": value.schema}

    def read(raw: RawValue, problems: Problems) -> object:
        if not isinstance(raw.value, Mapping):
            return raw.reject(problems, f"must be {description}")
        for written, item in raw.value.items():
            name.read(RawValue(written, item.key, item.where), problems)
        return {written: value.read(item, problems) for written, item in raw.value.items()}

    return ValueType(description, schema, read, "YAML", "yaml")


def record(
    what: str,
    make: Callable[..., object],
    required: tuple[str, ...] = (),
    /,
    **types: ValueType,
) -> ValueType:
    """A mapping with known keys, made into one value.

    ``make`` takes the given keys in snake case; it raises ValueError (``must ...``) if they
    contradict each other.
    """
    description = f"{what} (a mapping)"
    schema = {
        "type": "object",
        "properties": {name: value_type.schema for name, value_type in types.items()},
        "required": list(required),
        "additionalProperties": False,
    }

    def read(raw: RawValue, problems: Problems) -> object:
        if not isinstance(raw.value, Mapping):
            return raw.reject(problems, f"must be {description}")
        already = len(problems)
        values = {}
        for name, item in raw.value.items():
            if name in types:
                values[snake_case(name)] = types[name].read(item, problems)
            else:
                item.report(problems, f"is not a known key{did_you_mean(name, types)}")
        for name in required:
            if name not in raw.value:
                raw.report(problems, f"must have `{name}`")
        try:
            return make(**values) if len(problems) == already else None
        except ValueError as error:
            return raw.report(problems, str(error))

    return ValueType(description, schema, read, "YAML", "yaml")
