"""The small language of ``when``, ``constraint`` and list filters: Python syntax, checked by a whitelist.

A text is parsed once by :mod:`ast` and turned into nested closures; nothing is ever handed to ``eval``.
Allowed are names (also dotted), literals, comparisons, ``and``/``or``/``not``, ``in``, arithmetic with
bounded results, conditional expressions, and ``min``, ``max``, ``abs``, ``round``, ``len``.

A name without a value (an inactive parameter) makes every comparison it takes part in false, ``!=`` and
``not in`` included: what does not exist is neither equal to something nor different from it.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

LONGEST_TEXT = 2_000
DEEPEST = 60
LARGEST = 10**18
"""Bound on the size of an integer that arithmetic may make."""

_Values = Mapping[str, Any]
_Node = Callable[[_Values], Any]


class ExpressionError(ValueError):
    """A text that is not an expression of this language, or one that cannot be computed."""


class _Absent:
    """The value of a name that has none; it spreads through arithmetic."""

    def __bool__(self) -> bool:
        return False


_ABSENT = _Absent()

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: lambda a, b: _same(a, b),
    ast.IsNot: lambda a, b: not _same(a, b),
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"min": min, "max": max, "abs": abs, "round": round, "len": len}
_FOREIGN_WORDS = {"true": "True", "false": "False", "null": "None", "none": "None", "nil": "None"}
_SYNTAX_HINTS = (
    ("&&", "Write and instead of &&."),
    ("||", "Write or instead of ||."),
    ("!", "Write not x, or x != y."),
    ("=", "Write == to compare."),
)


class Expression:
    """A checked expression.

    Attributes:
        text: as written.
        names: the (dotted) names it reads.
        compared: pairs of a name and a literal it is tested to be (``==``, ``!=``, ``in``).

    Raises:
        ExpressionError: ``text`` is outside the language; says what and what to write instead.
    """

    __slots__ = ("_compute", "compared", "names", "text")

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        tree = _parse(self.text)
        compiler = _Compiler(self.text)
        self._compute = compiler.compile(tree, 0)
        self.names = frozenset(compiler.names)
        self.compared = tuple(compiler.compared)

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """Compute the value for ``values`` (flat, dotted names; nested mappings are looked into as well).

        Raises:
            ExpressionError: it cannot be computed for these values (division by zero, a text and a number).
        """
        try:
            result = self._compute(values)
        except (TypeError, ZeroDivisionError, OverflowError, ValueError) as error:
            found = {name: values.get(name) for name in sorted(self.names)}
            raise ExpressionError(f"{self.text!r} cannot be computed for {found}: {error}") from None
        return False if result is _ABSENT else result

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[type[Expression], tuple[str]]:
        return (Expression, (self.text,))


def _parse(text: str) -> ast.expr:
    if not text:
        raise ExpressionError("an expression must not be empty")
    if len(text) > LONGEST_TEXT:
        raise ExpressionError(f"an expression may have {LONGEST_TEXT} characters, this one has {len(text)}")
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        hint = next((hint for mark, hint in _SYNTAX_HINTS if mark in text.replace("==", "").replace("!=", "")), "")
        raise ExpressionError(f"{text!r} is not an expression. {hint or f'Python says: {reason}.'}") from None


class _Compiler:
    """Turns checked nodes into closures and collects the names they read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.names: set[str] = set()
        self.compared: list[tuple[str, Any]] = []

    def compile(self, node: ast.expr, depth: int) -> _Node:
        if depth > DEEPEST:
            raise ExpressionError(f"an expression may be nested {DEEPEST} levels deep, this one is deeper")
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return lambda _: value
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.BoolOp(op=op, values=parts):
                return _boolean(isinstance(op, ast.And), [self.compile(part, depth + 1) for part in parts])
            case ast.UnaryOp():
                return self._unary(node, depth)
            case ast.BinOp():
                return self._arithmetic(node, depth)
            case ast.Compare():
                return self._comparison(node, depth)
            case ast.IfExp(test=test, body=body, orelse=other):
                return _conditional(*(self.compile(part, depth + 1) for part in (test, body, other)))
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                items = [self.compile(part, depth + 1) for part in parts]
                return lambda values: _spread([item(values) for item in items])
            case ast.Call():
                return self._call(node, depth)
        raise self._refuse(node)

    def _name(self, node: ast.expr) -> _Node:
        parts: list[str] = []
        inner = node
        while isinstance(inner, ast.Attribute):
            parts.insert(0, inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            raise self._refuse(node)
        parts.insert(0, inner.id)
        if any(part.startswith("__") for part in parts):
            raise ExpressionError(f"{'.'.join(parts)!r}: a name must not start with two underscores")
        if len(parts) == 1 and (python := _FOREIGN_WORDS.get(parts[0])):
            raise ExpressionError(f"{parts[0]!r} is not a word of Python. Write {python}.")
        name = ".".join(parts)
        self.names.add(name)
        return lambda values: _look_up(values, name, parts)

    def _unary(self, node: ast.UnaryOp, depth: int) -> _Node:
        operand = self.compile(node.operand, depth + 1)
        if isinstance(node.op, ast.Not):
            return lambda values: not operand(values)
        apply = _UNARY.get(type(node.op))
        if apply is None:
            raise self._refuse(node)
        return lambda values: _numeric(apply, operand(values))

    def _arithmetic(self, node: ast.BinOp, depth: int) -> _Node:
        apply = _ARITHMETIC.get(type(node.op))
        if apply is None:
            raise self._refuse(node)
        left, right = self.compile(node.left, depth + 1), self.compile(node.right, depth + 1)
        power = isinstance(node.op, ast.Pow)
        return lambda values: _bounded(_numeric(apply, left(values), right(values), power=power))

    def _comparison(self, node: ast.Compare, depth: int) -> _Node:
        terms = [self.compile(part, depth + 1) for part in (node.left, *node.comparators)]
        tests = [_COMPARE[type(op)] for op in node.ops]
        if isinstance(node.ops[0], (ast.Eq, ast.NotEq, ast.In, ast.NotIn)):
            self._remember(node.left, node.comparators[0])

        def compare(values: _Values) -> bool:
            found = [term(values) for term in terms]
            if any(value is _ABSENT for value in found):
                return False
            return all(test(a, b) for test, a, b in zip(tests, found, found[1:], strict=False))

        return compare

    def _remember(self, left: ast.expr, right: ast.expr) -> None:
        if isinstance(left, (ast.Name, ast.Attribute)):
            parts = right.elts if isinstance(right, (ast.List, ast.Tuple, ast.Set)) else [right]
            literals = [part.value for part in parts if isinstance(part, ast.Constant)]
            self.compared += [(ast.unparse(left), literal) for literal in literals]

    def _call(self, node: ast.Call, depth: int) -> _Node:
        function = _FUNCTIONS.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if function is None or node.keywords or not node.args:
            raise self._refuse(node)
        arguments = [self.compile(part, depth + 1) for part in node.args]

        def call(values: _Values) -> Any:
            found = [argument(values) for argument in arguments]
            return _ABSENT if any(value is _ABSENT for value in found) else function(*found)

        return call

    def _refuse(self, node: ast.AST) -> ExpressionError:
        part = ast.get_source_segment(self._text, node) if isinstance(node, ast.expr) else None
        return ExpressionError(
            f"{part or type(node).__name__!r} is not allowed in an expression. "
            f"Use names, literals, comparisons, and, or, not, in, arithmetic, {', '.join(_FUNCTIONS)}."
        )


def _look_up(values: _Values, name: str, parts: list[str]) -> Any:
    if name in values:
        return values[name]
    found: Any = values
    for part in parts:
        if not isinstance(found, Mapping) or part not in found:
            return _ABSENT
        found = found[part]
    return found


def _boolean(conjunction: bool, parts: list[_Node]) -> _Node:
    if conjunction:
        return lambda values: all(part(values) for part in parts)
    return lambda values: any(part(values) for part in parts)


def _conditional(test: _Node, body: _Node, other: _Node) -> _Node:
    return lambda values: body(values) if test(values) else other(values)


def _spread(items: list[Any]) -> Any:
    return _ABSENT if any(item is _ABSENT for item in items) else items


def _numeric(apply: Callable[..., Any], *operands: Any, power: bool = False) -> Any:
    """Apply an operator to numbers only: a repeated string could be made as long as memory."""
    if any(operand is _ABSENT for operand in operands):
        return _ABSENT
    for operand in operands:
        if not isinstance(operand, (int, float)):
            raise TypeError(f"arithmetic needs numbers, got {operand!r}")
    if power and abs(operands[1]) > 64:
        raise OverflowError("an exponent may be at most 64")
    return apply(*operands)


def _bounded(result: Any) -> Any:
    if isinstance(result, complex):
        raise ValueError("the result is not a real number")
    if isinstance(result, int) and abs(result) > LARGEST:
        raise OverflowError("the result is larger than 10**18")
    return result


def _same(a: Any, b: Any) -> bool:
    """``is`` for the values people use it with; identity of numbers and texts is an accident."""
    return a == b and type(a) is type(b)
