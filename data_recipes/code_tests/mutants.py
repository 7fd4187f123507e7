"""Makes mutants of Python programs: each has one edit in the syntax tree of a correct program.

    mutants("def add(a, b):\\n    return a + b\\n", 3, seed=0)     → "… return a - b", "… return None", …

They are wrong programs for data sets that have none (build.py), and measure how many wrong programs a reward accepts
(benchmarks/humaneval_checker.py). An edit may not change what the program computes, so a mutant may be correct.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator
from functools import partial

_COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_ARITHMETIC: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitAnd,),
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "abs": "float"}
_REMOVABLE = (ast.AugAssign, ast.Expr, ast.Break, ast.Continue)
Edit = Callable[[ast.AST], None]
"""Changes a node of a syntax tree in place."""


def mutants(source: str, count: int, seed: int = 0, function: str | None = None) -> list[str]:
    """Return up to `count` different mutants, drawn with the seed, in the order of their edits in the source.

    Args:
        source: the correct program.
        count: maximum number of mutants.
        seed: seed of the draw.
        function: edit only inside this function; None edits anywhere.

    Raises:
        SyntaxError: the source is not valid Python.
    """
    tree = ast.parse(source)
    original = ast.unparse(tree)
    sites = list(_sites(tree, function))
    random.Random(seed).shuffle(sites)
    found: dict[str, int] = {}
    for at, edit in sites:
        if len(found) == count:
            break
        changed = copy.deepcopy(tree)
        edit(list(ast.walk(changed))[at])
        try:
            text = ast.unparse(changed)
            ast.parse(text)
        except (ValueError, SyntaxError):  # e.g. a name where only a constant is allowed
            continue
        if text != original:
            found.setdefault(text, at)
    return sorted(found, key=lambda text: found[text])


def _sites(tree: ast.Module, function: str | None) -> Iterator[tuple[int, Edit]]:
    """Yield (index in `ast.walk`, edit) of all single edits."""
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = [n for n in tree.body if function is None or getattr(n, "name", None) == function]
    inside = {id(node) for part in parts for node in ast.walk(part)}
    for at, node in enumerate(ast.walk(tree)):
        if id(node) in inside and id(node) not in texts:
            for edit in _edits(node):
                yield at, edit


def _edits(node: ast.AST) -> Iterator[Edit]:
    match node:
        case ast.Compare():
            for kind in _COMPARE[type(node.ops[0])]:
                yield partial(_first_operator, kind=kind)
        case ast.BinOp() | ast.AugAssign():
            for other in _ARITHMETIC.get(type(node.op), ()):
                yield _set("op", other)
        case ast.BoolOp():
            yield _set("op", ast.Or if isinstance(node.op, ast.And) else ast.And)
        case ast.Constant(value=bool() as flag):
            yield _put("value", not flag)
        case ast.Constant(value=int() | float() as number):
            yield _put("value", number + 1)
            yield _put("value", number - 1)
        case ast.Constant(value=str() as text):
            yield _put("value", "" if text else "x")
        case ast.If() | ast.IfExp():
            yield _negate
        case ast.Return(value=ast.expr()):
            yield _put("value", ast.Constant(None))
        case ast.Name(id=name, ctx=ast.Load()) if name in _NAMES:
            yield _put("id", _NAMES[name])
        case ast.Slice():
            for side in ("lower", "upper"):
                if getattr(node, side) is not None:
                    yield _put(side, None)
        case ast.For() | ast.FunctionDef():
            for at, statement in enumerate(node.body):
                if isinstance(statement, _REMOVABLE) and not _is_text(statement):
                    yield partial(_remove, at=at)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _set(name: str, kind: type[ast.AST]) -> Edit:
    return lambda node: setattr(node, name, kind())


def _put(name: str, value: object) -> Edit:
    return lambda node: setattr(node, name, value)


def _first_operator(node: ast.AST, kind: type[ast.cmpop]) -> None:
    assert isinstance(node, ast.Compare)
    node.ops[0] = kind()


def _remove(node: ast.AST, at: int) -> None:
    assert isinstance(node, ast.For | ast.FunctionDef)
    node.body[at] = ast.Pass()


def _negate(node: ast.AST) -> None:
    assert isinstance(node, ast.If | ast.IfExp)
    node.test = ast.UnaryOp(ast.Not(), node.test)
