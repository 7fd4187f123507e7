"""Read numbers that have a unit, a percent sign, a currency or a base."""

from __future__ import annotations

import re
from fractions import Fraction

from rewards.math.numbers import Numeral, read_number
from rewards.math.units import Unit, parse_unit
from rewards.math.values import Based, Quantity

_MONEY = re.compile(r"^([+-]?)\s*(US\$|USD|\$|€|£|¥|₹|₩|RMB|CNY|EUR|GBP)\s*(?=[-+]?[\d.])")
_PER = re.compile(r"(.+?)\s*(?:/|\bper\b|\ban?\b|\beach\b|\bevery\b)\s*([A-Za-z]+)")
_IN_BRACKETS = re.compile(r"\(([^()]{1,60})\)\s*(\^\\circ.*|[A-Za-z\u4e00-\u9fff]{2}.*)")
_BASE_SUBSCRIPT = re.compile(
    r"\(?\s*([0-9A-Fa-f]{1,200}(?:\.[0-9A-Fa-f]+)?)\s*\)?\s*_\s*\{?\s*\(?\s*([0-9]{1,2})\s*\)?\s*\}?"
)
_BASE_WORDS = re.compile(r"([0-9A-Fa-f]{1,200})\s*\(?\s*(?:in )?base[- ]?([0-9]{1,2})\s*\)?")
_BASE_PREFIX = re.compile(r"0([bxo])([0-9A-Fa-f]{1,200})")
BASE_NAMES = {
    name: number
    for number, name in enumerate(
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split(),
        2,
    )
}
_BASE_NAMED = re.compile(
    rf"_\s*\{{?\s*({'|'.join(sorted(BASE_NAMES, key=len, reverse=True))})\s*\}}?\s*$", re.IGNORECASE
)
_COMPOUND_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+|[\u4e00-\u9fff]+)(?:\s*,)?(?:\s+and\b)?\s*")
_SCALED = re.compile(
    r"(.*[0-9}]\s*(?:hundred|thousand|million|billion|trillion|[万亿千百]))\s*(\S.*)", re.DOTALL
)
_UNIT_TAIL = re.compile(r"(.*[0-9}.)])\s*([^0-9\s{}.()].*)", re.DOTALL)


def read_based(text: str) -> Based | None:
    """Read digits with an explicit base (1010_2, 0xFF, 345 base 6); return None if `text` is anything else."""
    text = _BASE_NAMED.sub(lambda m: f"_{{{BASE_NAMES[m[1].lower()]}}}", text)
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


def read_quantity(text: str) -> Quantity | None:
    """Read a number with or without a unit, percent sign or currency; return None if `text` is anything else."""
    if number := read_number(text):
        return Quantity(number)
    if re.search(r"[0-9][A-Za-z]{4,}|[0-9]K$", text):
        return None  # a number joined to a word is a name, not a count; 42K is as often 42 thousand as 42 kelvins
    if match := re.fullmatch(r"每([^0-9]+)([0-9].*)", text):  # 每小时36公里
        text = f"{match[2]}/{match[1]}"
    if (match := re.fullmatch(r"(.*?)\s*(个半)([^半]+)", text)) and (
        number := read_number(match[1])
    ):  # 3个半小时
        unit = parse_unit("个" + match[3]) or parse_unit(match[3])
        half = Numeral(number.value + Fraction(1, 2), "mixed")
        return Quantity(half, unit) if unit is not None and number.value.denominator == 1 else None
    if (match := _IN_BRACKETS.fullmatch(text)) and read_number(match[1]):  # (\frac{3}{2})^\circ
        text = f"{match[1]} {match[2]}"
    if match := _MONEY.match(text):
        rest = text[match.end() :]
        number = read_number(match[1] + rest)
        unit = parse_unit(match[2].replace("US$", "$"))
        if number is None and (rate := _PER.fullmatch(rest)):  # "$5 per hour"
            number, unit = (
                read_number(match[1] + rate[1]),
                parse_unit(f"{match[2].replace('US$', '$')}/{rate[2]}"),
            )
            return Quantity(number, unit) if number is not None and unit is not None else None
        if number is None:  # "$5 dollars"
            inner = read_quantity(rest)
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
        if unit is None and (scaled := _SCALED.fullmatch(text)):  # 5 million dollars, 3.5万元, but 3千克
            number, unit = read_number(scaled[1]), parse_unit(scaled[2])
        if number is None and (
            cut := re.fullmatch(r"(.*?[0-9}])\s*(\^\\circ.*|[A-Za-z°\u4e00-\u9fff].*)", text)
        ):
            number, unit = read_number(cut[1].strip()), parse_unit(cut[2])
        if number is not None and unit is not None:
            return Quantity(number, unit)
    if compound := _compound(text):
        return compound
    cut = re.fullmatch(r"(.*?[0-9}])\s*(\^\\circ.*|[A-Za-z\u4e00-\u9fff].*)", text, re.DOTALL)
    if cut and (number := read_number(cut[1])) and (unit := parse_unit(cut[2])):
        return Quantity(number, unit) if len(cut[2]) > 1 or unit.dims else None
    return None


def _compound(text: str) -> Quantity | None:
    """Read 1 hour 30 minutes or 5 feet 6 inches: two or three parts of one dimension in ever smaller units."""
    if re.search(r"小时|秒|[0-9]\s*时", text):
        text = re.sub(r"分(?!钟)", "分钟", text)  # on its own, 分 is a hundredth of a yuan
    total, units, at = Fraction(0), list[Unit](), 0
    while at < len(text):
        match = _COMPOUND_PART.match(text, at)
        unit = parse_unit(match[2]) if match else None
        if match is None or unit is None or unit.noun or len(unit.dims) != 1 or len(units) == 3:
            return None
        if units and (unit.dims != units[0].dims or unit.factor >= units[-1].factor):
            return None
        total += Fraction(match[1]) * unit.factor
        units.append(unit)
        at = match.end()
    return Quantity(Numeral(total / units[0].factor, "mixed"), units[0]) if len(units) > 1 else None
