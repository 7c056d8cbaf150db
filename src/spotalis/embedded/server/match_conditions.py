"""Match conditions of webhooks: a subset of the Common Expression Language (CEL).

Supported are fields, indexes, text and boolean literals, lists, ``has()``, ``exists()``, ``==``,
``!=``, ``in``, ``!``, ``&&``, ``||`` and parentheses. Compiling an expression with anything else
fails with a message that names it. Types are not checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

Variables: TypeAlias = Mapping[str, Any]
Evaluate: TypeAlias = Callable[[Variables], Any]


class UnsupportedExpression(Exception):
    """The expression is malformed, or uses a feature that is not supported."""


class EvaluationFailed(Exception):
    """The expression cannot be evaluated, for example because a field is absent."""


_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_]\w*)|(?P<text>'[^'\\]*'|\"[^\"\\]*\")"
    r"|(?P<symbol>&&|\|\||==|!=|[!()\[\].,]))"
)
_LITERALS = {"true": True, "false": False}


@lru_cache(maxsize=256)
def compiled(expression: str) -> Evaluate:
    """Compile an expression to a function of its variables.

    Raises:
        UnsupportedExpression: the expression is malformed or not supported.
    """
    return _Parser(expression).parse()


class _Parser:
    """A recursive descent parser; every method returns a function that evaluates what it parsed."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = self._split()
        self._at = 0

    def parse(self) -> Evaluate:
        result = self._or()
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
            f"match condition {self._expression!r}: {what!r} is not supported"
        )

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _accept(self, *texts: str) -> str:
        """Consume the next token if it is one of ``texts``; returns it, or ``""``."""
        if self._at < len(self._tokens) and self._tokens[self._at][0] != "text":
            text = self._tokens[self._at][1]
            if text in texts:
                self._at += 1
                return text
        return ""

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._unsupported(self._peek() or "the end of the expression")

    def _name(self) -> str:
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "name":
            self._at += 1
            return self._tokens[self._at - 1][1]
        raise self._unsupported(self._peek() or "the end of the expression")

    def _or(self) -> Evaluate:
        parts = [self._and()]
        while self._accept("||"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else lambda v: _combine(parts, v, decisive=True)

    def _and(self) -> Evaluate:
        parts = [self._relation()]
        while self._accept("&&"):
            parts.append(self._relation())
        return parts[0] if len(parts) == 1 else lambda v: _combine(parts, v, decisive=False)

    def _relation(self) -> Evaluate:
        left = self._unary()
        operator = self._accept("==", "!=", "in")
        if not operator:
            return left
        right = self._unary()
        if operator == "in":
            return lambda v: _contains(right(v), left(v))
        return lambda v: bool(left(v) == right(v)) is (operator == "==")

    def _unary(self) -> Evaluate:
        if self._accept("!"):
            operand = self._unary()
            return lambda v: not _boolean(operand(v))
        return self._member()

    def _member(self) -> Evaluate:
        value = self._primary()
        while True:
            if self._accept("."):
                name = self._name()
                value = self._call(value, name) if self._accept("(") else _Field(value, name)
            elif self._accept("["):
                value = _index(value, self._or())
                self._expect("]")
            else:
                return value

    def _call(self, value: Evaluate, name: str) -> Evaluate:
        if name != "exists":
            raise self._unsupported(f".{name}()")
        variable = self._name()
        self._expect(",")
        test = self._or()
        self._expect(")")
        return _exists(value, variable, test)

    def _primary(self) -> Evaluate:
        if self._at >= len(self._tokens):
            raise self._unsupported("the end of the expression")
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind == "text":
            return lambda _: text[1:-1]
        if kind == "name":
            return self._named(text)
        if text == "(":
            inner = self._or()
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
        argument = self._or()
        self._expect(")")
        if name == "has" and isinstance(argument, _Field):
            return argument.is_present
        raise self._unsupported(f"{name}()")

    def _list(self) -> Evaluate:
        items: list[Evaluate] = []
        while not self._accept("]"):
            items.append(self._or())
            if not self._accept(",") and self._peek() != "]":
                raise self._unsupported(self._peek() or "the end of the expression")
        return lambda v: [item(v) for item in items]


def _variable(variables: Variables, name: str) -> Any:
    if name not in variables:
        raise EvaluationFailed(f"undeclared reference to {name!r}")
    return variables[name]


class _Field:
    """Evaluates to the value of a field."""

    def __init__(self, value: Evaluate, name: str) -> None:
        self._value = value
        self._name = name

    def __call__(self, variables: Variables) -> Any:
        found = self._fields(variables)
        if self._name not in found:
            raise EvaluationFailed(f"no such key: {self._name}")
        return found[self._name]

    def is_present(self, variables: Variables) -> bool:
        """``has()``: whether the object has the field; an absent object is an error."""
        return self._name in self._fields(variables)

    def _fields(self, variables: Variables) -> Mapping[str, Any]:
        found = self._value(variables)
        if not isinstance(found, Mapping):
            raise EvaluationFailed(f"no such field: {self._name}")
        return found


def _index(value: Evaluate, index: Evaluate) -> Evaluate:
    def evaluate(variables: Variables) -> Any:
        container, key = value(variables), index(variables)
        try:
            return container[key]
        except (KeyError, IndexError, TypeError):
            raise EvaluationFailed(f"no such key: {key}") from None

    return evaluate


def _contains(container: Any, value: Any) -> bool:
    try:
        return value in container
    except TypeError:
        raise EvaluationFailed(f"no such overload: {value!r} in {container!r}") from None


def _exists(value: Evaluate, variable: str, test: Evaluate) -> Evaluate:
    def evaluate(variables: Variables) -> bool:
        items = value(variables)
        if not isinstance(items, list | Mapping):
            raise EvaluationFailed(f"not a list: {items!r}")
        parts = [_bind(test, variable, item) for item in items]
        return _combine(parts, variables, decisive=True)

    return evaluate


def _bind(test: Evaluate, variable: str, item: Any) -> Evaluate:
    return lambda variables: test({**variables, variable: item})


def _combine(parts: list[Evaluate], variables: Variables, *, decisive: bool) -> bool:
    """``||`` (decisive True) or ``&&`` (decisive False).

    A part with the decisive value determines the result even if other parts fail.
    """
    failed: EvaluationFailed | None = None
    for part in parts:
        try:
            if _boolean(part(variables)) is decisive:
                return decisive
        except EvaluationFailed as failure:
            failed = failed or failure
    if failed is not None:
        raise failed
    return not decisive


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise EvaluationFailed(f"not a bool: {value!r}")
    return value
