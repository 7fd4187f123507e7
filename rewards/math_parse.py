"""What an answer is: a number with a unit, a list, an interval, a matrix, an equation, an expression, a date, or
words.

    parse(clean(r"x = 5\\text{ cm}"))  ->  Relation("=", Expression("x"), Quantity(5, unit cm))

Parsing is recursive over brackets with a depth limit and never evaluates: the only parser of expressions proper is
behind `rewards.math_symbolic`, after its guards.
"""

from __future__ import annotations

import re
from datetime import date
from fractions import Fraction

from rewards.math_numbers import Numeral, read_integer, read_number
from rewards.math_units import parse_unit
from rewards.math_values import (
    Based,
    Clock,
    Day,
    Expression,
    Group,
    Matrix,
    Measured,
    Quantity,
    Ratio,
    Relation,
    Union,
    Value,
    Words,
)
from rewards.visible import is_invisible

MAX_CHARS = 2000
_MAX_DEPTH = 12

_OPENING = {"(": ")", "[": "]", "{": "}"}
_MONEY = re.compile(r"^([+-]?)\s*(US\$|USD|\$|€|£|¥|₹|₩|RMB|CNY|EUR|GBP)\s*(?=[-+]?[\d.])")
_BASE_SUBSCRIPT = re.compile(
    r"\(?\s*([0-9A-Fa-f]{1,200}(?:\.[0-9A-Fa-f]+)?)\s*\)?\s*_\s*\{?\s*\(?\s*([0-9]{1,2})\s*\)?\s*\}?"
)
_BASE_WORDS = re.compile(r"([0-9A-Fa-f]{1,200})\s*\(?\s*(?:in )?base[- ]?([0-9]{1,2})\s*\)?")
_BASE_PREFIX = re.compile(r"0([bxo])([0-9A-Fa-f]{1,200})")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-5][0-9])(?::([0-5][0-9]))?\s*([AaPp])?(?(4)\.?\s?[Mm]\.?)")
_CLOCK_HOUR = re.compile(r"([0-9]{1,2})\s*([AaPp])\.?\s?[Mm]\.?")
_CLOCK_ZH = re.compile(r"(上午|下午|早上|晚上)?\s*([0-9]{1,2})\s*[点时]\s*(?:([0-9]{1,2})\s*分?)?")
_ISO_DAY = re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})")
_US_DAY = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})")
_ZH_DAY = re.compile(r"([0-9]{4})\s*年\s*([0-9]{1,2})\s*月\s*([0-9]{1,2})\s*[日号]")
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = "|".join(f"{m}|{m[:3]}" for m in _MONTHS)
_DAY_MONTH = re.compile(
    rf"([0-9]{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?({_MONTH})\.?,?\s+([0-9]{{4}})", re.IGNORECASE
)
_MONTH_DAY = re.compile(rf"({_MONTH})\.?\s+([0-9]{{1,2}})(?:st|nd|rd|th)?,?\s+([0-9]{{4}})", re.IGNORECASE)
_MATRIX = re.compile(
    r"\\begin\{([pbBvV]?matrix|smallmatrix|array)\}(?:\{[clr|]*\})?(.*)\\end\{\1\}", re.DOTALL
)
_RELATION = re.compile(r"\\(?:le|ge|ne|in|approx|lt|gt|equiv)(?![A-Za-z])|<=|>=|!=|<|>|=")
_OPERATORS = {
    r"\le": "<=", r"\ge": ">=", r"\ne": "!=", r"\in": "in", r"\approx": "=", r"\lt": "<", r"\gt": ">",
    r"\equiv": "equiv",
}  # fmt: skip
_LIST_WORDS = re.compile(
    r",?\s+(?:and|or)\s+|\s*(?:或者|或|和|以及)\s*|\s*\\(?:vee|lor|wedge|land)(?![A-Za-z])\s*"
)
_UNIT_TAIL = re.compile(r"(.*[0-9}.)])\s*([^0-9\s{}.()].*)", re.DOTALL)
_FUNCTIONS = (
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp sqrt pi theta alpha beta gamma delta "
    "epsilon lambda mu nu rho sigma tau phi varphi psi omega infty frac cdot times div binom lfloor rfloor lceil rceil "
    "circ pm abs max min gcd lcm emptyset vert left right Re Im overline bar vec hat dots ldots cdots mod "
    "cup cap setminus"
).split()
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_PLAIN_FUNCTION = re.compile(
    r"(?<![A-Za-z\\])(sin|cos|tan|cot|sec|csc|ln|log|exp|pi|theta|arcsin|arccos|arctan)(?![A-Za-z])"
)
_SHORT_WORDS = frozenset(
    "is or no of to in on an at as by if it we so do up he me my be am us go ok hi oh".split()
)


def parse(text: str, depth: int = 0) -> Value:
    """The value of a cleaned answer. Never raises, never evaluates; whatever is not understood is `Words`."""
    text = text.strip()
    if depth > _MAX_DEPTH or not text or len(text) > MAX_CHARS or any(map(is_invisible, text)):
        return Words(text)
    integer = read_integer(text)
    if integer is not None:
        return Quantity(Numeral(Fraction(integer), "integer"))
    return (
        _day(text)
        or _clock(text)
        or _based(text)
        or _quantity(text)
        or _matrix(text, depth)
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
    """Pieces of `text` between separators outside of all brackets; the whole if brackets do not match."""
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


def _day(text: str) -> Day | None:
    if match := _ISO_DAY.fullmatch(text) or _ZH_DAY.fullmatch(text):
        year, month, day = map(int, match.groups())
    elif match := _DAY_MONTH.fullmatch(text):
        day, month, year = int(match[1]), _month(match[2]), int(match[3])
    elif match := _MONTH_DAY.fullmatch(text):
        month, day, year = _month(match[1]), int(match[2]), int(match[3])
    elif match := _US_DAY.fullmatch(text):
        month, day, year = map(int, match.groups())
    else:
        return None
    try:
        return Day(date(year, month, day))
    except ValueError:
        return None


def _month(name: str) -> int:
    return next(number for number, month in enumerate(_MONTHS, 1) if month.startswith(name.lower()))


def _clock(text: str) -> Clock | None:
    if match := _CLOCK.fullmatch(text):
        hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
        half = f"{match[4].lower()}m" if match[4] else ""
    elif match := _CLOCK_HOUR.fullmatch(text):
        hour, minute, second, half = int(match[1]), 0, 0, f"{match[2].lower()}m"
    elif (match := _CLOCK_ZH.fullmatch(text)) and "时" not in text.replace("小时", ""):
        half = {"上午": "am", "早上": "am", "下午": "pm", "晚上": "pm"}.get(match[1] or "", "")
        hour, minute, second = int(match[2]), int(match[3] or 0), 0
    else:
        return None
    return Clock(hour, minute, second, half)


def _based(text: str) -> Based | None:
    if match := _BASE_PREFIX.fullmatch(text):
        digits, base = match[2], {"b": 2, "o": 8, "x": 16}[match[1]]
    elif match := _BASE_SUBSCRIPT.fullmatch(text) or _BASE_WORDS.fullmatch(text):
        digits, base = match[1], int(match[2])
    else:
        return None
    highest = max((int(char, 16) for char in digits if char != "."), default=0)
    has_digit = any(char.isdigit() for char in digits) or digits.isupper() or base == 16
    return (
        Based(digits.upper().lstrip("0") or "0", base)
        if 2 <= base <= 36 and highest < base and has_digit
        else None
    )


def _quantity(text: str) -> Quantity | None:
    if number := read_number(text):
        return Quantity(number)
    if re.search(r"[0-9][A-Za-z]{4,}", text):
        return None  # glued to its word it is a name, not a count
    if match := _MONEY.match(text):
        rest = text[match.end() :]
        number = read_number(match[1] + rest)
        unit = parse_unit(match[2].replace("US$", "$"))
        if number is None:  # "$5 dollars", "$5 per hour"
            inner = _quantity(rest)
            if inner is None or inner.unit is None or unit is None or inner.is_percent:
                return None
            return inner if inner.unit.dims == unit.dims else None
        return Quantity(number, unit)
    if match := re.fullmatch(r"(.*?)\s*(?:%|(?i:percent|per cent|percentage)|个百分点)", text):
        number = read_number(match[1])
        return Quantity(number, is_percent=True) if number else None
    if text.startswith("百分之"):
        number = read_number(text[len("百分之") :])
        return Quantity(number, is_percent=True) if number else None
    if (match := _UNIT_TAIL.fullmatch(text)) is None:
        match = re.fullmatch(
            r"([零一二两三四五六七八九十百千万亿]+)([^零一二两三四五六七八九十百千万亿].*)", text
        )
        match = match or re.fullmatch(r"([A-Za-z]+(?:-[a-z]+)?)\s+([A-Za-z ]+)", text)
    if match:
        number, unit = read_number(match[1].strip()), parse_unit(match[2])
        if number is None and (
            cut := re.fullmatch(r"(.*?[0-9}])\s*(\^\\circ.*|[A-Za-z°\u4e00-\u9fff].*)", text)
        ):
            number, unit = read_number(cut[1].strip()), parse_unit(cut[2])
        if number is not None and unit is not None:
            return Quantity(number, unit)
    cut = re.fullmatch(r"(.*?[0-9}])\s*(\^\\circ.*|[A-Za-z\u4e00-\u9fff].*)", text, re.DOTALL)
    if cut and (number := read_number(cut[1])) and (unit := parse_unit(cut[2])):
        return Quantity(number, unit) if len(cut[2]) > 1 or unit.dims else None
    return None


def _matrix(text: str, depth: int) -> Matrix | None:
    match = _MATRIX.fullmatch(text.strip("()[] ") if text.startswith(("(\\begin", "[\\begin")) else text)
    if match is None or match[2].count(r"\begin") or match[1] in ("vmatrix", "Vmatrix"):
        return None
    lines = [line for line in re.split(r"\\\\", match[2].replace(r"\hline", "")) if line.strip()]
    rows = tuple(tuple(parse(cell, depth + 1) for cell in line.split("&")) for line in lines)
    return Matrix(rows) if rows and len({len(row) for row in rows}) == 1 else None


def _union(text: str, depth: int) -> Union | None:
    parts = split_top(text, re.compile(r"\s*\\cup(?![A-Za-z])\s*|(?<=[)\]])\s*(?:U|∪)\s*(?=[(\[])"))
    return Union(tuple(parse(part, depth + 1) for part in parts)) if len(parts) > 1 else None


def _bracketed(text: str, depth: int) -> Value | None:
    if text == r"\emptyset":
        return Group("{}", ())
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
    pieces = split_top(inner, re.compile(r"\s*[,;]\s*"))
    if len(pieces) == 1:
        value = parse(inner, depth + 1)
        if opening == "{" and text.startswith("\\"):
            return value if isinstance(value, Group) and not value.brackets else Group("{}", (value,))
        if opening == "[" or isinstance(value, Words):
            return Group("[]", (value,)) if opening == "[" and closing == "]" else None
        return value if _OPENING[opening] == closing else None
    return Group(opening + closing, tuple(parse(piece, depth + 1) for piece in pieces))


def _closes_at_end(text: str) -> bool:
    """True if the first bracket is closed by the last one. Half-open intervals mix their brackets."""
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
    pieces = [p for part in split_top(text, re.compile(r"\s*[,;]\s*")) for p in split_top(part, _LIST_WORDS)]
    pieces = [re.sub(r"^(?:and|or)\s+", "", piece.strip()) for piece in pieces]
    if len(pieces) < 2 or not all(pieces):
        return None
    values = tuple(parse(piece, depth + 1) for piece in pieces)
    return Group("", values)


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
    return Relation(operators, tuple(parse(part, depth + 1) for part in parts))


def _plus_minus(text: str, depth: int) -> Group | None:
    if text.count(r"\pm") != 1:
        return None
    return Group(
        "",
        (
            parse(text.replace(r"\pm", "+").lstrip("+ "), depth + 1),
            parse(text.replace(r"\pm", "-"), depth + 1),
        ),
    )


def _ratio(text: str, depth: int) -> Ratio | None:
    parts = split_top(text, re.compile(r"\s*:\s*"))
    if not 2 <= len(parts) <= 6:
        return None
    values = tuple(parse(part, depth + 1) for part in parts)
    return Ratio(values) if all(isinstance(value, Quantity | Expression) for value in values) else None


def _measured(text: str) -> Measured | None:
    """Only units of two letters or more: one letter behind an expression is a variable."""
    match = re.fullmatch(r"(.*\S)\s+([A-Za-z]{2,}.*|\^\\circ.*|[\u4e00-\u9fff]+)", text, re.DOTALL)
    if match is None or match[1][-1] in "+-*/=^(":
        return None
    unit, value = parse_unit(match[2]), _expression(match[1])
    return Measured(value, unit) if unit is not None and not unit.noun and value is not None else None


def _expression(text: str) -> Expression | None:
    """Passes only what is mathematics by its words: known commands, known functions, one-letter names."""
    if not text.isascii() or any(name not in _FUNCTIONS for name in _COMMAND.findall(text)):
        return None
    if re.search(r"[?!@#&\"'`~$%]", text.replace("!", "", 1)) or re.search(r"[0-9]\s+[0-9]", text):
        return None
    bare = _PLAIN_FUNCTION.sub(" ", _COMMAND.sub(" ", text)).replace("sqrt", " ")
    for run in re.findall(r"[A-Za-z]+", bare):
        if (len(run) > 2 and run not in ("xyz", "abc", "abcd")) or run.lower() in _SHORT_WORDS:
            return None
    if len(re.findall(r"(?<![A-Za-z])[A-Za-z]\s+(?=[A-Za-z])", bare)) > 2:
        return None
    return Expression(_as_latex(text))


def _as_latex(text: str) -> str:
    text = re.sub(r"(?<!\\)sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = text.replace("**", "^")
    text = re.sub(r"\^\s*\(([^()]*)\)", r"^{\1}", text)
    text = re.sub(r"\^\s*(-?[0-9]+(?:\.[0-9]+)?)", r"^{\1}", text)
    text = _PLAIN_FUNCTION.sub(r"\\\1 ", text)
    text = re.sub(r"\\(frac|sqrt)\s+\{", r"\\\1{", text)
    return text.replace("*", r" \cdot ")
