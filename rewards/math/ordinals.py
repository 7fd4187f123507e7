"""Read ordinal numbers: 6th, 32^{nd}, the twenty-first term, 第五名."""

from __future__ import annotations

import re

from rewards.math.numbers import read_number
from rewards.math.values import Ordinal

_ORDINAL = re.compile(
    r"(?:the\s+)?([0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,12})\s?(?:\^\s*)?\{?\s*(st|nd|rd|th)\s*\}?(?:\s+([A-Za-z]{3,20}))?",
    re.IGNORECASE,
)
_SPELLED = re.compile(r"(?:the\s+)?(?:([a-z]+ty)[- ])?([a-z]+)(?:\s+([a-z]{3,20}))?", re.IGNORECASE)
_ZH = re.compile(r"第\s*([0-9]{1,12}|[零一二三四五六七八九十百千万]{1,12})\s*([\u4e00-\u9fff]{0,3})")
_ONES = {
    name: number
    for number, name in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
        "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth".split(),
        1,
    )
}
_TENS = {
    name: number
    for number, name in zip(range(20, 100, 10), "twen thir for fif six seven eigh nine".split(), strict=True)
}


def read_ordinal(text: str) -> Ordinal | None:
    """Read all of `text` as an ordinal number, with the noun that it counts if there is one; else return None."""
    if match := _ORDINAL.fullmatch(text):
        number = int(match[1].replace(",", ""))
        return Ordinal(number, (match[3] or "").lower()) if match[2].lower() == suffix(number) else None
    if match := _ZH.fullmatch(text):
        numeral = read_number(match[1])
        return Ordinal(int(numeral.value), match[2]) if numeral is not None else None
    match = _SPELLED.fullmatch(text)
    if match is None:
        return None
    tens, name, noun = (match[1] or "").lower(), match[2].lower(), (match[3] or "").lower()
    if not tens and name.endswith("tieth") and name.removesuffix("tieth") in _TENS:
        return Ordinal(_TENS[name.removesuffix("tieth")], noun)
    number = _ONES.get(name, 0) + (_TENS.get(tens.removesuffix("ty"), 100) if tens else 0)
    is_number = name in _ONES and (not tens or (_ONES[name] < 10 and number < 100))
    return Ordinal(number, noun) if is_number else None


def suffix(number: int) -> str:
    """Return st, nd, rd or th, as English writes it behind the digits."""
    return "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
