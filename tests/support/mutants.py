"""Wrong answers made by rule: a reference solution with one small change, in its source or at run time.

A rule in the source replaces one node of the syntax tree: another operator, a bound that is off by one, a term left
out.  A rule at run time wraps one expression in a function that changes its value, if it is of a kind that the rule
applies to: a tensor that needs gradients is detached, a scalar becomes a plain number, two axes are swapped.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Variants = Iterator[tuple[str, ast.expr]]  # rule, what takes the place of an expression

OPERATORS = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.FloorDiv: [ast.Div],
    ast.Mod: [ast.FloorDiv], ast.Pow: [ast.Mult], ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt],
    ast.Gt: [ast.GtE, ast.Lt], ast.GtE: [ast.Gt], ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq],
    ast.And: [ast.Or], ast.Or: [ast.And], ast.BitAnd: [ast.BitOr],
}  # fmt: skip
NAMES = {
    "sum": ["mean"], "mean": ["sum"], "min": ["max"], "max": ["min"], "argmin": ["argmax"], "argmax": ["argmin"],
    "square": ["abs"], "abs": ["square"], "log10": ["log", "log2"], "log": ["log10"], "round": ["floor", "ceil"],
    "ones_like": ["zeros_like"], "stack": ["cat"], "std": ["var"], "exp": ["expm1"], "rand": ["randn"],
    "randint": ["randperm"], "lower": ["upper"], "suffix": ["name"], "byte": ["char", "long"], "int": ["float"],
}  # fmt: skip
IN_PLACE = {"clamp", "mul", "square", "exp", "round", "abs", "detach", "log10"}


# ------------------------------------------------------------------------------------------------- in the source


def variants(node: ast.expr, arguments: list[str]) -> Variants:
    """The rules in the source, applied to one expression of a function with these arguments."""
    match node:
        case ast.Constant(bool()):
            yield "another constant", ast.Constant(not node.value)
        case ast.Constant(int()):
            yield from (("off by one", ast.Constant(node.value + k)) for k in (1, -1))
        case ast.Constant(float()):
            yield from (("another factor", ast.Constant(value)) for value in (2 * node.value, node.value + 1))
        case ast.Constant(str()):
            yield "another text", ast.Constant(node.value[1:])
        case ast.BinOp(left, op, right):
            yield from (("operator", ast.BinOp(left, other(), right)) for other in OPERATORS.get(type(op), ()))
            yield from (("dropped term or factor", part) for part in (left, right))
            if not isinstance(op, (ast.Add, ast.Mult, ast.BitAnd)):
                yield "swapped operands", ast.BinOp(right, op, left)
        case ast.UnaryOp(_, operand):
            yield "dropped sign", operand
        case ast.Compare(left, [op], [right]):
            yield from (("comparison", ast.Compare(left, [other()], [right])) for other in OPERATORS.get(type(op), ()))
        case ast.BoolOp(op, values):
            yield from (("operator", ast.BoolOp(other(), values)) for other in OPERATORS[type(op)])
            for k in range(len(values)):
                yield "dropped term or factor", _joined(op, values[:k] + values[k + 1 :])
        case ast.IfExp(body=body, orelse=orelse):
            yield from (("dropped branch", part) for part in (body, orelse))
        case ast.Call():
            yield from _calls(node, arguments)
        case ast.Subscript(value, index):
            yield "dropped index", value
            yield from (("another slice", ast.Subscript(value, other, ast.Load())) for other in _slices(index))
        case ast.Attribute(value, name):
            yield from (("another function", ast.Attribute(value, other, ast.Load())) for other in NAMES.get(name, ()))
            if name in ("T", "mT"):
                yield "dropped transpose", value
        case ast.Name(name):
            yield from (("another function", ast.Name(other, ast.Load())) for other in NAMES.get(name, ()))
            if name in arguments:
                yield from (("another argument", ast.Name(n, ast.Load())) for n in arguments if n != name)
        case ast.Tuple(parts) | ast.List(parts) if len(parts) > 1:
            yield "swapped values", type(node)(parts[::-1], ast.Load())


def _joined(op: ast.boolop, values: list[ast.expr]) -> ast.expr:
    return values[0] if len(values) == 1 else ast.BoolOp(op, values)


def _calls(node: ast.Call, arguments: list[str]) -> Variants:
    function, args, keywords = node.func, node.args, node.keywords
    for k, keyword in enumerate(keywords):
        yield f"dropped {keyword.arg}", ast.Call(function, args, keywords[:k] + keywords[k + 1 :])
    for k in range(len(args)):
        yield "dropped call", args[k]
        yield "dropped argument", ast.Call(function, args[:k] + args[k + 1 :], keywords)
        if k and ast.unparse(function) not in ("min", "max"):
            swapped = [*args[: k - 1], args[k], args[k - 1], *args[k + 1 :]]
            yield "swapped arguments", ast.Call(function, swapped, keywords)
    if isinstance(function, ast.Attribute):
        yield "dropped call", function.value
        root = function.value
        while isinstance(root, ast.Subscript):
            root = root.value
        if function.attr in IN_PLACE and isinstance(root, ast.Name) and root.id in arguments:
            method = ast.Attribute(function.value, f"{function.attr}_", ast.Load())
            yield "in place", ast.Call(method, args, keywords)


def _slices(index: ast.expr) -> Iterator[ast.expr]:
    if isinstance(index, ast.Tuple):
        parts = index.elts
        for k, part in enumerate(parts):
            yield from (ast.Tuple([*parts[:k], other, *parts[k + 1 :]], ast.Load()) for other in _slices(part))
            if k:
                yield ast.Tuple([*parts[: k - 1], part, parts[k - 1], *parts[k + 1 :]], ast.Load())
    elif isinstance(index, ast.Slice):
        if index.lower or index.upper:
            yield ast.Slice(None, index.upper)
            yield ast.Slice(index.lower, None)
            yield ast.Slice(index.upper, index.lower)


def expressions(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.expr]]:
    """(parent, field, place in a list or None, expression) of each that is read, docstrings left out."""
    for parent in ast.walk(tree):
        if _is_text(parent):
            continue
        for name, value in ast.iter_fields(parent):
            if isinstance(parent, ast.arguments):
                continue
            for k, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(node, ast.expr) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
                    yield parent, name, k, node


# ---------------------------------------------------------------------------------------------------- at run time


@dataclass
class Change:
    """Changes the values of one expression, and remembers whether it ever did."""

    function: Callable[..., Any]
    applied: bool = False

    def __call__(self, value: Any, *others: Any) -> Any:
        changed = self.function(value, *others)
        self.applied |= changed is not NOTHING
        return value if changed is NOTHING else changed


NOTHING = object()  # a rule gives this for a value that it does not apply to


def each(rule: Callable[[Tensor], Any]) -> Callable[[Any], Any]:
    """A rule for tensors as one for tuples of them too, of which the last that it applies to is changed."""

    def changed(value: Any) -> Any:
        if isinstance(value, tuple):
            for k in reversed(range(len(value))):
                if (other := changed(value[k])) is not NOTHING:
                    return (*value[:k], other, *value[k + 1 :])
        return rule(value) if isinstance(value, (Tensor, np.ndarray)) else NOTHING

    return changed


def swap(value: Any) -> Any:
    """The last two axes, where they can be told apart."""
    return value.swapaxes(-1, -2) if value.ndim >= 2 and max(value.shape[-2:]) > 1 else NOTHING


def dtype(value: Any) -> Any:
    """Another one; a single number may be of any, and so may an array, in place of which a list would do."""
    if isinstance(value, np.ndarray) or value.ndim == 0:
        return NOTHING
    other = {"float32": "float64", "float64": "float32", "int64": "float32", "int32": "float32", "uint8": "int32"}
    name = other.get(str(value.dtype).removeprefix("torch."))
    return value.to(getattr(torch, name)) if name else NOTHING


def spoil(result: Any, given: Any) -> Any:
    """The result as it is, after a change of an input."""
    if isinstance(given, nn.Module):
        given = next(given.parameters()).data
    while isinstance(given, list) and given and isinstance(given[0], np.ndarray):
        given = given[0]
    if isinstance(given, (Tensor, np.ndarray)):
        given[...] = ~given if given.dtype == torch.bool else given + 1
    elif isinstance(given, list):
        given.append(None)
    else:
        return NOTHING
    return result


def no_grad(value: Any) -> Any:
    """All that is returned, without its graph."""
    learns = [part for part in (value if isinstance(value, tuple) else [value]) if isinstance(part, Tensor)]
    if not any(part.requires_grad for part in learns):
        return NOTHING
    return tuple(part.detach() for part in value) if isinstance(value, tuple) else value.detach()


RULES = {  # for every expression
    "detach": each(lambda v: v.detach() if isinstance(v, Tensor) and v.requires_grad else NOTHING),
    "item": each(lambda v: v.item() if v.ndim == 0 and getattr(v, "requires_grad", False) else NOTHING),
    "swapped axes": each(swap),
}
AT_RETURN = {  # for what is returned
    "no_grad": no_grad,
    "wrong dtype": each(dtype),
    "numpy": each(lambda v: v.detach().numpy() if isinstance(v, Tensor) and v.ndim else NOTHING),
    "clamp added": each(lambda v: v.clip(0, 1) if v.dtype.is_floating_point else NOTHING),
    "float": lambda v: float(v) if isinstance(v, int) and not isinstance(v, bool) else NOTHING,
    "nothing": lambda v: None if v is not None else NOTHING,
}
NOISE = {"seed ignored": each(lambda v: torch.randn_like(v))}  # for arguments that hold noise
CHANGE = "_change"  # what mutants call it


# -------------------------------------------------------------------------------------------------------- mutants


@dataclass
class Mutant:
    """One wrong answer: the source of its cell, and what its expressions are wrapped in."""

    rule: str
    change: str  # "what it was -> what it is"
    source: str
    wrap: Change = field(default_factory=lambda: Change(lambda value: value, applied=True))


def mutants(source: str) -> Iterator[Mutant]:
    """All mutants of the source of an answer cell, no two of the same source and rule."""
    tree = ast.parse(source)
    seen = {ast.unparse(tree)}
    for rule, change, wrap in _changed(tree):
        text = ast.unparse(ast.fix_missing_locations(tree))
        key = text if wrap is None else f"{rule} {text}"
        if key not in seen:
            seen.add(key)
            yield Mutant(rule, change, text, *([Change(wrap)] if wrap else []))


def _changed(tree: ast.Module) -> Iterator[tuple[str, str, Callable[..., Any] | None]]:
    """The tree itself is changed while a mutant is given out, and then changed back."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(node): function for function in functions for node in ast.walk(function)}
    for parent, name, k, node in list(expressions(tree)):
        function = inside.get(id(node))
        arguments = [arg.arg for arg in function.args.args if arg.arg != "self"] if function else []
        for rule, other in variants(node, arguments):
            with _put(parent, name, k, other):
                yield rule, f"{ast.unparse(node)} -> {ast.unparse(other)}", None
        if isinstance(parent, ast.Attribute) or isinstance(node, ast.Slice) or name in ("func", "slice", "keywords"):
            continue  # no values
        rules = RULES | (AT_RETURN if isinstance(parent, ast.Return) else {})
        if isinstance(node, ast.Name) and node.id == "eps":
            rules = rules | NOISE
        for rule, wrap in rules.items():
            with _put(parent, name, k, _call(node)):
                yield rule, ast.unparse(node), wrap
        if isinstance(parent, ast.Return):
            for argument in arguments:
                with _put(parent, name, k, _call(node, argument)):
                    yield "in place", f"{argument} is changed", spoil
    for function in functions:
        for parent in ast.walk(function):
            body = getattr(parent, "body", None)
            for k, statement in enumerate(body if isinstance(body, list) else ()):
                if not isinstance(statement, ast.Return) and not _is_text(statement):
                    with _put(parent, "body", k, ast.Pass()):
                        yield "dropped statement", ast.unparse(statement).splitlines()[0], None
        for argument, default in zip(reversed(function.args.args), reversed(function.args.defaults)):
            copied = ast.Assign([ast.Name(argument.arg, ast.Store())], default, lineno=0)
            with _put(function, "body", None, [copied, *function.body]):
                yield "copied default", f"{argument.arg} = {ast.unparse(default)}", None


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _call(node: ast.expr, *arguments: str) -> ast.expr:
    return ast.Call(ast.Name(CHANGE, ast.Load()), [node, *(ast.Name(a, ast.Load()) for a in arguments)], [])


class _put:
    """A node of a tree replaced for a while."""

    def __init__(self, parent: ast.AST, name: str, k: int | None, other: Any):
        self.at = (getattr(parent, name), k) if k is not None else (parent.__dict__, name)
        self.other = copy.deepcopy(other)

    def __enter__(self) -> None:
        holder, key = self.at
        self.was, holder[key] = holder[key], self.other

    def __exit__(self, *error: object) -> None:
        holder, key = self.at
        holder[key] = self.was
