"""Match conditions of webhooks: a subset of the Common Expression Language (CEL).

Supported are fields, indexes, text and boolean literals, lists, ``has()``, ``exists()``, ``==``,
``!=``, ``in``, ``!``, ``&&``, ``||`` and parentheses. This subset has the grammar of Python's
expressions, apart from the operators, so Python's parser reads it. Compiling an expression with
anything else fails with a message that names it. Types are not checked.
"""

from __future__ import annotations

import ast
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


_TEXT_OR_OPERATOR = re.compile(
    r"'[^'\\]*'|\"[^\"\\]*\"|&&|\|\||!(?!=)|\b(?:and|or|not|is|True)\b|~"
)
_OPERATORS = {"&&": " and ", "||": " or ", "!": "~"}
"""In Python ``~`` binds as tightly as ``!`` in CEL; ``not`` does not."""


@lru_cache(maxsize=256)
def compiled(expression: str) -> Evaluate:
    """Compile an expression to a function of its variables.

    Raises:
        UnsupportedExpression: the expression is malformed or not supported.
    """

    def to_python(found: re.Match[str]) -> str:
        text = found[0]
        if text[0] in "'\"":
            return text
        if text not in _OPERATORS:
            raise _unsupported(expression, text)
        return _OPERATORS[text]

    try:
        tree = ast.parse(_TEXT_OR_OPERATOR.sub(to_python, expression).strip(), mode="eval")
    except SyntaxError as malformed:
        raise _unsupported(expression, malformed.msg) from None
    return _Compiler(expression).compile(tree.body)


def _unsupported(expression: str, what: str) -> UnsupportedExpression:
    return UnsupportedExpression(f"match condition {expression!r}: {what!r} is not supported")


class _Compiler:
    """Turns a syntax tree into a function."""

    def __init__(self, expression: str) -> None:
        self._expression = expression

    def compile(self, node: ast.expr) -> Evaluate:
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [self.compile(value) for value in values]
                return lambda v: _combine(parts, v, decisive=isinstance(op, ast.Or))
            case ast.UnaryOp(op=ast.Invert(), operand=operand):
                negated = self.compile(operand)
                return lambda v: not _boolean(negated(v))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._comparison(node, self.compile(left), op, self.compile(right))
            case ast.Name(id="true" | "false" as name):
                return lambda _: name == "true"
            case ast.Name(id=name):
                return lambda v: _get(v, name)
            case ast.Constant(value=str(text)):
                return lambda _: text
            case ast.List(elts=elements):
                items = [self.compile(element) for element in elements]
                return lambda v: [item(v) for item in items]
            case ast.Attribute(value=value, attr=name):
                holder = self.compile(value)
                return lambda v: _get(_mapping(holder(v), name), name)
            case ast.Subscript(value=value, slice=key):
                return _index(self.compile(value), self.compile(key))
            case ast.Call(keywords=[]):
                return self._call(node)
        raise self._unsupported(node)

    def _comparison(
        self, node: ast.expr, left: Evaluate, op: ast.cmpop, right: Evaluate
    ) -> Evaluate:
        match op:
            case ast.In():
                return lambda v: _contains(right(v), left(v))
            case ast.Eq() | ast.NotEq():
                return lambda v: bool(left(v) == right(v)) is isinstance(op, ast.Eq)
        raise self._unsupported(node)

    def _call(self, node: ast.Call) -> Evaluate:
        match node:
            case ast.Call(func=ast.Name(id="has"), args=[ast.Attribute(value=value, attr=name)]):
                holder = self.compile(value)
                return lambda v: name in _mapping(holder(v), name)
            case ast.Call(
                func=ast.Attribute(value=value, attr="exists"), args=[ast.Name(id=name), test]
            ):
                return _exists(self.compile(value), name, self.compile(test))
        raise self._unsupported(node)

    def _unsupported(self, node: ast.expr) -> UnsupportedExpression:
        return _unsupported(self._expression, ast.unparse(node))


def _get(holder: Mapping[str, Any], name: str) -> Any:
    if name not in holder:
        raise EvaluationFailed(f"no such key: {name}")
    return holder[name]


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise EvaluationFailed(f"no such field: {name}")
    return value


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
