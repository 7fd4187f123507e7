"""Parse an answer into a quantity, list, interval, matrix, relation, expression, date, … or, failing that, words.

    parse(clean(r"x = 5\\text{ cm}"))  ->  Relation("=", Expression("x"), Quantity(5, unit cm))

Parsing recurses into brackets up to a depth limit and never evaluates anything. Expressions are kept as LaTeX; the only
code that parses them is `rewards.math.symbolic`, after checking their size.
"""

from __future__ import annotations

import re
from fractions import Fraction

from rewards.math.calendar import read_clock, read_day, read_weekday
from rewards.math.numbers import Numeral, read_integer
from rewards.math.ordinals import read_ordinal
from rewards.math.products import scalar, times
from rewards.math.quantity import read_based, read_quantity
from rewards.math.relations import FLIPPED
from rewards.math.units import parse_unit
from rewards.math.values import (
    Expression,
    Group,
    Matrix,
    Measured,
    Quantity,
    Ratio,
    Relation,
    SetDifference,
    Union,
    Value,
    Words,
)
from rewards.text.visible import is_invisible

MAX_CHARS = 2000
_MAX_DEPTH = 12

_OPENING = {"(": ")", "[": "]", "{": "}"}
_MATRIX = re.compile(
    r"\\begin\{([pbBvV]?matrix|smallmatrix|array)\}(?:\{[clr|]*\})?(.*)\\end\{\1\}", re.DOTALL
)
_RELATION = re.compile(r"\\(?:le|ge|ne|in|approx|lt|gt|equiv)(?![A-Za-z])|<=|>=|!=|<|>|=")
_OPERATORS = {
    r"\le": "<=", r"\ge": ">=", r"\ne": "!=", r"\in": "in", r"\approx": "=", r"\lt": "<", r"\gt": ">",
    r"\equiv": "equiv",
}  # fmt: skip
_MINUS_SET = re.compile(
    r"\s*\\(?:setminus|smallsetminus|backslash)(?![A-Za-z])\s*|(?<=[)\]}])\s*-\s*(?=\\\{)|(?<=[)\]}])\s*\\\s+(?=\\\{)"
)
_COMMA = re.compile(r"\s*[,;]\s*")
_LOOSE_COMMA = re.compile(r"\s*;\s*|\s*,(?!(?<=[0-9],)[0-9]{3}(?![0-9]))\s*")
"""A list separator: a semicolon, or a comma that does not group digits."""
_NAME = re.compile(
    r"\s*(?:[A-Za-z]|\\(?:alpha|beta|gamma|theta|phi|varphi|rho|lambda|mu|omega))(?:_\{?[0-9a-z]\}?)?\s*"
)
"""A variable, Latin or Greek, with or without an index."""
_TURNED = re.compile(r"(?=\]|.*\[$)([\[\](])([^\[\]()]*,[^\[\]()]*)([\[\])])")
_STRAIGHT, _STRAIGHT_END = {"]": "("}, {"[": ")"}
_SET_BUILDER = re.compile(
    r"\s*[A-Za-z]\s*(?:\\in\s*\(-\\infty,\s*\\infty\)\s*)?(?:\\mid(?![A-Za-z])|\||:)\s*(.*[<>=\\].*)",
    re.DOTALL,
)
_AND = re.compile(r"\sand\s|\\(?:land|wedge)(?![A-Za-z])|且|和|以及")
_OR = re.compile(r"\sor\s|\\(?:lor|vee)(?![A-Za-z])|或")
_LIST_WORDS = re.compile(
    r",?\s+(?:and|or)\s+|\s*(?:或者|或|和|且|以及)\s*|\s*\\(?:vee|lor|wedge|land)(?![A-Za-z])\s*"
)
_FUNCTIONS = (
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp sqrt pi theta alpha beta gamma delta "
    "epsilon lambda mu nu rho sigma tau phi varphi psi omega infty frac cdot times div binom lfloor rfloor lceil rceil "
    "circ pm abs max min gcd lcm emptyset vert left right Re Im overline bar vec hat dots ldots cdots mod "
    "cup cap setminus mp"
).split()
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_PLAIN_FUNCTION = re.compile(
    r"(?<![A-Za-z\\])(sin|cos|tan|cot|sec|csc|ln|log|exp|pi|theta|arcsin|arccos|arctan)(?![A-Za-z])"
)
_DEGREES = re.compile(r"\\?(sin|cos|tan|cot|sec|csc)\s*\(?\s*([0-9]{1,4})\s*\^\\circ\s*\)?")
_SHORT_WORDS = frozenset(
    "is or no of to in on an at as by if it we so do up he me my be am us go ok hi oh".split()
)


def parse(text: str, depth: int = 0) -> Value:
    """Parse a cleaned answer. Never raises and never evaluates; text that is not understood becomes `Words`."""
    text = text.strip()
    if depth > _MAX_DEPTH or not text or len(text) > MAX_CHARS or any(map(is_invisible, text)):
        return Words(text)
    integer = read_integer(text)
    if integer is not None:
        return Quantity(Numeral(Fraction(integer), "integer"))
    return (
        read_day(text)
        or read_clock(text)
        or read_weekday(text)
        or read_ordinal(text)
        or read_based(text)
        or read_quantity(text)
        or _matrix(text, depth)
        or _difference(text, depth)
        or _union(text, depth)
        or _bracketed(text, depth)
        or _listed(text, depth)
        or _relation(text, depth)
        or _plus_minus(text, depth)
        or _ratio(text, depth)
        or _measured(text)
        or _expression(text)
        or Words(text)
    )


def split_top(text: str, separators: re.Pattern[str]) -> list[str]:
    """Split `text` at separators outside all brackets; return it whole if its brackets do not balance."""
    pieces: list[str] = []
    start = at = level = 0
    while at < len(text):
        char = text[at]
        if level == 0 and (match := separators.match(text, at)) and match.end() > at:
            pieces.append(text[start:at])
            start = at = match.end()
            continue
        if char in "([{":
            level += 1
        elif char in ")]}":
            level -= 1
            if level < 0:
                return [text]
        at += 1
    pieces.append(text[start:])
    return pieces if level == 0 else [text]


def _matrix(text: str, depth: int) -> Matrix | None:
    """Parse a matrix, with a scalar or a sign before it or a divisor behind it if there is one."""
    match = _MATRIX.search(text)
    if match is None or match[2].count(r"\begin") or match[1] in ("vmatrix", "Vmatrix"):
        return None
    before, after = text[: match.start()].strip(), text[match.end() :].strip()
    while before.endswith(("(", "[")) and after.startswith((")", "]")):
        before, after = before[:-1].strip(), after[1:].strip()
    scale = scalar(before, after)
    lines = [line for line in re.split(r"\\\\", match[2].replace(r"\hline", "")) if line.strip()]
    rows = tuple(tuple(parse(cell, depth + 1) for cell in line.split("&")) for line in lines)
    if not rows or len({len(row) for row in rows}) > 1 or scale is None:
        return None
    scaled = tuple(tuple(times(scale, cell) for cell in row) for row in rows)
    return None if any(cell is None for row in scaled for cell in row) else Matrix(scaled)  # type: ignore[arg-type]


def _difference(text: str, depth: int) -> SetDifference | None:
    whole, *removed = split_top(text, _MINUS_SET)
    if not removed or len(split_top(text, _RELATION)) > 1:
        return None
    value = parse(whole, depth + 1)
    for part in removed:
        value = SetDifference(value, parse(part, depth + 1))
    return value if isinstance(value, SetDifference) else None


def _union(text: str, depth: int) -> Union | None:
    parts = split_top(text, re.compile(r"\s*\\cup(?![A-Za-z])\s*|(?<=[)\]])\s*(?:U|∪)\s*(?=[(\[])"))
    return Union(tuple(parse(part, depth + 1) for part in parts)) if len(parts) > 1 else None


def _bracketed(text: str, depth: int) -> Value | None:
    if text == r"\emptyset":
        return Group("{}", ())
    if match := _TURNED.fullmatch(text):  # ]2, 3] is another notation for (2, 3]
        text = f"{_STRAIGHT.get(match[1], match[1])}{match[2]}{_STRAIGHT_END.get(match[3], match[3])}"
    if text.startswith(r"\{") and text.endswith(r"\}"):
        opening, inner, closing = "{", text[2:-2], "}"
    elif text[0] in _OPENING and text[-1] in ")]}" and len(text) > 1:
        opening, inner, closing = text[0], text[1:-1], text[-1]
        if "{" in (opening + closing) and _OPENING[opening] != closing:
            return None
    else:
        return None
    if not _closes_at_end(text):
        return None
    if opening == "{" and not inner.strip():
        return Group("{}", ())
    if opening == "{" and (match := _SET_BUILDER.fullmatch(inner)):
        condition = parse(match[1], depth + 1)
        return condition if isinstance(condition, Relation | Group) else None
    pieces = split_top(inner, _commas(inner))
    if opening == "{":
        pieces = [signed for piece in pieces for signed in both_signs(piece)]
    elif opening + closing == "()" and len(pieces) > 1 and len(points := both_signs(text)) > 1:
        return Group("", tuple(parse(point, depth + 1) for point in points))
    if len(pieces) == 1:
        value = parse(inner, depth + 1)
        if opening == "{" and text.startswith("\\"):
            return value if isinstance(value, Group) and not value.brackets else Group("{}", (value,))
        if opening == "[" or isinstance(value, Words):
            return Group("[]", (value,)) if opening == "[" and closing == "]" else None
        return value if _OPENING[opening] == closing else None
    return Group(opening + closing, tuple(parse(piece, depth + 1) for piece in pieces))


def _closes_at_end(text: str) -> bool:
    """Return True if the last bracket closes the first one. Their kinds may differ, as in half-open intervals."""
    body = text.replace(r"\{", "{").replace(r"\}", "}")
    level = 0
    for at, char in enumerate(body):
        if char in "([{":
            level += 1
        elif char in ")]}":
            level -= 1
            if level == 0:
                return at == len(body) - 1
    return False


def _listed(text: str, depth: int) -> Group | None:
    pieces = [p for part in split_top(text, _commas(text)) for p in split_top(part, _LIST_WORDS)]
    pieces = [re.sub(r"^(?:and|or)\s+", "", piece.strip()) for piece in pieces]
    if len(pieces) < 2 or not all(pieces):
        return None
    pieces = [signed for piece in pieces for signed in both_signs(piece)]
    values = tuple(parse(piece, depth + 1) for piece in pieces)
    are_inequalities = all(
        isinstance(value, Relation) and set(value.operators) <= set(FLIPPED) for value in values
    )
    if not are_inequalities:
        return Group("", values)
    return Group("&" if _AND.search(text) else "|" if _OR.search(text) else "", values)


def _commas(text: str) -> re.Pattern[str]:
    """Return the pattern that separates list items. In "1,200, 3,400" and "x = 1,200", tight commas group digits."""
    return _LOOSE_COMMA if re.search(r", |;|=|\sand\s|\sor\s", text) else _COMMA


def _relation(text: str, depth: int) -> Value | None:
    parts = split_top(text, _RELATION)
    if len(parts) < 2:
        return None
    found = [match.group() for match in _RELATION.finditer(text)]
    if len(found) != len(parts) - 1:
        return None
    operators = tuple(_OPERATORS.get(operator, operator) for operator in found)
    if operators == ("=",) and found == [r"\approx"] and not parts[0].strip():
        return parse(parts[1], depth + 1)
    if not parts[0].strip() and operators == ("=",):
        return parse(parts[1], depth + 1)
    if not all(part.strip() for part in parts):
        return None
    values = tuple(parse(part, depth + 1) for part in parts)
    names, point = values[0], values[-1]
    if operators == ("!=",) and isinstance(point, Group) and not point.brackets:  # x ≠ ±1
        return Group("&", tuple(Relation(operators, (names, one)) for one in point.items))
    if (  # (x, y) = (1, 2) means x = 1, y = 2
        operators == ("=",)
        and isinstance(names, Group)
        and isinstance(point, Group)
        and names.brackets == point.brackets == "()"
        and len(names.items) == len(point.items)
        and all(isinstance(item, Expression) and _NAME.fullmatch(item.latex) for item in names.items)
    ):
        return Group("", tuple(Relation(("=",), pair) for pair in zip(names.items, point.items, strict=True)))
    return Relation(operators, values)


def _plus_minus(text: str, depth: int) -> Group | None:
    found = both_signs(text)
    return Group("", tuple(parse(one, depth + 1) for one in found)) if len(found) > 1 else None


def both_signs(text: str) -> list[str]:
    """Return the two texts that a single ± stands for (∓ goes with it); any other text alone."""
    if text.count(r"\pm") != 1 or re.search(r"\\pm[A-Za-z]", text):
        return [text]
    plus, minus = (
        text.replace(r"\pm", first).replace(r"\mp", second) for first, second in (("+", "-"), ("-", "+"))
    )
    return [re.sub(r"(^|[=(,{])\s*\+\s*", r"\1", plus), minus]


def _ratio(text: str, depth: int) -> Ratio | None:
    parts = split_top(text, re.compile(r"\s*:\s*|(?<=[0-9])\s+to\s+(?=[0-9])"))
    if not 2 <= len(parts) <= 6:
        return None
    values = tuple(parse(part, depth + 1) for part in parts)
    return Ratio(values) if all(isinstance(value, Quantity | Expression) for value in values) else None


def _measured(text: str) -> Measured | None:
    """Parse an expression with a unit. One-letter units are excluded: such a letter is taken for a variable."""
    for gap in re.finditer(r"\s+(?=[A-Za-z]{2,}|\^\\circ|[\u4e00-\u9fff])", text):
        if measured := _measured_at(text[: gap.start()], text[gap.end() :]):
            return measured
    return None


def _measured_at(number: str, name: str) -> Measured | None:
    if not number or number[-1] in "+-*/=^(" or re.search(r"\d an?$", number):
        return None  # "5 a day" is not a length of time
    unit = parse_unit(name)
    value = None if unit is None or unit.noun else _expression(number)
    return Measured(value, unit) if unit is not None and value is not None else None


def _expression(text: str) -> Expression | None:
    """Parse `text` as an expression if it has only known commands, known functions and short variable names."""
    if not text.isascii() or any(name not in _FUNCTIONS for name in _COMMAND.findall(text)):
        return None
    if re.match(r"[+-]\s*[+-]", text) or text[-1] in "+-*/^_=":
        return None  # malformed: --42, 42+
    if re.search(r"[?!@#&\"'`~$%]", re.sub(r"(?<=[0-9A-Za-z)}])!(?!!)", "", text)) or re.search(
        r"[0-9]\s+[0-9]|[0-9)]\s*_", text
    ):
        return None
    bare = _PLAIN_FUNCTION.sub(" ", _COMMAND.sub(" ", text)).replace("sqrt", " ")
    if re.search(r"(?<![A-Za-z])[A-Za-z][0-9]", bare):
        return None  # x3 is ambiguous: a product, a power or an index
    for run in re.findall(r"[A-Za-z]+", bare):
        if (len(run) > 2 and run not in ("xyz", "abc", "abcd")) or run.lower() in _SHORT_WORDS:
            return None
    if len(re.findall(r"(?<![A-Za-z])[A-Za-z]\s+(?=[A-Za-z])", bare)) > 2:
        return None
    return Expression(_as_latex(text))


def _as_latex(text: str) -> str:
    text = re.sub(r"(?<!\\)sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = _DEGREES.sub(r"\\\1(\\frac{\2\\pi}{180})", text.replace("**", "^"))
    text = re.sub(r"\^\s*\(([^()]*)\)", r"^{\1}", text)
    text = re.sub(r"\^\s*(-?[0-9]+(?:\.[0-9]+)?)", r"^{\1}", text)
    text = _PLAIN_FUNCTION.sub(r"\\\1 ", text)
    text = re.sub(r"\\(frac|sqrt)\s+\{", r"\\\1{", text)
    return text.replace("*", r" \cdot ")
