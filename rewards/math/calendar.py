"""Read times of day and calendar dates in English, Chinese and ISO notation."""

from __future__ import annotations

import re
from datetime import date

from rewards.math.numbers import read_number
from rewards.math.values import Clock, Day, Weekday

_HALF_ZH = {"上午": "am", "早上": "am", "凌晨": "am", "下午": "pm", "晚上": "pm", "傍晚": "pm"}
_CLOCK = re.compile(
    rf"({'|'.join(_HALF_ZH)})?\s*([0-9]{{1,2}}):([0-5][0-9])(?::([0-5][0-9]))?\s*([AaPp])?(?(5)\.?\s?[Mm]\.?)"
)
_CLOCK_HOUR = re.compile(r"([0-9]{1,2})\s*(?:o'clock|(?:o'clock\s*)?([AaPp])\.?\s?[Mm]\.?)")
_CLOCK_ZH = re.compile(rf"({'|'.join(_HALF_ZH)})?\s*([0-9]{{1,2}})\s*[点时]\s*(?:([0-9]{{1,2}})\s*分?)?")
_NUMERAL_ZH = "[零一二两三四五六七八九十]{1,3}"
_CLOCK_SPELLED = re.compile(rf"({'|'.join(_HALF_ZH)})?({_NUMERAL_ZH})点(?:({_NUMERAL_ZH})分|(半|整|钟))?")
"""Matches 三点十四分 (3:14). 三点一四 is the decimal 3.14 and must not match."""
_NAMED = {"noon": Clock(12, 0, 0, "pm"), "midday": Clock(12, 0, 0, "pm"), "midnight": Clock(12, 0, 0, "am")}
_ISO_DAY = re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})")
_US_DAY = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})")
_NUMBER_ZH = "[0-9]{1,2}|[一二三四五六七八九十]{1,3}"
_ZH_DAY = re.compile(
    rf"(?:([0-9]{{4}}|[零〇一二三四五六七八九]{{4}})\s*年\s*)?({_NUMBER_ZH})\s*月(?:份)?\s*({_NUMBER_ZH})\s*[日号]"
)
_DIGITS_ZH = {char: digit for digit, char in enumerate("零一二三四五六七八九")} | {"〇": 0}
_WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_SHORT_DAYS = {"Tues": 1, "Thur": 3, "Thurs": 3} | {
    name[:3].capitalize(): n for n, name in enumerate(_WEEKDAYS)
}
_WEEKDAY_ZH = re.compile(r"(?:星期|周|礼拜|週)([一二三四五六日天])")
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = "|".join(f"{m}|{m[:3]}" for m in _MONTHS)
_DAY_MONTH = re.compile(
    rf"(?:the\s+)?([0-9]{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?({_MONTH})\.?(?:,?\s+([0-9]{{4}}))?",
    re.IGNORECASE,
)
_MONTH_DAY = re.compile(
    rf"({_MONTH})\.?\s+(?:the\s+)?([0-9]{{1,2}})(?:st|nd|rd|th)?(?:,?\s+([0-9]{{4}}))?", re.IGNORECASE
)
_LEAP_YEAR = 2000


def read_day(text: str) -> Day | None:
    """Read all of `text` as a date, with or without a year; return None if it is anything else."""
    if match := _ISO_DAY.fullmatch(text):
        year, month, day = match[1], int(match[2]), int(match[3])
    elif match := _ZH_DAY.fullmatch(text):
        month, day = (_small_zh(part) for part in match.groups()[1:])
        year = match[1] and "".join(str(_DIGITS_ZH.get(char, char)) for char in match[1])
    elif match := _DAY_MONTH.fullmatch(text):
        day, month, year = int(match[1]), _month(match[2]), match[3]
    elif match := _MONTH_DAY.fullmatch(text):
        month, day, year = _month(match[1]), int(match[2]), match[3]
    elif match := _US_DAY.fullmatch(text):
        month, day, year = int(match[1]), int(match[2]), match[3]
    else:
        return None
    try:
        date(int(year or _LEAP_YEAR), month, day)
    except ValueError:
        return None
    return Day(int(year) if year else None, month, day)


def read_weekday(text: str) -> Weekday | None:
    """Read all of `text` as a day of the week in English or Chinese; return None if it is anything else."""
    if match := _WEEKDAY_ZH.fullmatch(text):
        return Weekday("一二三四五六日".index(match[1].replace("天", "日")), False)
    if text.lower() in _WEEKDAYS:
        return Weekday(_WEEKDAYS.index(text.lower()), False)
    name = text.removesuffix(".")
    return Weekday(_SHORT_DAYS[name], name == text) if name in _SHORT_DAYS else None


def _small_zh(text: str) -> int:
    """Return the value of one or two digits or of a Chinese numeral; 0, which is no day and no month, if it is none."""
    number = read_number(text)
    return 0 if number is None else int(number.value)


def _month(name: str) -> int:
    return next(number for number, month in enumerate(_MONTHS, 1) if month.startswith(name.lower()))


def read_clock(text: str) -> Clock | None:
    """Read all of `text` as a time of day; return None if it is anything else."""
    if match := _CLOCK.fullmatch(text):
        hour, minute, second = int(match[2]), int(match[3]), int(match[4] or 0)
        half = f"{match[5].lower()}m" if match[5] else _HALF_ZH.get(match[1] or "", "")
    elif match := _CLOCK_HOUR.fullmatch(text):
        hour, minute, second, half = int(match[1]), 0, 0, f"{match[2].lower()}m" if match[2] else ""
    elif match := _CLOCK_SPELLED.fullmatch(text):
        half = _HALF_ZH.get(match[1] or "", "")
        numbers = [0 if part is None else read_number(part) for part in (match[2], match[3])]
        if None in numbers or not (match[1] or match[3] or match[4]):
            return None
        hour, minute = (int(getattr(number, "value", number)) for number in numbers)  # type: ignore[arg-type]
        second, minute = 0, {"半": 30}.get(match[4] or "", minute)
        if hour > 24 or minute > 59:
            return None
    elif (match := _CLOCK_ZH.fullmatch(text)) and "时" not in text.replace("小时", ""):
        half = _HALF_ZH.get(match[1] or "", "")
        hour, minute, second = int(match[2]), int(match[3] or 0), 0
    else:
        return _NAMED.get(text.lower().removeprefix("12 "))
    return Clock(hour, minute, second, half)
