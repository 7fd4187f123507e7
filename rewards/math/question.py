"""Determine what a question asks for, above all which unit or counted thing an answer may name.

    "How many girls are in the class of 18 boys?"      girls, not boys
    "… the area, in square centimeters"                 cm², neither m² nor cm
    "What is the average speed?"                        a length over a time

Units are checked this way only if the reference has none, because then only the question shows which one is right.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rewards.math.units import COUNT_WORDS_ZH, CURRENCIES, Unit, parse_unit, singular, units_in

_HOW_MANY = re.compile(r"\bhow many\b", re.IGNORECASE)
_NUMBER_OF = re.compile(
    r"(?:\bfind|\bwhat(?:'s| is| was)|\bcompute|\bcalculate|\bdetermine)\s+the\s+(?:[a-z]+\s+)?number of\b",
    re.IGNORECASE,
)
_STOP = frozenset(
    """are is was were do does did will would can could should must shall may might has have had am be in on at for by
    with from to if when then that who which such there than as so and or the a an his her their its my our your this
    these those he she it they we you i""".split()
)
_SENTENCE_END = re.compile(
    r"(?<=[.?!])(?<!\bMr\.)(?<!\bMrs\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)\s+|(?<=[。？！])"
)
_UNIT_FOLLOWS = re.compile(r"\b(?:in|into|to)\s+$", re.IGNORECASE)
_HOW_MANY_ZH = re.compile(r"(?:多少|(?<!第)几)(?:个)?([\u4e00-\u9fff]{1,6})")
_UNIT_ZH = re.compile(r"单位[:：是为]\s*([^\s)）,，。]{1,8})")
_QUANTITY = re.compile(
    r"(?:what(?:'s|\s+is|\s+was|\s+are|\s+will\s+be)|find|compute|calculate|determine|give)\s+"
    r"(?:the|its|his|her|their|this|that)\s+(?:(?!number|cost|price)[a-z]+\s+){0,3}?"
    r"(area|volume|perimeter|circumference|length|width|height|radius|diameter|distance|depth|speed|velocity"
    r"|acceleration|probability|ratio|slope)s?\b",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"\b(?:which|what)\s+(?!is\b|are\b|was\b|were\b|the\b|will\b|would\b|do\b|does\b|did\b|of\b|fraction|percent|portion|part\b"
    r"|number|value|total)[a-z]+|\b(?:position|place|rank|ranked|ordinal|[a-z0-9]+-th|nth)\b|第几|第多少",
    re.IGNORECASE,
)
"""A question for a place in an order: which term, in what year, what is its rank."""
_RATE = re.compile(
    r"\b(?:per|each|every|an?)\s+([a-z]+)|\b(hourly|daily|weekly|monthly|yearly)\b", re.IGNORECASE
)
_ADVERBS = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}
_DEGREES, _TEMPERATURES = (("angle", 1),), ((("celsius", 1),), (("fahrenheit", 1),))
_VARIABLE = re.compile(
    r"(?:\b[Ff]ind|\b[Cc]ompute|\b[Cc]alculate|\b[Dd]etermine|\b[Ww]hat\s+is|\b[Ss]olve\s+for|\bvalues?\s+of|求)\s*"
    r"(?:(?:the|all)\s+)?(?:(?:possible\s+)?values?\s+of\s+)?\$?([A-Za-z])\$?(?=[\s.,?!;。，]|$)(?!\s*[-+*/^=<>(])"
)
_LENGTH, _SPEED = (("length", 1),), (("length", 1), ("time", -1))
_DIMS: dict[str, tuple[tuple[tuple[str, int], ...], ...]] = {
    "area": ((("length", 2),),),
    "volume": ((("length", 3),),),
    "length": (_LENGTH, (("time", 1),)),
    **dict.fromkeys(
        "perimeter circumference width height radius diameter distance depth".split(), (_LENGTH,)
    ),
    "speed": (_SPEED,),
    "velocity": (_SPEED,),
    "acceleration": ((("length", 1), ("time", -2)),),
    **dict.fromkeys("probability ratio slope".split(), ()),
}
"""The possible dimensions of each quantity; none for a pure number."""
_DOUBTFUL = {
    "kelvin": r"kelvin|temperature|温度",
    "coulomb": r"coulomb|charge|电",
    "tesla": r"tesla|magnetic|磁",
    "month of the year": "月",
    "hour of the day": "[时点]",
}
"""Units with an ambiguous symbol (42K, 20 C), accepted only if the question matches the pattern."""


def may_name(unit: Unit, prompt: str) -> bool:
    """Return True if an answer to `prompt` may have `unit` although the reference is a number without a unit."""
    if not unit.noun and any(base in _DOUBTFUL and not _speaks_of(base, prompt) for base, _ in unit.dims):
        return False
    if unit.noun and not prompt.strip():
        return unit.is_plural  # without a question, nothing else can have been asked for
    things = counted(prompt)
    said = _without_rate(unit, prompt)
    if things:
        is_rate = bool(unit.dims) and all(power < 0 for _, power in unit.dims)
        is_bare = is_rate and any(not one.dims and one.factor == 1 for one in said)  # "26 per day"
        return is_bare or any(_is_counted(one, things) for one in (unit, *said))
    if unit.noun:
        return _mentions(prompt, unit.noun)
    if any(base == "square" for base, _ in unit.dims):
        return True  # "9 square units"
    asked = _QUANTITY.search(asking_sentence(prompt))
    if asked and unit.dims not in _DIMS[asked[1].lower()]:
        return False
    named = requested(prompt)
    if unit.dims == _DEGREES and any(other.dims in _TEMPERATURES for other in named):
        return True  # "7 degrees", where the question is about degrees Celsius
    if asked:  # "a rectangle measured in inches": its area is in square inches
        named = tuple(other for other in named if other.dims == unit.dims)
    if not named:
        named = tuple(found.unit for found in units_in(prompt) if _kind(found.unit) == _kind(unit))
    return not named or any(_same(other, one) for other in named for one in (unit, *said))


def _without_rate(unit: Unit, prompt: str) -> tuple[Unit, ...]:
    """Return the units that say the same beside a question of "per day": dollars per day is dollars, and back."""
    found: list[Unit] = []
    for match in _RATE.finditer(asking_sentence(prompt)):
        below = parse_unit(match[1] or _ADVERBS[match[2].lower()])
        if below is None:
            continue
        for sign in (1, -1):
            powers = dict(unit.dims)
            for base, power in below.dims:
                powers[base] = powers.get(base, 0) + sign * power
            dims = tuple(sorted((base, power) for base, power in powers.items() if power))
            found.append(Unit(unit.factor * below.factor**sign, dims, noun=unit.noun if not dims else ""))
    return tuple(found)


def asks_for_place(prompt: str, noun: str = "") -> bool:
    """Return True if an answer may be an ordinal number, because the question asks for a place in an order.

    Args:
        prompt: the question; without it no answer may.
        noun: what the answer counts ("6th term"); it must be in the question.
    """
    question = asking_sentence(prompt)
    return (
        not counted(prompt) and _PLACE.search(question) is not None and (not noun or noun in prompt.lower())
    )


def asks_for(expression: str, prompt: str) -> bool:
    """Return True if the question asks for the value of `expression`: "Find m + n." asks for m+n."""
    wanted = re.sub(r"[\s{}$\\]", "", expression)
    if not wanted or len(wanted) > 60:
        return False
    spaced = r"[\s{}$\\]*".join(map(re.escape, wanted))
    lead = r"(?:find|compute|calculate|determine|evaluate|what\s+is|value\s+of|求|计算)[^.?!。？]{0,60}?"
    return (
        re.search(rf"{lead}(?<![A-Za-z0-9^_*+/-]){spaced}(?![A-Za-z0-9^_])", prompt, re.IGNORECASE)
        is not None
    )


def asks_for_another(name: str, prompt: str) -> bool:
    """Return True if the question mentions `name` but asks for another variable: "a = 7" where b is asked for."""
    wanted = set(_VARIABLE.findall(prompt))
    is_in_question = re.search(rf"(?<![A-Za-z\\]){re.escape(name)}(?![A-Za-z])", prompt) is not None
    return bool(wanted) and name not in wanted and is_in_question


@lru_cache(maxsize=256)
def counted(prompt: str) -> tuple[str, ...]:
    """Return the lower-case noun phrases after "how many" or "the number of"; empty if no count is asked for."""
    prompt = asking_sentence(prompt)
    found = [_phrase(prompt[m.end() :]) for m in _HOW_MANY.finditer(prompt)]
    if not any(found):
        found = [_phrase(prompt[m.end() :]) for m in list(_NUMBER_OF.finditer(prompt))[-1:]]
    found += [m[1] for m in _HOW_MANY_ZH.finditer(prompt) if m[1][0] != "钱"]
    return tuple(phrase for phrase in found if phrase)


@lru_cache(maxsize=256)
def requested(prompt: str) -> tuple[Unit, ...]:
    """Return the units in which the question asks for the answer: "in square feet", "to hours", 单位：米."""
    named = [
        found.unit
        for found in units_in(prompt)
        if _UNIT_FOLLOWS.search(prompt[max(0, found.start - 12) : found.start])
    ]
    named += [unit for m in _UNIT_ZH.finditer(prompt) if (unit := parse_unit(m[1])) and not unit.noun]
    return tuple(named)


def asking_sentence(prompt: str) -> str:
    """Return the last sentence with a question mark, or the whole prompt if there is none."""
    asking = [sentence for sentence in _SENTENCE_END.split(prompt) if re.search(r"[?？]", sentence)]
    return asking[-1] if asking else prompt


def _phrase(text: str) -> str:
    words: list[str] = []
    text = re.sub(
        r"^\s*(?:more\s+|fewer\s+|other\s+)?of\s+(?:the|his|her|their|its|these|those|them)\b",
        "",
        text,
        flags=re.I,
    )
    for match in re.finditer(r"\s*([A-Za-z][A-Za-z'/^0-9-]*|\$?\\?[^\sA-Za-z])", text[:120]):
        word = match[1].lower()
        if word in _STOP or not word[0].isalpha() or len(words) == 6:
            break
        words.append(word)
    return " ".join(words)


def _is_counted(unit: Unit, things: tuple[str, ...]) -> bool:
    for thing in things:
        if not thing.isascii():
            if unit.noun and (
                unit.noun == "个"
                or thing.startswith(unit.noun)
                or ((unit.noun == "人" or unit.also) and unit.noun in thing)
            ):
                return True
            if _same(_unit_at_front(thing), unit):
                return True
        elif unit.noun and unit.noun.isascii():
            words = {singular(word) for word in re.findall(r"[a-z]+", thing)}
            if all(singular(part) in words for part in unit.noun.split()):
                return True
        elif unit.noun or any(_same(found.unit, unit) for found in units_in(thing)):
            return True
    return False


def _unit_at_front(text: str) -> Unit | None:
    return next(
        (unit for end in range(len(text), 0, -1) if (unit := parse_unit(text[:end])) and not unit.noun), None
    )


def _speaks_of(base: str, prompt: str) -> bool:
    return re.search(_DOUBTFUL[base], prompt, re.IGNORECASE) is not None


def _same(a: Unit | None, b: Unit) -> bool:
    return a is not None and (a.factor, a.dims) == (b.factor, b.dims)


def _kind(unit: Unit) -> object:
    """Return what a unit measures: "money" for every currency, else its dimensions."""
    is_money = len(unit.dims) == 1 and unit.dims[0][0] in CURRENCIES
    return "money" if is_money else unit.dims


def _mentions(prompt: str, noun: str) -> bool:
    """Return True if the question mentions the counted thing: "5 apples" answers "what number of apples".

    A Chinese measure word needs no mention.
    """
    if not noun.isascii():
        return noun in COUNT_WORDS_ZH or noun in prompt
    words = {singular(word) for word in re.findall(r"[a-z]+", prompt.lower())}
    return all(singular(part) in words for part in noun.split())
