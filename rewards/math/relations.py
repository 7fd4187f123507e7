"""Normalize relations: x = 5 to 5, x > 2 to (2, ∞), x ≠ 3 to a union, a true chain of equations to its last part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from rewards.math.scalars import expressions, latex_of
from rewards.math.values import Expression, Group, Quantity, Relation, Union, Value, Words

FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_DENIES = re.compile(
    r"\b(?:not|no|never|isn|aren|wrong|incorrect|false|invalid|or|maybe|perhaps|possibly|probably|likely|guess|approx"
    r"|approximately|about|around|roughly|nearly|almost|except|but|unless|bounds?|at least|at most|than|above|below"
    r"|over|under|previous|estimate|estimated)\b",
    re.IGNORECASE,
)
"""Words in the name of a value which show that it is not the answer, or only approximately."""
_TUPLE = re.compile(r"\(([^()=]{3,60})\)")
_ORDERS = (
    ["r", r"\theta"],
    ["r", r"\theta", "z"],
    [r"\rho", r"\theta", r"\phi"],
    [r"\rho", r"\theta", r"\varphi"],
)
_INFINITY, _MINUS_INFINITY = Expression(r"\infty"), Expression(r"-\infty")


def unnamed(reference: Value, candidate: Value) -> tuple[Value, Value]:
    """Prepare x = 5 for comparison with 5: drop the name if only one side has one.

    If both sides have a name, both are kept, because x = 5 is not y = 5. A candidate that is a true chain of equations
    is first reduced to its last part.
    """
    candidate = _last_of_chain(candidate)
    if _is_assignment(reference) and _is_assignment(candidate):
        return reference, candidate
    if _is_assignment(candidate) and not isinstance(reference, Relation):
        return reference, candidate.parts[1]  # type: ignore[union-attr]
    if _is_assignment(reference) and not isinstance(candidate, Relation):
        return reference.parts[1], candidate  # type: ignore[union-attr]
    return reference, candidate


def _is_assignment(value: Value) -> bool:
    """Return True for name = value, f(x) = value, x ∈ set and Area = value."""
    if not isinstance(value, Relation) or value.operators not in (("=",), ("in",)):
        return False
    name = value.parts[0]
    if isinstance(name, Expression):
        pattern = (
            r"\\?[A-Za-z]+(?:_\{?[A-Za-z0-9]+\}?)?(?:\s?\([A-Za-z](?:,\s?[A-Za-z])*\))?'?"
            r"|[fghpqFGHPQ]\s?\(-?[0-9]+\)|\|[A-Z]{2}\|"
        )
        return re.fullmatch(pattern, name.latex.strip()) is not None
    return (
        isinstance(name, Words)
        and re.fullmatch(r"[A-Za-z]+(?: [A-Za-z]+){0,2}|m?\s?\\angle\s?[A-Z]{1,3}", name.text) is not None
        and not _DENIES.search(name.text)
    )


def in_order(value: Value, prompt: str = "") -> Value:
    """Sort a list of assignments such as y = 2, x = 1 by name, as the tuple of these names is written.

    The order is that of the question, if it has such a tuple; else x, y, z and any single letters by alphabet, and the
    usual order of polar coordinates. Other names, and any other value, are returned unchanged.
    """
    if not isinstance(value, Group) or value.brackets != "" or not all(map(_is_assignment, value.items)):
        return value
    names = [_squeezed(latex_of(item.parts[0]) or "") for item in value.items]  # type: ignore[union-attr]
    asked = [[_squeezed(name) for name in found.split(",")] for found in _TUPLE.findall(prompt)]
    order = next((found for found in (*asked, *_ORDERS) if sorted(found) == sorted(names)), None)
    if order is None and all(len(name) == 1 for name in names):
        order = sorted(names)
    if order is None or len(set(names)) != len(names):
        return value
    by_name = dict(zip(names, value.items, strict=True))
    return Group("", tuple(by_name[name] for name in order))


def _squeezed(name: str) -> str:
    return re.sub(r"[\s{}$]|\\left|\\right", "", name)


def is_solved(value: Value) -> bool:
    """Return True for x = 5 or 5 = x: a single variable on one side, a constant on the other."""
    if not isinstance(value, Relation) or value.operators != ("=",):
        return False
    left, right = value.parts
    return (_is_variable(left) and _is_constant(right)) or (_is_variable(right) and _is_constant(left))


def _last_of_chain(value: Value) -> Value:
    """Reduce 2 + 3 = 5 to 5 and x = 2 + 3 = 5 to x = 5; return a chain that is not true unchanged."""
    if not isinstance(value, Relation) or set(value.operators) != {"="}:
        return value
    *before, last = value.parts
    named = _is_assignment(Relation(("=",), (before[0], last)))
    sums = before[1:] if named else before
    if not sums or any(latex_of(part) is None for part in (*sums, last)):
        return value
    if not named and any(
        re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", latex_of(part) or "")) for part in sums
    ):
        return value
    if not all(expressions(last, part) for part in sums):
        return value
    return Relation(("=",), (before[0], last)) if named else last


def interval(value: Value) -> Value:
    """Convert inequalities to intervals: "x < 1 or x > 2" to a union, "x > 1 and x < 3" to an intersection.

    Any other value is returned unchanged.
    """
    if not isinstance(value, Group) or value.brackets not in ("", "&", "|"):
        return _one_interval(value)
    if not all(isinstance(item, Relation) for item in value.items):
        return value
    parts = tuple(_one_interval(item) for item in value.items)
    if not all(isinstance(part, Group) for part in parts):
        return value
    if value.brackets == "|":
        return Union(parts)
    both = _intersection(parts)
    if value.brackets == "&":
        return value if both is None else both
    # Inequalities separated only by commas are ambiguous. If together they bound a finite interval, both must hold;
    # otherwise either may hold.
    return both if isinstance(both, Group) and both.items and _encloses(both) else Union(parts)


def _encloses(span: Group) -> bool:
    return not any(_is_infinite(end) for end in span.items)


def _intersection(spans: Sequence[Value]) -> Value | None:
    """Intersect intervals with numeric or infinite endpoints; return None if any other endpoint occurs.

    An empty intersection is the empty set, and a single point is a set of one element.
    """
    low: tuple[Fraction | None, str, Value] = (None, "(", _MINUS_INFINITY)
    high: tuple[Fraction | None, str, Value] = (None, ")", _INFINITY)
    for span in spans:
        if not isinstance(span, Group):
            return None
        for end, bracket, is_low in (
            (span.items[0], span.brackets[0], True),
            (span.items[1], span.brackets[1], False),
        ):
            if _is_infinite(end):
                continue
            if not isinstance(end, Quantity) or end.unit is not None or end.is_percent:
                return None
            number, bound = end.number.value, low if is_low else high
            is_tighter = bound[0] is None or (number > bound[0] if is_low else number < bound[0])
            if is_tighter or (number == bound[0] and bracket in "()"):
                low, high = ((number, bracket, end), high) if is_low else (low, (number, bracket, end))
    if low[0] is not None and high[0] is not None:
        if low[0] > high[0] or (low[0] == high[0] and low[1] + high[1] != "[]"):
            return Group("{}", ())
        if low[0] == high[0]:
            return Group("{}", (low[2],))
    return Group(low[1] + high[1], (low[2], high[2]))


def _is_infinite(end: Value) -> bool:
    return end in (_INFINITY, _MINUS_INFINITY)


def _one_interval(value: Value) -> Value:
    """Convert x > 2 to (2, ∞), 1 ≤ x < 3 to [1, 3) and x ≠ 3 to (−∞, 3) ∪ (3, ∞); leave other values unchanged.

    `unnamed` handles x ∈ S.
    """
    if not isinstance(value, Relation) or not set(value.operators) <= {"!=", *FLIPPED}:
        return value
    parts, operators = value.parts, value.operators
    if operators == ("!=",) and _is_variable(parts[0]) and _is_constant(parts[1]):
        return Union((Group("()", (_MINUS_INFINITY, parts[1])), Group("()", (parts[1], _INFINITY))))
    if set(operators) <= {">", ">="}:
        parts, operators = parts[::-1], tuple(FLIPPED[o] for o in operators[::-1])
    if not set(operators) <= {"<", "<="}:
        return value
    if (
        len(parts) == 3
        and _is_variable(parts[1])
        and not _is_variable(parts[0])
        and not _is_variable(parts[2])
    ):
        low, high, opening, closing = parts[0], parts[2], operators[0], operators[1]
    elif len(parts) == 2 and _is_variable(parts[0]) and _is_constant(parts[1]):
        low, high, opening, closing = _MINUS_INFINITY, parts[1], "<", operators[0]
    elif len(parts) == 2 and _is_variable(parts[1]) and _is_constant(parts[0]):
        low, high, opening, closing = parts[0], _INFINITY, operators[0], "<"
    else:
        return value
    return Group(("(" if opening == "<" else "[") + (")" if closing == "<" else "]"), (low, high))


def letter_of(value: Value) -> str | None:
    """Return the variable of inequalities or of a membership x ∈ S; None if there is none or more than one."""
    if isinstance(value, Group) and value.brackets in ("", "&", "|"):
        found = {letter_of(item) for item in value.items}
        return found.pop() if len(found) == 1 else None
    if not isinstance(value, Relation) or not set(value.operators) <= {"in", "!=", *FLIPPED}:
        return None
    names = [
        part.latex.strip() for part in value.parts if isinstance(part, Expression) and _is_variable(part)
    ]
    return names[0] if len(names) == 1 else None


def _is_variable(value: Value) -> bool:
    return (
        isinstance(value, Expression)
        and re.fullmatch(r"[A-Za-z]|\\(?:theta|alpha|lambda)", value.latex.strip()) is not None
    )


def _is_constant(value: Value) -> bool:
    latex = latex_of(value)
    return latex is not None and not re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", latex))
