"""Parse units (symbols, English and Chinese names) into a product of base quantities with an exact factor.

    parse_unit("km/h")  ->  Unit(factor=5/18, dims=(("length", 1), ("time", -1)))

Units of the same quantity are compared by their factor (100 cm = 1 m). Each counted thing ("apples", "个") is a base
quantity of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache


@dataclass(frozen=True)
class Unit:
    """A unit: `factor` times the product of the base quantities in `dims`, each raised to its power."""

    factor: Fraction
    dims: tuple[tuple[str, int], ...]
    noun: str = ""
    """The word, if it is a counted thing and not a known unit."""
    also: str = ""
    """Another base quantity that the word can mean, with factor 1: pound as a currency, or 个 in 个苹果."""
    is_plural: bool = False
    """True if the word is a counted thing that looks plural, is a measure word or follows one."""


def _table() -> dict[str, tuple[Fraction, str]]:
    rows: list[tuple[str, str, str]] = [
        ("length", "1", "m meter meters metre metres 米 公尺"),
        ("length", "1000", "km kilometer kilometers kilometre kilometres 千米 公里"),
        ("length", "1/10", "dm decimeter decimeters 分米"),
        ("length", "1/100", "cm centimeter centimeters centimetre centimetres 厘米 公分"),
        ("length", "1/1000", "mm millimeter millimeters millimetre millimetres 毫米"),
        ("length", "1/1000000", "μm micrometer micrometers micron microns 微米"),
        ("length", "1/1000000000", "nm nanometer nanometers 纳米"),
        ("length", "254/10000", "in inch inches 英寸"),
        ("length", "3048/10000", "ft foot feet 英尺"),
        ("length", "9144/10000", "yd yard yards 码"),
        ("length", "1609344/1000", "mi mile miles 英里"),
        ("mass", "1", "g gram grams 克"),
        ("mass", "1000", "kg kilogram kilograms kgs 千克 公斤"),
        ("mass", "1/1000", "mg milligram milligrams 毫克"),
        ("mass", "1000000", "t ton tons tonne tonnes 吨"),
        ("mass", "500", "斤"),
        ("mass", "45359237/100000", "lb lbs pound pounds 磅"),
        ("mass", "45359237/1600000", "oz ounce ounces 盎司"),
        ("time", "1", "s sec secs second seconds 秒 秒钟"),
        ("time", "1/1000", "ms millisecond milliseconds 毫秒"),
        ("time", "60", "min mins minute minutes 分钟"),
        ("time", "3600", "h hr hrs hour hours 小时 个小时"),
        ("time", "86400", "d day days 天 日"),
        ("time", "604800", "week weeks 周 星期 个星期"),
        ("month", "1", "month months 个月"),
        ("month", "12", "yr yrs year years 年"),
        ("volume", "1", "L l liter liters litre litres 升"),
        ("volume", "1/1000", "mL ml milliliter milliliters 毫升"),
        ("volume", "3785411784/1000000000", "gal gallon gallons 加仑"),
        ("dollar", "1", "$ usd dollar dollars buck bucks 美元"),
        ("dollar", "1/100", "cent cents ¢"),
        ("yuan", "1", "¥ cny rmb yuan 元 块 圆 人民币"),
        ("yuan", "1/10", "角 毛"),
        ("yuan", "1/100", "分"),
        ("pound", "1/100", "pence 便士"),
        ("euro", "1", "€ eur euro euros 欧元"),
        ("pound", "1", "£ gbp sterling 英镑"),
        ("rupee", "1", "₹ inr rs rupee rupees 卢比"),
        ("yen", "1", "jpy yen 日元"),
        ("won", "1", "₩ krw won 韩元"),
        ("angle", "1", r"^\circ degree degrees deg 度"),
        ("radian", "1", "rad radian radians 弧度"),
        ("celsius", "1", r"^\circc 摄氏度"),
        ("fahrenheit", "1", r"^\circf 华氏度"),
        ("kelvin", "1", "K kelvin kelvins"),
        ("newton", "1", "N newton newtons 牛 牛顿"),
        ("newton", "1000", "kN kilonewton kilonewtons"),
        ("joule", "1", "J joule joules 焦耳"),
        ("joule", "1000", "kJ kilojoule kilojoules 千焦"),
        ("joule", "1000000", "MJ megajoule megajoules"),
        ("joule", "1/1000", "mJ"),
        ("joule", "3600000", "kWh kilowatt-hour kilowatt-hours 千瓦时"),
        ("watt", "1", "W watt watts 瓦 瓦特"),
        ("watt", "1000", "kW kilowatt kilowatts 千瓦"),
        ("watt", "1000000", "MW megawatt megawatts"),
        ("watt", "1/1000", "mW"),
        ("pascal", "1", "Pa pascal pascals 帕"),
        ("pascal", "1000", "kPa"),
        ("pascal", "1000000", "MPa"),
        ("hertz", "1", "Hz hertz 赫兹"),
        ("hertz", "1000", "kHz"),
        ("hertz", "1000000", "MHz"),
        ("hertz", "1000000000", "GHz"),
        ("volt", "1", "V volt volts 伏 伏特"),
        ("volt", "1000", "kV"),
        ("volt", "1/1000", "mV"),
        ("ampere", "1", "A amp amps ampere amperes 安 安培"),
        ("ampere", "1/1000", "mA"),
        ("coulomb", "1", "C coulomb coulombs 库仑"),
        ("coulomb", "1/1000", "mC"),
        ("coulomb", "1/1000000", "μC"),
        ("coulomb", "1/1000000000", "nC"),
        ("tesla", "1", "T tesla teslas 特斯拉"),
        ("electronvolt", "1", "eV"),
        ("electronvolt", "1000", "keV"),
        ("electronvolt", "1000000", "MeV"),
        ("ohm", "1", "Ω ohm ohms 欧姆 欧"),
        ("ohm", "1000", "kΩ"),
        ("mole", "1", "mol mole moles 摩尔"),
        ("square", "1", "unit units 单位"),
        ("length2", "10000", "hectare hectares ha 公顷"),
        ("length2", "40468564224/10000000", "acre acres 英亩"),
        # On their own these name a point in time (the second month, five o'clock). In km/时 they are ordinary units.
        ("month of the year", "1", "月"),
        ("hour of the day", "1", "时"),
    ]
    return {name: (Fraction(factor), base) for base, factor, names in rows for name in names.split()}


_TABLE = _table()
_DERIVED: dict[str, tuple[int | Fraction, dict[str, int]]] = {
    "length2": (1, {"length": 2}),
    "volume": (Fraction(1, 1000), {"length": 3}),
    "newton": (1000, {"mass": 1, "length": 1, "time": -2}),
    "joule": (1000, {"mass": 1, "length": 2, "time": -2}),
    "watt": (1000, {"mass": 1, "length": 2, "time": -3}),
    "pascal": (1000, {"mass": 1, "length": -1, "time": -2}),
}
"""Quantities that are products of base quantities: their factor (masses are in grams) and powers."""
_PER_ZH = {"月": "个月", "时": "小时"}
CURRENCIES = frozenset("dollar yuan euro pound rupee yen won".split())
COUNT_WORDS_ZH = frozenset(
    "个 只 条 张 本 人 名 位 次 辆 棵 支 件 种 颗 朵 匹 头 岁 倍 道 题 页 组 班 箱 盒 袋 瓶 杯 块 双 对 套".split()
)
_NAMES_ZH = sorted((n for n in _TABLE if not n.isascii() and len(n) > 1 and n != "μm"), key=len, reverse=True)
_LOOSE = {name.lower(): value for name, value in _TABLE.items() if len(name) > 2}
_SHORTHAND = {
    "degrees celsius": r"^\circc",
    "degree celsius": r"^\circc",
    "celsius": r"^\circc",
    "degrees fahrenheit": r"^\circf",
    "degree fahrenheit": r"^\circf",
    "fahrenheit": r"^\circf",
    "pounds sterling": "£",
    "pound sterling": "£",
    "mph": "mi/h",
    "kph": "km/h",
    "kmh": "km/h",
    "year old": "year",
    "years old": "years",
}
_NOT_NOUNS = frozenset(
    """not no or and is are was be wrong incorrect false true right correct maybe perhaps possibly either if else but
    than less more most least about around nearly almost approximately over under above below to of off plus minus times
    divided half quarter dozen hundred thousand million billion trillion percent per squared cubed root base mod
    modulo out
    because since therefore so then which that this these those it he she they we you i in on at by for with without
    only though also however actually wait sorry different exactly yes unless except""".split()
)
_WORDS = re.compile(r"[A-Za-z]{3,20}(?: [A-Za-z]{3,20}){0,3}")
_MEASURED_ZH = re.compile(
    rf"([{''.join(sorted(COUNT_WORDS_ZH))}])((?![左右多半余几以不或错吗吧])[\u4e00-\u9fff]{{1,6}})"
)
_PLURALS = frozenset("people men women children mice geese teeth feet sheep fish deer dice".split())
_NO_PLURALS = frozenset(
    """always besides cents degrees digits decimals does dozens equals factors has halves hundreds millions billions
    nowadays ones pairs percents perhaps places quarters scores sometimes tens tenths thirds hundredths
    thousands this thus tons was its his hers ours theirs whereas remains makes gives means""".split()
)
"""Words that look like plurals but do not name a counted thing, or count something other than themselves."""


def parse_unit(text: str) -> Unit | None:
    """Return the unit that `text` names, or None. A counted thing has `noun` set, so that the caller can judge it."""
    text = text.strip().strip("()").strip().rstrip(".")
    text = re.sub(r"\^\\circ\s*", r"^\\circ", text)
    text = re.sub(r"(?<![A-Za-z])([kM])\s+(?=\\Omega|Ω)", r"\1", text)
    text = re.sub(r"\\mu(?![A-Za-z])\s*", "μ", re.sub(r"\\Omega(?![A-Za-z])\s*|\u2126", "Ω", text))
    if not text or len(text) > 60:
        return None
    known = _known(text)
    if known is not None:
        return known
    if text in COUNT_WORDS_ZH:
        noun = _measure(text)
        return Unit(Fraction(1), ((noun, 1),), noun=noun, is_plural=True)
    if match := _MEASURED_ZH.fullmatch(text):
        return Unit(Fraction(1), ((match[2], 1),), noun=match[2], also=_measure(match[1]), is_plural=True)
    if _WORDS.fullmatch(text) and not _NOT_NOUNS & set(text.lower().split()):
        noun, last = singular(text.lower()), text.lower().split()[-1]
        is_plural = last in _PLURALS or (last != singular(last) and last not in _NO_PLURALS)
        return Unit(Fraction(1), ((noun, 1),), noun=noun, is_plural=is_plural)
    return None


_IN_TEXT = re.compile(
    r"(?i:degrees?\s+(?:celsius|fahrenheit))\b|(?:°|\^?\s*\{?\\circ\}?)\s*(?:\\(?:text|mathrm)\{\s*)?[CF]\b"
    r"|(?:(?:square|cubic|sq\.?|cu\.?)\s+)?(?:[A-Za-zΩ]+|[$€£¥°]|\\circ)"
    r"(?:\s*\^\s*\{?-?[0-9]\}?|\s(?:squared|cubed)\b)?"
)
_LETTERS = re.compile(r"[A-Za-z]*")
_TEMPERATURE = re.compile(r"(?i:degrees?\s+([cf])[a-z]+)|.*(?:°|circ\}?).*([CF])")
_JOINT = re.compile(r"\s*/\s*|\s+(?:per|an?)\s+")
_ALSO_WORDS = frozenset("won second yard foot degree mole ton cent rad hectare".split())
"""Unit names that questions also use in other senses: he won, the second day, on foot."""
_SHORT = frozenset("cm mm km kg mg ft lb lbs oz mL ml mph kN kJ kW kPa Hz kHz MHz km/h m/s g/cm".split())


@dataclass(frozen=True)
class NamedUnit:
    """A unit found in a text, at the characters from `start` up to `end` (exclusive)."""

    unit: Unit
    start: int
    end: int


@lru_cache(maxsize=256)
def units_in(text: str) -> tuple[NamedUnit, ...]:
    """Find the units in a text: names, unambiguous symbols (`_SHORT` and signs such as $), powers and quotients."""
    found: list[NamedUnit] = []
    text = text.replace("²", "^2").replace("³", "^3")
    at = 0
    while match := _IN_TEXT.search(text, at):
        end, at = match.end(), match.end()
        if scale := _TEMPERATURE.fullmatch(match.group()):
            unit = _known(f"^\\circ{(scale[1] or scale[2]).lower()}")
            if unit is not None:
                found.append(NamedUnit(unit, match.start(), end))
            continue
        unit = _known(match.group().lstrip("\\")) or _known("^\\circ" * (match.group() in ("°", "\\circ")))
        if unit is None:  # "square root", or a power of something else: resume after its first word
            at = _LETTERS.match(text, match.start() + 1).end()  # type: ignore[union-attr]
            continue
        is_symbol = not re.fullmatch(r"[A-Za-z]{3,}.*", match.group())
        while (joint := _JOINT.match(text, end)) and (below := _IN_TEXT.match(text, joint.end())):
            quotient = _known(f"{text[match.start() : end]}/{below.group()}")
            if quotient is None:
                break
            unit, end, at, is_symbol = quotient, below.end(), below.end(), False
        simple = match.group().split("^")[0].strip()
        if simple.lower() in _ALSO_WORDS and end == match.end():
            continue
        if (
            is_symbol
            and simple not in _SHORT
            and simple not in "$€£¥°\\circ"
            and not simple.startswith(("sq", "cu"))
        ):
            continue
        found.append(NamedUnit(unit, match.start(), end))
    for match in re.finditer(rf"{'|'.join(_NAMES_ZH)}|(?<=[0-9])[元角分米克升吨天度斤秒年](?!钟)", text):
        if unit := _known(match.group()):
            found.append(NamedUnit(unit, match.start(), match.end()))
    return tuple(found)


def singular(noun: str) -> str:
    """Return a crude singular form, good enough to match `apple` with `apples`."""
    if noun.endswith("ies") and len(noun) > 4:
        return noun[:-3] + "y"
    if noun.endswith(("ches", "shes", "xes", "sses")):
        return noun[:-2]
    return noun[:-1] if noun.endswith("s") and not noun.endswith("ss") else noun


def _measure(word: str) -> str:
    """Map the measure words 名 and 位 to 人, because all three count people; return other words unchanged."""
    return "人" if word in "名位" else word


def _known(text: str) -> Unit | None:
    text = _SHORTHAND.get(text.lower(), text)
    text = re.sub(r"^每(\S+?)(\S+)$", r"\2/\1", text)
    text = re.sub(r"^\\frac\s*\{([^{}]+)\}\s*\{((?:[^{}]|\{[^{}]*\})+)\}$", r"\1/\2", text)
    if bare := re.fullmatch(r"per\s+([A-Za-z]+)", text):  # "26 per day"
        text = f"1/{bare[1]}"
    top, *below = re.split(r"\s*/\s*|\s+(?:per|an?|each|every)\s+|每", text)
    factor, powers = Fraction(1), dict[str, int]()
    for sign, part in [(1, top), *((-1, _PER_ZH.get(part, part)) for part in below)]:
        singles = [] if part == "1" and below and sign == 1 else _product(part)
        if singles is None:
            return None
        for piece_factor, base, power in singles:
            scale, bases = _DERIVED.get(base, (1, {base: 1}))
            factor *= (piece_factor * scale) ** (sign * power)
            for name, exponent in bases.items():
                powers[name] = powers.get(name, 0) + sign * power * exponent
    also = "pound" if text.lower() in ("pound", "pounds") else ""
    return Unit(factor, tuple(sorted((base, power) for base, power in powers.items() if power)), also=also)


def _product(text: str) -> list[tuple[Fraction, str, int]] | None:
    """Parse N·m, kg m and m s^{-2}. Only symbols, not names, are multiplied by juxtaposition."""
    singles: list[tuple[Fraction, str, int]] = []
    for piece in re.split(r"\\cdot|\*", text):
        single = _single(piece.strip())
        if single is not None:
            singles.append(single)
            continue
        symbols = re.split(r"\s+(?!\^|squared|cubed)", piece.strip())
        if len(symbols) < 2 or not all(
            re.match(r"[A-Za-zΩμ]{1,3}(?![A-Za-z])", symbol) for symbol in symbols
        ):
            return None
        parts = [_single(symbol) for symbol in symbols]
        if None in parts:
            return None
        singles += [part for part in parts if part is not None]
    return singles


def _single(text: str) -> tuple[Fraction, str, int] | None:
    """Return (factor, base quantity, power) of a single unit such as cm^2, or None if it is unknown."""
    power = 1
    if match := re.match(r"(?:square|sq\.?)\s+(.*)$|平方(.+)$", text, re.IGNORECASE):
        text, power = match[1] or match[2], 2
    elif match := re.match(r"(?:cubic|cu\.?)\s+(.*)$|立方(.+)$", text, re.IGNORECASE):
        text, power = match[1] or match[2], 3
    elif match := re.fullmatch(r"([cdkm]?m|in|ft|yd|mi)([23])", text):  # cm2
        text, power = match[1], int(match[2])
    elif match := re.match(r"(.*?)\s*(?:\^\s*\{?\s*(-?[1-4])\s*\}?|\s(squared|cubed))$", text):
        text, power = match[1], int(match[2] or {"squared": 2, "cubed": 3}[match[3]])
    found = _TABLE.get(text) or _LOOSE.get(text.lower())
    return (*found, power) if found else None
