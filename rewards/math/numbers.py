"""Read numbers as people write them, exactly: as fractions, not floats, without evaluation, with ASCII digits only.

Examples:
    12  -3.50  1,234,567  1 234  1/2  \\frac{1}{2}  1\\frac{1}{2}  1 1/2  0.\\overline{3}
    6.02 \\times 10^{23}  1e-3  5 million  二十五  三分之一  百分之五
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_MAX_DIGITS = 400
_MAX_EXPONENT = 400
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?: [0-9]{3})+|[0-9]+)"
_DECIMAL = re.compile(rf"([+-]?)\s?(?:({_DIGITS})(?:\.([0-9]*))?|\.([0-9]+))")
_REPEATING = re.compile(r"([+-]?)([0-9]+)\.([0-9]*)\s*\\overline\s*\{\s*([0-9]+)\s*\}")
_CONTINUED = re.compile(
    r"([+-]?)([0-9]+)\.([0-9]{0,20}?)(?:([0-9])\4{2,40}|([0-9]{2,8})\5{1,20})\s*(?:\.\.\.|\\[lc]?dots)"
)
_FRACTION = re.compile(
    r"([+-]?)\s?(?:([0-9]+) ?(?=\\frac)|([0-9]+) (?=[0-9]+ ?/))?"
    r"(?:\\frac\{\s*(-?\s?[0-9.,]+)\s*\}\{\s*(-?\s?[0-9.,]+)\s*\}|([0-9.,]+) ?/ ?(-?[0-9.,]+))"
)
_SCIENTIFIC = re.compile(
    r"([+-]?[0-9]+(?:\.[0-9]+)?)?\s*(?:[*x]|\\times|\\cdot)?\s*10\s*(?:\^|\*\*)\s*(?:\{\s*([+-]?\s?[0-9]{1,6})\s*\}|\(\s*([+-]?[0-9]{1,6})\s*\)|([+-]?[0-9]{1,6}))"
)
_LARGE_MIXED = re.compile(r"(负)?(?:([0-9]{1,8})亿)?(?:([0-9]{1,4})万)?([0-9]{1,4})?")
_E_NOTATION = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)[eE]([+-]?[0-9]{1,6})")
_MAGNITUDE = re.compile(
    r"(.*?[0-9}])\s*(hundred|thousand|million|billion|trillion|万亿|万|亿|千|百)", re.IGNORECASE
)
_FACTORS = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "百": 10**2, "千": 10**3, "万": 10**4, "亿": 10**8, "万亿": 10**12,
}  # fmt: skip
_WORDS = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty".split()
    )
} | {f"{w}ty": n for w, n in zip("thir for fif six seven eigh nine".split(), range(30, 100, 10), strict=True)}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    name: number
    for number, name in enumerate("half third quarter fifth sixth seventh eighth ninth tenth".split(), 2)
} | {"fourth": 4, "twelfth": 12, "hundredth": 100}
_ZH_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_ZH_UNITS = {"十": 10, "百": 100, "千": 1000}


@dataclass(frozen=True)
class Numeral:
    """A number together with the form in which it was written."""

    value: Fraction
    form: str
    """integer, decimal, fraction, mixed or scientific. Equal `form` and `digits` mean the same literal."""
    digits: tuple[int, ...] = ()
    decimals: int = 0
    """Number of digits after the decimal point; 0 unless `form` is decimal."""
    significant: int = 0
    """Number of significant digits; 0 unless `form` is decimal."""


def read_number(text: str) -> Numeral | None:
    """Read all of `text` as a number; return None if it is anything else."""
    text = text.strip()
    if not text or len(text) > _MAX_DIGITS:
        return None
    if text.isascii():
        return (
            _decimal(text)
            or _fraction(text)
            or _scientific(text)
            or _repeating(text)
            or _continued(text)
            or _large(text)
            or _word(text)
            or _word_fraction(text)
        )
    return _large_mixed(text) or _large(text) or _chinese(text)


def read_integer(text: str) -> int | None:
    """Read a plain ASCII integer, the fast path; return None for anything else."""
    body = text[1:] if text[:1] in "+-" else text
    if body.isascii() and body.isdigit() and len(body) <= _MAX_DIGITS:
        return int(text)
    return None


def _decimal(text: str) -> Numeral | None:
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    sign, whole, after, bare = match.groups()
    whole = re.sub("[, ]", "", whole or "0")
    fraction = (after if bare is None else bare) or ""
    value = Fraction(int(whole + fraction), 10 ** len(fraction))
    value = -value if sign == "-" else value
    if not fraction.strip("0"):
        return Numeral(value, "integer")
    return Numeral(value, "decimal", (), len(fraction), len((whole + fraction).lstrip("0")))


def _fraction(text: str) -> Numeral | None:
    match = _FRACTION.fullmatch(text)
    if match is None:
        return None
    sign, *rest = match.groups()
    whole = rest[0] or rest[1]
    top = _decimal((rest[2] or rest[4] or "").replace(" ", ""))
    bottom = _decimal((rest[3] or rest[5] or "").replace(" ", ""))
    if top is None or bottom is None or bottom.value == 0:
        return None
    part = top.value / bottom.value
    if whole is not None:
        if not 0 < part < 1 or top.form != "integer" or bottom.form != "integer":
            return None
        part += int(whole)
    value = -part if sign == "-" else part
    if top.form != "integer" or bottom.form != "integer":
        return Numeral(value, "fraction", (-1,))
    digits = (int(whole or 0), int(top.value), int(bottom.value))
    return Numeral(value, "mixed" if whole is not None else "fraction", digits)


def _scientific(text: str) -> Numeral | None:
    if match := _E_NOTATION.fullmatch(text):
        mantissa, exponent = match.groups()
    elif match := _SCIENTIFIC.fullmatch(text):
        mantissa, exponent = match.group(1) or "1", match.group(2) or match.group(3) or match.group(4)
    else:
        return None
    power = int(exponent.replace(" ", ""))
    if abs(power) > _MAX_EXPONENT:
        return None
    return Numeral(Fraction(mantissa) * Fraction(10) ** power, "scientific")


def _repeating(text: str) -> Numeral | None:
    match = _REPEATING.fullmatch(text)
    if match is None:
        return None
    sign, whole, start, cycle = match.groups()
    scale = 10 ** len(start)
    value = Fraction(int(whole + start), scale) + Fraction(int(cycle), scale * (10 ** len(cycle) - 1))
    return Numeral(-value if sign == "-" else value, "decimal", (-1,))


def _continued(text: str) -> Numeral | None:
    """Read 0.333... and 0.1818\\ldots as repeating decimals.

    A single digit must appear at least three times, a longer period at least twice.
    """
    match = _CONTINUED.fullmatch(text)
    if match is None:
        return None
    sign, whole, start, digit, several = match.groups()
    cycle = digit or several
    return _repeating(f"{sign}{whole}.{start}\\overline{{{cycle}}}")


def _large(text: str) -> Numeral | None:
    match = _MAGNITUDE.fullmatch(text)
    number = read_number(match.group(1)) if match and match.group(1).isascii() else None
    if match is None or number is None:
        return None
    return Numeral(number.value * _FACTORS[match.group(2).lower()], "scientific")


def _large_mixed(text: str) -> Numeral | None:
    """Read ASCII digits between Chinese magnitudes (3亿5000万, 123万4567, 负5).

    At most eight digits may precede 亿; at most four may precede 万 or stand at the end.
    """
    match = _LARGE_MIXED.fullmatch(text)
    if match is None or not any(match.groups()[1:]):
        return None
    sign, *parts = match.groups()
    value = sum(int(part or 0) * factor for part, factor in zip(parts, (10**8, 10**4, 1), strict=True))
    return Numeral(Fraction(-value if sign else value), "integer")


def _word(text: str) -> Numeral | None:
    """Read English numerals below 10^15: forty-two, one hundred and five, two million three thousand."""
    negative = text.startswith("-")
    parts = text.lower().replace("-", " ").split()
    if len(parts) > 1 and parts[0] == "a" and (parts[1] == "hundred" or parts[1] in _SCALES):
        parts[0] = "one"
    if not parts or not all(
        part in _WORDS or part in _SCALES or part in ("hundred", "and") for part in parts
    ):
        return None
    total, last = 0, 10**15
    while parts:
        chunk, used = _below_thousand(parts)
        parts = parts[used:]
        scale = _SCALES.get(parts[0], 1) if parts else 1
        if chunk is None or scale >= last or (chunk == 0 and (total or parts)):
            return None
        total, last = total + chunk * scale, scale
        parts = parts[1:] if scale > 1 else parts
        if parts and scale == 1:
            return None
        parts = parts[1:] if parts[:1] == ["and"] and len(parts) > 1 else parts
    return Numeral(Fraction(-total if negative else total), "integer")


def _word_fraction(text: str) -> Numeral | None:
    """Read English fractions: half, two thirds, three-quarters, two and a half."""
    whole_text, joined, part_text = text.lower().rpartition(" and ")
    whole = _word(whole_text) if joined else Numeral(Fraction(0), "integer")
    count_text, _, name = part_text.replace("-", " ").rpartition(" ")
    top = 1 if count_text in ("", "a", "one") else _WORDS.get(count_text, 0)
    bottom = _PARTS.get(name.removesuffix("s").replace("halve", "half"), 0)
    if whole is None or not 0 < top < bottom or (count_text == "" and (bottom != 2 or joined)):
        return None
    digits = (int(whole.value), top, bottom)
    return Numeral(whole.value + Fraction(top, bottom), "mixed" if joined else "fraction", digits)


def _below_thousand(parts: list[str]) -> tuple[int | None, int]:
    """Return the value of the leading number words and their count; (None, 0) if they are not a number."""
    numbers: list[int] = []
    at, hundreds = 0, 0
    if len(parts) > 1 and parts[1] == "hundred" and 1 <= _WORDS.get(parts[0], 0) <= 99:
        hundreds, at = _WORDS[parts[0]] * 100, 2
        if parts[2:3] == ["and"] and parts[3:4] and parts[3] in _WORDS:
            at = 3
    while at < len(parts) and parts[at] in _WORDS and len(numbers) < 2:
        numbers.append(_WORDS[parts[at]])
        at += 1
    is_pair = len(numbers) == 2 and numbers[0] >= 20 and numbers[0] % 10 == 0 and 1 <= numbers[1] <= 9
    if (len(numbers) == 2 and not is_pair) or (not numbers and not hundreds):
        return None, 0
    return hundreds + sum(numbers), at


def _chinese(text: str) -> Numeral | None:
    """Read Chinese numerals below 10^12, decimals (零点五) and fractions (三分之一, 二又三分之一)."""
    if "又" in text:
        whole_text, _, part_text = text.partition("又")
        whole, part = read_number(whole_text), read_number(part_text) if "分之" in part_text else None
        if (
            whole is None
            or part is None
            or not 0 < part.value < 1
            or whole.value.denominator != 1
            or whole.value < 1
        ):
            return None
        return Numeral(whole.value + part.value, "mixed", (int(whole.value), *part.digits[1:]))
    if text.count("点") == 1:
        whole_text, _, digits = text.partition("点")
        whole_number = _chinese_integer(whole_text.lstrip("负"))
        if whole_number is None or not digits or any(char not in _ZH_DIGITS for char in digits):
            return None
        return _decimal(
            f"{'-' * text.startswith('负')}{whole_number}.{''.join(str(_ZH_DIGITS[c]) for c in digits)}"
        )
    if "分之" in text:
        bottom_text, _, top_text = text.partition("分之")
        bottom, top = read_number(bottom_text), read_number(top_text)
        if bottom_text == "百":
            bottom = Numeral(Fraction(100), "integer")
        if bottom is None or top is None or bottom.value == 0:
            return None
        return Numeral(top.value / bottom.value, "fraction", (0, int(top.value), int(bottom.value)))
    negative = text.startswith("负")
    value = _chinese_integer(text[1:] if negative else text)
    return None if value is None else Numeral(Fraction(-value if negative else value), "integer")


def _chinese_integer(text: str) -> int | None:
    for char, factor in (("亿", 10**8), ("万", 10**4)):
        if char in text:
            high_text, _, low_text = text.partition(char)
            high = _chinese_integer(high_text)
            low = _chinese_integer(low_text.lstrip("零")) if low_text else 0
            return None if high is None or low is None else high * factor + low
    total, digit = 0, None
    for char in text:
        if char in _ZH_DIGITS:
            if digit not in (None, 0):
                return None
            digit = _ZH_DIGITS[char]
        elif char in _ZH_UNITS:
            total += (1 if digit is None and not total else digit or 1) * _ZH_UNITS[char]
            digit = None
        else:
            return None
    return total + (digit or 0) if text else None
