"""Units: names in English, symbols and Chinese, as a product of base quantities with an exact factor.

    unit("km/h")  ->  Unit(factor=5/18, dims=(("length", 1), ("time", -1)))

Units of the same quantity compare by their factor (100 cm = 1 m). A counted thing ("apples", "个") is a quantity of
its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache


@dataclass(frozen=True)
class Unit:
    """`factor` × the product of base quantities to their powers."""

    factor: Fraction
    dims: tuple[tuple[str, int], ...]
    noun: str = ""
    """The word, if it is no known unit but a counted thing."""
    also: str = ""
    """Another base quantity that the word names, with factor 1: pounds weigh and pay."""


def _table() -> dict[str, tuple[Fraction, str]]:
    rows: list[tuple[str, str, str]] = [
        ("length", "1", "m meter meters metre metres 米 公尺"),
        ("length", "1000", "km kilometer kilometers kilometre kilometres 千米 公里"),
        ("length", "1/10", "dm decimeter decimeters 分米"),
        ("length", "1/100", "cm centimeter centimeters centimetre centimetres 厘米 公分"),
        ("length", "1/1000", "mm millimeter millimeters millimetre millimetres 毫米"),
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
        ("time", "3600", "h hr hrs hour hours 小时 个小时 时"),
        ("time", "86400", "d day days 天 日"),
        ("time", "604800", "week weeks 周 星期 个星期"),
        ("month", "1", "month months 月 个月"),
        ("month", "12", "yr yrs year years 年"),
        ("volume", "1", "L l liter liters litre litres 升"),
        ("volume", "1/1000", "mL ml milliliter milliliters 毫升"),
        ("volume", "3785411784/1000000000", "gal gallon gallons 加仑"),
        ("dollar", "1", "$ usd dollar dollars buck bucks 美元"),
        ("dollar", "1/100", "cent cents ¢"),
        ("yuan", "1", "¥ cny rmb yuan 元 块 圆 人民币"),
        ("yuan", "1/10", "角 毛"),
        ("yuan", "1/100", "分"),
        ("euro", "1", "€ eur euro euros 欧元"),
        ("pound", "1", "£ gbp 英镑"),
        ("rupee", "1", "₹ inr rs rupee rupees 卢比"),
        ("yen", "1", "jpy yen 日元"),
        ("won", "1", "₩ krw won 韩元"),
        ("angle", "1", r"^\circ degree degrees deg 度"),
        ("radian", "1", "rad radian radians 弧度"),
        ("celsius", "1", r"^\circc 摄氏度"),
        ("fahrenheit", "1", r"^\circf 华氏度"),
        ("kelvin", "1", "K kelvin kelvins"),
        ("newton", "1", "N newton newtons 牛 牛顿"),
        ("joule", "1", "J joule joules 焦耳"),
        ("joule", "1000", "kJ kilojoule kilojoules 千焦"),
        ("watt", "1", "W watt watts 瓦 瓦特"),
        ("watt", "1000", "kW kilowatt kilowatts 千瓦"),
        ("pascal", "1", "Pa pascal pascals 帕"),
        ("hertz", "1", "Hz hertz 赫兹"),
        ("volt", "1", "V volt volts 伏 伏特"),
        ("ampere", "1", "A amp amps ampere amperes 安 安培"),
        ("ohm", "1", "ohm ohms 欧姆"),
        ("mole", "1", "mol mole moles 摩尔"),
        ("square", "1", "unit units 单位"),
        ("length2", "1", "平方米"),
        ("length2", "1/10000", "平方厘米"),
        ("length2", "1000000", "平方千米 平方公里"),
        ("length2", "10000", "hectare hectares ha 公顷"),
        ("length2", "40468564224/10000000", "acre acres 英亩"),
        ("length3", "1", "立方米"),
        ("length3", "1/1000000", "立方厘米"),
        ("length3", "1/1000", "立方分米"),
    ]
    return {name: (Fraction(factor), base) for base, factor, names in rows for name in names.split()}


_TABLE = _table()
CURRENCIES = frozenset("dollar yuan euro pound rupee yen won".split())
_COUNT_WORDS_ZH = frozenset(
    "个 只 条 张 本 人 名 位 次 辆 棵 支 件 种 颗 朵 匹 头 岁 倍 道 题 页 组 班 箱 盒 袋 瓶 杯 块 双 对 套".split()
)
_LOOSE = {name.lower(): value for name, value in _TABLE.items() if len(name) > 2}
_SHORTHAND = {
    "degrees celsius": r"^\circc",
    "degree celsius": r"^\circc",
    "celsius": r"^\circc",
    "degrees fahrenheit": r"^\circf",
    "degree fahrenheit": r"^\circf",
    "fahrenheit": r"^\circf",
    "mph": "mi/h",
    "kph": "km/h",
    "kmh": "km/h",
    "m/s²": "m/s^2",
}
_NOT_NOUNS = frozenset(
    """not no or and is are was be wrong incorrect false true right correct maybe perhaps possibly either if else but
    than less more most least about around nearly almost approximately over under above below to of off plus minus times
    divided half quarter dozen hundred thousand million billion trillion percent per squared cubed root base mod
    modulo out
    because since therefore so then which that this these those it he she they we you i in on at by for with without
    only though also however actually wait sorry different exactly yes unless except""".split()
)
_WORDS = re.compile(r"[A-Za-z]{3,20}(?: [A-Za-z]{3,20})?")


def parse_unit(text: str) -> Unit | None:
    """The unit that `text` names, or None. Counted things come back with `noun` set, for the caller to judge."""
    text = text.strip().strip("()").strip().rstrip(".")
    text = re.sub(r"\^\\circ\s*", r"^\\circ", text)
    if not text or len(text) > 60:
        return None
    known = _known(text)
    if known is not None:
        return known
    if text in _COUNT_WORDS_ZH:
        noun = "人" if text in "名位" else text
        return Unit(Fraction(1), ((noun, 1),), noun=noun)
    if _WORDS.fullmatch(text) and not _NOT_NOUNS & set(text.lower().split()):
        noun = singular(text.lower())
        return Unit(Fraction(1), ((noun, 1),), noun=noun)
    return None


_IN_TEXT = re.compile(r"[A-Za-z]+|[$€£¥°]|\\circ|[\u4e00-\u9fff]")
_ALSO_WORDS = frozenset("won second yard foot degree mole ton cent rad hectare".split())
"""That a question holds without speaking of a unit: he won, the second day, on foot."""
_SHORT = frozenset("cm mm km kg mg ft lb lbs oz mL ml mph".split())


@lru_cache(maxsize=256)
def units_in(text: str) -> tuple[Unit, ...]:
    """Simple units that a text names, by words and by symbols of two letters or more that are no words."""
    words = dict.fromkeys(_IN_TEXT.findall(text))
    names = [w for w in words if (len(w) > 2 and w.lower() not in _ALSO_WORDS) or w in _SHORT or w in "$€£¥"]
    names += ["^\\circ"] * ("°" in words or "\\circ" in words)
    names += [name for name in _TABLE if not name.isascii() and len(name) > 1 and name in text]
    found = (_single(name) for name in names)
    return tuple(Unit(factor, ((base, power),)) for factor, base, power in filter(None, found))


def singular(noun: str) -> str:
    """Crude: enough to let `apple` meet `apples`."""
    if noun.endswith("ies") and len(noun) > 4:
        return noun[:-3] + "y"
    if noun.endswith(("ches", "shes", "xes", "sses")):
        return noun[:-2]
    return noun[:-1] if noun.endswith("s") and not noun.endswith("ss") else noun


def _known(text: str) -> Unit | None:
    text = _SHORTHAND.get(text.lower(), text)
    text = re.sub(r"^每(\S+?)(\S+)$", r"\2/\1", text)
    top, *below = re.split(r"\s*/\s*|\s+per\s+|每", text)
    factor, dims = Fraction(1), dict[str, int]()
    for sign, part in [(1, top), *((-1, part) for part in below)]:
        for piece in re.split(r"\\cdot|\*", part):
            single = _single(piece.strip())
            if single is None:
                return None
            piece_factor, base, power = single
            factor *= piece_factor ** (sign * power)
            if base.startswith("length") and base != "length":
                base, power = "length", int(base[-1])
            dims[base] = dims.get(base, 0) + sign * power
    also = "pound" if text.lower() in ("pound", "pounds") else ""
    return Unit(factor, tuple(sorted((base, power) for base, power in dims.items() if power)), also=also)


def _single(text: str) -> tuple[Fraction, str, int] | None:
    """(factor, base quantity, power) of a unit without a quotient."""
    power = 1
    if match := re.match(r"(?:square|sq\.?)\s+(.*)$", text, re.IGNORECASE):
        text, power = match.group(1), 2
    elif match := re.match(r"(?:cubic|cu\.?)\s+(.*)$", text, re.IGNORECASE):
        text, power = match.group(1), 3
    elif match := re.match(r"(.*?)\s*(?:\^\s*\{?\s*([23])\s*\}?|\s(squared|cubed))$", text):
        text, power = match.group(1), int(match.group(2) or {"squared": 2, "cubed": 3}[match.group(3)])
    found = _TABLE.get(text) or _LOOSE.get(text.lower())
    return (*found, power) if found else None
