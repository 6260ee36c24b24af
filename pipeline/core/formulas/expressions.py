"""`Expression`: a formula of variables in a catalog entry, such as `srad * dayl / 86400`.

A formula is parsed to a tree of numbers, names, operators and calls of the functions listed here;
nothing else of Python is accepted or run. Missing operands (NaN) make the result missing.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from typing import Any

import numpy as np

from pipeline.core.errors import bad_input, nearest_name
from pipeline.core.formulas.meteorology import FORMULAS, Formula
from pipeline.core.units import linear_conversion

MAX_LENGTH, MAX_NODES = 2000, 400
"""Largest number of characters and of parts of an expression."""
Function = Callable[..., Any]


def _where(condition: Any, one: Any, other: Any) -> Any:
    return np.where(np.isnan(condition), np.nan, np.where(condition != 0, one, other))


def _comparison(compare: Function) -> Function:
    """Return a comparison as 1 and 0, NaN where an operand is missing."""

    def compared(a: Any, b: Any) -> Any:
        return np.where(np.isnan(a) | np.isnan(b), np.nan, compare(a, b))

    return compared


OPERATORS: dict[type[ast.AST], Function] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide,
    ast.Pow: np.power, ast.USub: np.negative, ast.UAdd: np.positive,
    ast.Not: lambda a: 1.0 - np.where(np.isnan(a), np.nan, a != 0),
    ast.Lt: _comparison(np.less), ast.LtE: _comparison(np.less_equal),
    ast.Gt: _comparison(np.greater), ast.GtE: _comparison(np.greater_equal),
    ast.Eq: _comparison(np.equal), ast.NotEq: _comparison(np.not_equal),
    ast.And: np.minimum, ast.Or: np.maximum,
}  # fmt: skip
FUNCTIONS: dict[str, tuple[Function, int, int]] = {
    "abs": (np.abs, 1, 1), "sqrt": (np.sqrt, 1, 1), "exp": (np.exp, 1, 1), "log": (np.log, 1, 1),
    "log10": (np.log10, 1, 1), "where": (_where, 3, 3),
    "min": (lambda *values: reduce(np.minimum, values), 2, 9),
    "max": (lambda *values: reduce(np.maximum, values), 2, 9),
    "is_missing": (lambda a: np.where(np.isnan(a), 1.0, 0.0), 1, 1),
}  # fmt: skip
"""Functions by name, each with its smallest and largest number of arguments."""


@dataclass(frozen=True)
class Expression:
    """A parsed formula.

    >>> Expression("where(a > 0, sqrt(a), 0)").names
    ('a',)
    >>> Expression("a / b").value({"a": np.array([1.0, np.nan]), "b": np.array([4.0, 2.0])})
    array([0.25,  nan])
    >>> Expression("height_from_geopotential(z)").value({"z": np.array([980.665])},
    ...                                                 {"z": "m2 s-2"})
    array([100.])
    """

    text: str

    @cached_property
    def _tree(self) -> ast.expr:
        return _parsed(self.text)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables in order of their appearance."""
        calls = {id(node.func) for node in ast.walk(self._tree) if isinstance(node, ast.Call)}
        nodes = sorted(
            (node for node in ast.walk(self._tree) if isinstance(node, ast.Name)),
            key=lambda node: (node.lineno, node.col_offset),
        )
        return tuple(dict.fromkeys(node.id for node in nodes if id(node) not in calls))

    def value(
        self, values: Mapping[str, Any], units: Mapping[str, str] | None = None, where: str = ""
    ) -> np.ndarray:
        """Return the result for values by name (broadcastable, NaN if missing); float64.

        Arguments of `FORMULAS` that are names are converted from their `units`. A result that is
        not defined, such as a division by zero, is NaN. Raises `InputError`, located at `where`,
        for arguments without units, with others, or with values that are not possible in them.
        """
        with np.errstate(all="ignore"):
            result = np.asarray(self._of(self._tree, values, units or {}, where), np.float64)
        return np.where(np.isfinite(result), result, np.nan)

    def _of(
        self, node: ast.expr, values: Mapping[str, Any], units: Mapping[str, str], where: str
    ) -> Any:
        def of(part: ast.expr) -> Any:
            return self._of(part, values, units, where)

        match node:
            case ast.Constant(value=int() | float() as number):
                return np.float64(number)
            case ast.Name(id=name):
                return np.asarray(values[name], np.float64)
            case ast.BinOp(left=left, op=op, right=right):
                return OPERATORS[type(op)](of(left), of(right))
            case ast.UnaryOp(op=op, operand=operand):
                return OPERATORS[type(op)](of(operand))
            case ast.BoolOp(op=op, values=parts):
                truths = [_where(part, 1.0, 0.0) for part in map(of, parts)]
                return reduce(OPERATORS[type(op)], truths)
            case ast.Compare(left=left, ops=ops, comparators=parts):
                ends = list(map(of, [left, *parts]))
                pairs = zip(ops, ends, ends[1:], strict=False)
                return reduce(np.minimum, [OPERATORS[type(op)](a, b) for op, a, b in pairs])
            case ast.Call(func=ast.Name(id=name), args=args):
                if name in FUNCTIONS:
                    return FUNCTIONS[name][0](*map(of, args))
                found = [units.get(arg.id) if isinstance(arg, ast.Name) else None for arg in args]
                texts = [ast.unparse(arg) for arg in args]
                formula = FORMULAS[name]
                arguments = [
                    _in_units(of(arg), arg, unit, wanted, f"{where}: {name}({', '.join(texts)})")
                    for arg, unit, wanted in zip(args, found, formula.parameters, strict=False)
                ]
                return formula.compute(*arguments)
        raise AssertionError(ast.dump(node))


def _in_units(values: Any, argument: ast.expr, found: str | None, wanted: str, where: str) -> Any:
    """Return an argument of a formula in the units that it expects; refuses impossible values."""
    if isinstance(argument, ast.Name) and wanted != "1":
        if not found:
            raise bad_input(
                where, f"no units of {argument.id}", f"units that can be converted to {wanted}",
                f'Name them: `operands: {{{argument.id}: {{name: …, units: "…"}}}}`.',
            )  # fmt: skip
        try:
            factor, offset = linear_conversion(found, wanted)
        except ValueError:
            raise bad_input(
                where, f'{argument.id} in "{found}"', f"units that can be converted to {wanted}"
            ) from None
        values = values * factor + offset
    low, high = Formula.POSSIBLE.get(wanted, (-np.inf, np.inf))
    lowest, highest = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
    if lowest < low or highest > high:
        raise bad_input(
            where, f"{ast.unparse(argument)} from {lowest:g} to {highest:g}",
            f"a value in {wanted}, {low:g} to {high:g}",
            "Arguments that are expressions themselves must already be in these units.",
        )  # fmt: skip
    return values


@lru_cache(maxsize=512)
def _parsed(text: str) -> ast.expr:
    """Return the tree of an expression; raises `ValueError` for what is not accepted."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"an expression of {len(text):,} characters, more than {MAX_LENGTH:,}")
    try:
        tree = ast.parse(" ".join(text.split()), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = getattr(error, "msg", None) or "too deeply nested"
        shown = text if len(text) <= 100 else f"{text[:100]}…"
        way_out = 'names that are no words need others, as `operands: {t: "air temp"}`'
        raise ValueError(f'"{shown}", which cannot be parsed ({reason}); {way_out}') from None
    count = sum(1 for _ in ast.walk(tree))
    if count > MAX_NODES:
        raise ValueError(f"an expression of {count} parts, more than {MAX_NODES}")
    unchecked = [tree]
    while unchecked:
        unchecked += _operands(unchecked.pop())
    return tree


def _operands(node: ast.expr) -> list[ast.expr]:
    """Return the parts of a number, name, operator or call; raises `ValueError` for all else."""
    match node:
        case ast.Constant(value=value):
            if (type(value) is int and abs(value) < 10**300) or type(value) is float:
                return []
        case ast.Name():
            return []
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return [left, right]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return [operand]
        case ast.BoolOp(values=parts):
            return parts
        case ast.Compare(left=left, ops=ops, comparators=parts):
            if all(type(op) in OPERATORS for op in ops):
                return [left, *parts]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            _check_arguments(name, args)
            return args
    raise ValueError(
        f'"{ast.unparse(node)}", which is none of numbers, names, + - * / ** < <= > >= == !=,'
        f" and, or, not, and calls of known functions{_way_out(node)}"
    )


def _way_out(node: ast.AST) -> str:
    """Return how to write what is not accepted, if there is a usual reason for it."""
    match node:
        case ast.Attribute():
            name = ast.unparse(node)
            return f". A name with dots needs another: `operands: {{a: {{name: {name}}}}}`"
        case ast.BinOp(op=ast.BitXor()):
            return ". Powers are written with **"
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
            return ". Conditions are joined with and, or"
        case ast.IfExp():
            return ". Choices are written as where(condition, one, other)"
        case ast.Tuple():
            return ". The decimal mark is a point"
    return ""


def _check_arguments(name: str, args: list[ast.expr]) -> None:
    known = [*FUNCTIONS, *FORMULAS]
    if name in FUNCTIONS:
        _, least, most = FUNCTIONS[name]
    elif name in FORMULAS:
        most = len(FORMULAS[name].parameters)
        least = most - FORMULAS[name].optional
    else:
        hint = nearest_name(name, known)
        raise ValueError(f'an unknown function "{name}", none of {", ".join(known)}. {hint}')
    if not least <= len(args) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise ValueError(f"{name} with {len(args)} arguments instead of {wanted}")
