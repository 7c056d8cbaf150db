"""The part of the Common Expression Language that match conditions of webhooks need.

Fields, indexes, literals, lists, ``has()``, ``size()``, comparison, ``in``, ``!``, ``&&``, ``||``,
``? :``, ``exists`` and ``all``, ``startsWith``, ``endsWith`` and ``contains``. Anything else is
refused by name when the expression is compiled, never guessed at. Types are not checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

Variables: TypeAlias = Mapping[str, Any]
Evaluate: TypeAlias = Callable[[Variables], Any]


class UnsupportedExpression(Exception):
    """The expression is wrong, or uses what is not implemented here; the message names it."""


class EvaluationFailed(Exception):
    """The expression met a value that it cannot work on, such as a field that is not there."""


_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<symbol>&&|\|\||==|!=|<=|>=|[-+!<>()\[\].,?:]))"
)
_LITERALS = {"true": True, "false": False, "null": None}


@lru_cache(maxsize=256)
def compiled(expression: str) -> Evaluate:
    """What evaluates an expression, given its variables.

    Raises:
        UnsupportedExpression: it cannot be understood.
    """
    return _Parser(expression).whole()


class _Parser:
    """Recursive descent; every method returns what evaluates the part it has read."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = self._split()
        self._at = 0

    def whole(self) -> Evaluate:
        result = self._choice()
        if self._at < len(self._tokens):
            raise self._unsupported(self._tokens[self._at][1])
        return result

    def _split(self) -> list[tuple[str, str]]:
        tokens, at = [], 0
        text = self._expression.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._unsupported(text[at:].strip())
            tokens.append((str(found.lastgroup), found.group(str(found.lastgroup))))
            at = found.end()
        return tokens

    def _unsupported(self, what: str) -> UnsupportedExpression:
        return UnsupportedExpression(
            f"match condition {self._expression!r}: {what!r} is not supported here"
        )

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _accept(self, *texts: str) -> str:
        """The next token if it is one of these, else ``""``."""
        if self._at < len(self._tokens) and self._tokens[self._at][0] != "text":
            text = self._tokens[self._at][1]
            if text in texts:
                self._at += 1
                return text
        return ""

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._unsupported(self._peek() or "its end")

    def _name(self) -> str:
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "name":
            self._at += 1
            return self._tokens[self._at - 1][1]
        raise self._unsupported(self._peek() or "its end")

    def _choice(self) -> Evaluate:
        condition = self._any()
        if not self._accept("?"):
            return condition
        one = self._choice()
        self._expect(":")
        other = self._choice()
        return lambda v: one(v) if _truth(condition(v)) else other(v)

    def _any(self) -> Evaluate:
        parts = [self._all()]
        while self._accept("||"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else lambda v: _decided(parts, v, by=True)

    def _all(self) -> Evaluate:
        parts = [self._relation()]
        while self._accept("&&"):
            parts.append(self._relation())
        return parts[0] if len(parts) == 1 else lambda v: _decided(parts, v, by=False)

    def _relation(self) -> Evaluate:
        left = self._unary()
        operator = self._accept("==", "!=", "<=", ">=", "<", ">", "in")
        if not operator:
            return left
        right, compare = self._unary(), _COMPARISONS[operator]

        def evaluate(variables: Variables) -> bool:
            one, other = left(variables), right(variables)
            try:
                return compare(one, other)
            except TypeError:
                raise EvaluationFailed(f"no such overload: {one!r} {operator} {other!r}") from None

        return evaluate

    def _unary(self) -> Evaluate:
        if self._accept("!"):
            operand = self._unary()
            return lambda v: not _truth(operand(v))
        return self._member()

    def _member(self) -> Evaluate:
        value = self._primary()
        while True:
            if self._accept("."):
                name = self._name()
                value = self._call(value, name) if self._accept("(") else _Field(value, name)
            elif self._accept("["):
                value = _at(value, self._choice())
                self._expect("]")
            else:
                return value

    def _call(self, value: Evaluate, name: str) -> Evaluate:
        if name in ("exists", "all"):
            variable = self._name()
            self._expect(",")
            test = self._choice()
            self._expect(")")
            return _quantified(value, variable, test, by=name == "exists")
        if name == "size":
            self._expect(")")
            return lambda v: _size(value(v))
        method = _METHODS.get(name)
        if method is None:
            raise self._unsupported(f".{name}()")
        argument = self._choice()
        self._expect(")")
        return lambda v: method(_text(value(v)), _text(argument(v)))

    def _primary(self) -> Evaluate:
        if self._at >= len(self._tokens):
            raise self._unsupported("its end")
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind == "number":
            number = float(text) if "." in text else int(text)
            return lambda _: number
        if kind == "text":
            if "\\" in text:
                raise self._unsupported(text)
            return lambda _: text[1:-1]
        if kind == "name":
            return self._named(text)
        if text == "(":
            inner = self._choice()
            self._expect(")")
            return inner
        if text == "[":
            return self._list()
        raise self._unsupported(text)

    def _named(self, name: str) -> Evaluate:
        if name in _LITERALS:
            value = _LITERALS[name]
            return lambda _: value
        if not self._accept("("):
            return lambda v: _variable(v, name)
        argument = self._choice()
        self._expect(")")
        if name == "size":
            return lambda v: _size(argument(v))
        if name == "has" and isinstance(argument, _Field):
            return argument.is_there
        raise self._unsupported(f"{name}()")

    def _list(self) -> Evaluate:
        items: list[Evaluate] = []
        while not self._accept("]"):
            items.append(self._choice())
            if not self._accept(",") and self._peek() != "]":
                raise self._unsupported(self._peek() or "its end")
        return lambda v: [item(v) for item in items]


def _variable(variables: Variables, name: str) -> Any:
    if name not in variables:
        raise EvaluationFailed(f"undeclared reference to {name!r}")
    return variables[name]


class _Field:
    """Evaluates to a field of an object."""

    def __init__(self, value: Evaluate, name: str) -> None:
        self._value = value
        self._name = name

    def __call__(self, variables: Variables) -> Any:
        found = self._fields(variables)
        if self._name not in found:
            raise EvaluationFailed(f"no such key: {self._name}")
        return found[self._name]

    def is_there(self, variables: Variables) -> bool:
        """``has()``: whether the object has the field; that there is no object is an error."""
        return self._name in self._fields(variables)

    def _fields(self, variables: Variables) -> Mapping[str, Any]:
        found = self._value(variables)
        if not isinstance(found, Mapping):
            raise EvaluationFailed(f"no such field: {self._name}")
        return found


def _at(value: Evaluate, index: Evaluate) -> Evaluate:
    def evaluate(variables: Variables) -> Any:
        found, place = value(variables), index(variables)
        try:
            return found[place]
        except (KeyError, IndexError, TypeError):
            raise EvaluationFailed(f"no such key: {place}") from None

    return evaluate


def _quantified(value: Evaluate, variable: str, test: Evaluate, *, by: bool) -> Evaluate:
    def evaluate(variables: Variables) -> bool:
        items = value(variables)
        if not isinstance(items, list | Mapping):
            raise EvaluationFailed(f"not a list: {items!r}")
        parts = [_bound(test, variable, item) for item in items]
        return _decided(parts, variables, by=by)

    return evaluate


def _bound(test: Evaluate, variable: str, item: Any) -> Evaluate:
    return lambda variables: test({**variables, variable: item})


def _decided(parts: list[Evaluate], variables: Variables, *, by: bool) -> bool:
    """``||`` (by True) or ``&&`` (by False): a part that decides outweighs errors in others."""
    failed: EvaluationFailed | None = None
    for part in parts:
        try:
            if _truth(part(variables)) is by:
                return by
        except EvaluationFailed as failure:
            failed = failed or failure
    if failed is not None:
        raise failed
    return not by


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise EvaluationFailed(f"not a bool: {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise EvaluationFailed(f"not a string: {value!r}")
    return value


def _size(value: Any) -> int:
    if not isinstance(value, str | list | Mapping):
        raise EvaluationFailed(f"it has no size: {value!r}")
    return len(value)


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda one, other: bool(one == other),
    "!=": lambda one, other: bool(one != other),
    "<": lambda one, other: bool(one < other),
    "<=": lambda one, other: bool(one <= other),
    ">": lambda one, other: bool(one > other),
    ">=": lambda one, other: bool(one >= other),
    "in": lambda one, other: one in other,
}
_METHODS: dict[str, Callable[[str, str], bool]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": str.__contains__,
}
