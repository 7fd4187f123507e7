"""Builds cases for benchmarks/math_agreement.py whose label follows from their construction, never from a parser.

A value (a Fraction, an interval, a set, a polynomial …) is written down twice, in two notations and wordings: the
same value is right, another value is wrong. Nothing of the package under test is used here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction


@dataclass(frozen=True)
class Case:
    """A reference with an `answer`, the text inside <answer>…</answer>, labelled right or wrong."""

    family: str
    reference: str
    answer: str
    right: bool
    prompt: str = ""


Notation = Callable[[Fraction], str | None]
"""Function that writes a value as text, or returns None where it cannot."""


# numbers ------------------------------------------------------------------------------------------------------------


def plain(v: Fraction) -> str | None:
    return str(v.numerator) if v.denominator == 1 else None


def slash(v: Fraction) -> str | None:
    return f"{v.numerator}/{v.denominator}" if v.denominator != 1 else None


def latex_fraction(command: str, outer_sign: bool = True) -> Notation:
    def write(v: Fraction) -> str | None:
        if v.denominator == 1:
            return None
        sign = "-" if v < 0 and outer_sign else ""
        top = abs(v.numerator) if outer_sign else v.numerator
        return f"{sign}\\{command}{{{top}}}{{{v.denominator}}}"

    return write


def short_frac(v: Fraction) -> str | None:
    if v.denominator == 1 or not (0 < v.numerator < 10 and v.denominator < 10):
        return None
    return f"\\frac{v.numerator}{v.denominator}"


def decimal(v: Fraction) -> str | None:
    d = v.denominator
    for p in (2, 5):
        while d % p == 0:
            d //= p
    if d != 1:
        return None
    places = 0
    while (v * 10**places).denominator != 1:
        places += 1
    if places > 5:
        return None
    digits = f"{abs(v.numerator * 10**places // v.denominator):0{places + 1}d}"
    body = f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return ("-" if v < 0 else "") + body


def padded_decimal(v: Fraction) -> str | None:
    text = decimal(v)
    return None if text is None else f"{text}0" if "." in text else f"{text}.00"


def bare_decimal(v: Fraction) -> str | None:
    text = decimal(v)
    return text.replace("0.", ".", 1) if text and text.lstrip("-").startswith("0.") else None


def thousands(separator: str) -> Notation:
    def write(v: Fraction) -> str | None:
        if v.denominator != 1 or abs(v) < 1000:
            return None
        return f"{v.numerator:,}".replace(",", separator)

    return write


def percent(sign: str) -> Notation:
    def write(v: Fraction) -> str | None:
        text = decimal(v * 100)
        return None if text is None else f"{text}{sign}"

    return write


def mixed(template: str) -> Notation:
    def write(v: Fraction) -> str | None:
        whole, rest = divmod(abs(v.numerator), v.denominator)
        if v.denominator == 1 or not whole:
            return None
        return ("-" if v < 0 else "") + template.format(whole=whole, top=rest, bottom=v.denominator)

    return write


def unreduced(factor: int) -> Notation:
    def write(v: Fraction) -> str | None:
        return f"\\frac{{{v.numerator * factor}}}{{{v.denominator * factor}}}"

    return write


def scientific(template: str) -> Notation:
    def write(v: Fraction) -> str | None:
        if v.denominator != 1 or v == 0 or v % 1000:
            return None
        body = str(abs(v.numerator)).rstrip("0")
        power = len(str(abs(v.numerator))) - 1
        mantissa = body[0] + ("." + body[1:] if len(body) > 1 else "")
        return ("-" if v < 0 else "") + template.format(m=mantissa, e=power)

    return write


def unicode_minus(v: Fraction) -> str | None:
    text = decimal(v)
    return text.replace("-", "−") if text and v < 0 else None


def full_width(v: Fraction) -> str | None:
    text = plain(v)
    return "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in text) if text and v >= 0 else None


def power_of_two(v: Fraction) -> str | None:
    if v.denominator != 1 or v < 4 or v.numerator & (v.numerator - 1):
        return None
    return f"2^{{{v.numerator.bit_length() - 1}}}"


def repeating(v: Fraction) -> str | None:
    if v.denominator not in (3, 9, 11) or v < 0:
        return None
    cycle = 2 if v.denominator == 11 else 1
    digits = (v % 1) * (10**cycle - 1)
    return f"{v.numerator // v.denominator}.\\overline{{{digits.numerator:0{cycle}d}}}"


def chinese(v: Fraction) -> str | None:
    if v.denominator != 1 or not 0 <= v < 10000:
        return None
    digits, units, n = "零一二三四五六七八九", ["", "十", "百", "千"], v.numerator
    if n < 10:
        return digits[n]
    text, gap = "", False
    for place in range(len(str(n)) - 1, -1, -1):
        d = n // 10**place % 10
        if d:
            text += ("零" if gap and text else "") + digits[d] + units[place]
            gap = False
        else:
            gap = True
    return text.replace("一十", "十", 1) if text.startswith("一十") else text


_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def english(v: Fraction) -> str | None:
    if v.denominator != 1 or not 0 <= v < 100:
        return None
    n = v.numerator
    if n < 20:
        return _ONES[n]
    return _TENS[n // 10 - 2] + (f"-{_ONES[n % 10]}" if n % 10 else "")


FRAC = latex_fraction("frac")
EXACT: dict[str, Notation] = {
    "integer": plain, "slash": slash, "frac": latex_fraction("frac"), "dfrac": latex_fraction("dfrac"),
    "tfrac": latex_fraction("tfrac"), "sign inside": latex_fraction("frac", outer_sign=False), "frac12": short_frac,
    "decimal": decimal, "trailing zeros": padded_decimal, "leading point": bare_decimal, "1,234": thousands(","),
    "1{,}234": thousands("{,}"), "1\\,234": thousands("\\,"), "1 234": thousands(" "), "1\\ 234": thousands("\\ "),
    "mixed": mixed("{whole} {top}/{bottom}"), "mixed latex": mixed("{whole}\\frac{{{top}}}{{{bottom}}}"),
    "mixed spaced": mixed("{whole} \\tfrac{{{top}}}{{{bottom}}}"), "unreduced": unreduced(3),
    "times 10^": scientific("{m} \\times 10^{{{e}}}"), "cdot 10^": scientific("{m} \\cdot 10^{{{e}}}"),
    "1e3": scientific("{m}e{e}"), "unicode minus": unicode_minus, "full width": full_width,
    "power": power_of_two, "repeating": repeating, "chinese": chinese, "english": english,
}  # fmt: skip
PERCENT: dict[str, Notation] = {"%": percent("%"), "\\%": percent("\\%"), " percent": percent(" percent"),
                                " \\%": percent(" \\%")}  # fmt: skip

WORDINGS: Sequence[str] = (
    "{}", " {} ", "${}$", "$ {} $", "$${}$$", r"\({}\)", r"\[{}\]", "{}.", "${}$.", "**{}**", r"\boxed{{{}}}",
    r"\boxed {{{}}}", r"\boxed{{ {} }}", r"$\boxed{{{}}}$", "The answer is {}.", "The answer is ${}$.", "Answer: {}",
    "= {}", "x = {}", "$x={}$", "The final answer is: ${}$", "**Answer:** {}", "答案是{}", "答案：{}", "\n{}\n",
    "Therefore, the answer is ${}$.", "So the answer is {}", "Final answer: **{}**", "答：{}。", "it is {}",
    r"\mathbf{{{}}}", r"\displaystyle {}", r"\left({}\right)", "({})",
)  # fmt: skip
HEDGES: Sequence[str] = (
    "{0} or {1}", "{1} or {0}", "either {0} or {1}", "{0}, {1}", "{0} and {1}", "{0} / {1} / 7", "{0} (or {1})",
    "not {0}", "It is not {0}", "anything but {0}", "never {0}", r"\neq {0}", "≠ {0}", "{0}?", "maybe {0}",
    "perhaps {0}", "probably {0}", "possibly {0}", "I think {0}", "I guess {0}", "{0}, I guess", "about {0}",
    "around {0}", "roughly {0}", "approximately {0}", "at least {0}", "at most {0}", "more than {0}",
    "less than {0}", "{0} or more", "{0} or less", "up to {0}", "> {0}", "< {0}", r"\ge {0}", r"\le {0}",
    "between {0} and {1}", "{0} to {1}", "{0}-{1}", "{0} is wrong", "{0} is incorrect", "{0}, no, {1}",
    "{0}, wait, {1}", r"\boxed{{{0}}} \boxed{{{1}}}", r"\boxed{{{0}}} or \boxed{{{1}}}",
    r"\boxed{{{1}}}, \boxed{{{0}}}", "one of {0}, {1}", "{{{0}, {1}}}", "[{0}, {1}]", "({0}, {1})", "{0}; {1}",
    "{0} | {1}", "{0}\n{1}", "A: {0}, B: {1}", "1. {0} 2. {1}", "{0} vs {1}", "{0}±1", r"{0} \pm 1",
    "{0}🙂", "{0} ✓", "{0}abc", "abc{0}", "{0} <b>", "{0}\u200b1", "{0} {1}", "{0}_2", "{0}!", "-({0})", "{0}i",
    "{0}x", "x{0}", "{0}+", "~{0}", "≈{0}ish", "{0} unless it is {1}", "{0} if rounded", "{0} mod 7",
    r"\frac{{{0}}}{{{1}}}", "{0}^{{2}}", r"\sqrt{{{0}}}", "{0}或{1}", "不是{0}", "可能是{0}", "大约{0}", "{0}左右",
    "至少{0}", "不超过{0}", "{0}以上", "no answer", "none of the above", "unknown", "", "?", "...", "the answer",
    "{0} is not the answer", "The answer is not {0}", "The answer isn't {0}", "The answer cannot be {0}",
    "It can't be {0}", "the opposite of {0}", "{0} divided by 2", "twice {0}", "half of {0}", "{0} squared",
    "{0} hundred", "the {0}th", "{0}th", "page {0}", "option {0}", "step {0}", "{0} out of {1}", "{0}:{1}",
)  # fmt: skip
NEEDS_INTEGER = frozenset({"{0}!", "{0}th", "the {0}th", "{0}:{1}", "{0}_2"})


def number_values(rng: random.Random, count: int) -> list[Fraction]:
    """Return integers of several sizes and signs, and fractions with simple and awkward denominators."""
    values = [
        Fraction(n)
        for n in (0, 1, -1, 7, 12, 42, 64, 100, -15, 1024, 4096, 12000, 360000, 1234567, 98, -3000)
    ]
    values += [
        Fraction(a, b)
        for a, b in ((1, 2), (3, 4), (-1, 3), (7, 3), (22, 7), (5, 8), (-9, 4), (1, 25), (13, 11))
    ]
    while len(values) < count:
        top = rng.choice((rng.randint(1, 99), rng.randint(100, 9999), rng.randint(1, 9) * 1000))
        value = Fraction(
            rng.choice((1, 1, -1)) * top, rng.choice((1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 25, 100))
        )
        values.append(value)
    return values


def near_misses(v: Fraction) -> list[Fraction]:
    """Return other values that look like this one."""
    made = [
        v + 1,
        v - 1,
        -v,
        v * 10,
        v / 10,
        v * 100,
        v / 100,
        v + Fraction(1, 10),
        v + Fraction(1, 1000),
        v * 2,
        v / 2,
    ]
    if v:
        made.append(1 / v)
    text = str(abs(v.numerator))
    if len(text) > 1:
        made += [Fraction(int(text[::-1]), v.denominator), Fraction(int(text[:-1]), v.denominator)]
        made.append(Fraction(int(text + text[-1]), v.denominator))
    return [m for m in dict.fromkeys(made) if m != v]


def numbers(rng: random.Random, values: Sequence[Fraction]) -> Iterator[Case]:
    """Yield cases for each value × notation × wording."""
    for v in values:
        texts = {name: text for name, write in EXACT.items() if (text := write(v)) is not None}
        references = [texts[k] for k in ("integer", "slash", "frac", "decimal", "1,234") if k in texts][:3]
        for name, text in texts.items():
            wording = rng.choice([w for w in WORDINGS if name not in ("chinese", "english") or "$" not in w])
            yield Case(f"notation: {name}", rng.choice(references), wording.format(text), True)
        for wording in rng.sample(WORDINGS, 8):
            yield Case("wording", references[0], wording.format(rng.choice(references)), True)
        misses = near_misses(v)
        for other in rng.sample(misses, min(5, len(misses))):
            others = [t for write in EXACT.values() if (t := write(other)) is not None]
            wording = rng.choice(WORDINGS)
            yield Case("near miss", rng.choice(references), wording.format(rng.choice(others)), False)
        for hedge in rng.sample(HEDGES, 10):
            if hedge in NEEDS_INTEGER and v.denominator != 1:
                continue
            text, other = references[0], str(v.numerator + 3)
            answer = hedge.format(text, other)
            # 0 and 1 are fixed points of some of these (0!, 1^2, -(0)); a range may read as a difference.
            if v in (-1, 0, 1, 2) or (hedge == "{0}-{1}" and v.denominator != 1):
                continue
            yield Case("hedge or junk", text, answer, False)


def percentages(rng: random.Random, values: Sequence[Fraction]) -> Iterator[Case]:
    """Yield percentages: 25% = 1/4 = 0.25; a bare 25 for 25%; never 2500% or 0.25%."""
    for v in values:
        if not 0 < v < 5 or percent("%")(v) is None:
            continue
        for name, write in PERCENT.items():
            reference = write(v) or ""
            yield Case(f"percent: {name}", percent("%")(v) or "", reference, True)
            for other in (slash(v), decimal(v), latex_fraction("frac")(v)):
                if other is not None:
                    yield Case("percent = fraction", reference, other, True)
                    yield Case("percent = fraction", other, reference, True)
            yield Case("percent without its sign", reference, (percent("")(v) or ""), True)
            for wrong in (v * 10, v / 100, v + Fraction(1, 100)):
                if text := write(wrong):
                    yield Case("percent: near miss", reference, text, False)


# units ------------------------------------------------------------------------------------------------------------

UNITS: dict[str, dict[str, Fraction]] = {
    "length": {"m": Fraction(1), "meters": Fraction(1), "cm": Fraction(1, 100), "centimeters": Fraction(1, 100),
               "mm": Fraction(1, 1000), "km": Fraction(1000), "kilometers": Fraction(1000),
               "inches": Fraction(254, 10000), "feet": Fraction(3048, 10000), "miles": Fraction(1609344, 1000),
               "米": Fraction(1), "厘米": Fraction(1, 100), "千米": Fraction(1000), "公里": Fraction(1000)},
    "mass": {"g": Fraction(1), "grams": Fraction(1), "kg": Fraction(1000), "kilograms": Fraction(1000),
             "克": Fraction(1), "千克": Fraction(1000), "公斤": Fraction(1000), "斤": Fraction(500)},
    "time": {"s": Fraction(1), "seconds": Fraction(1), "min": Fraction(60), "minutes": Fraction(60),
             "h": Fraction(3600), "hours": Fraction(3600), "days": Fraction(86400), "秒": Fraction(1),
             "分钟": Fraction(60), "小时": Fraction(3600), "天": Fraction(86400)},
    "area": {"m^2": Fraction(1), "square meters": Fraction(1), "cm^2": Fraction(1, 10**4), "m²": Fraction(1),
             "square centimeters": Fraction(1, 10**4), "平方米": Fraction(1), "平方厘米": Fraction(1, 10**4)},
    "volume": {"m^3": Fraction(1), "cubic meters": Fraction(1), "cm^3": Fraction(1, 10**6), "立方米": Fraction(1),
               "立方厘米": Fraction(1, 10**6)},
    "speed": {"m/s": Fraction(1), "km/h": Fraction(5, 18), "kilometers per hour": Fraction(5, 18),
              "meters per second": Fraction(1), "mph": Fraction(1609344, 3600000)},
    "dollar": {"dollars": Fraction(1), "cents": Fraction(1, 100), "USD": Fraction(1), "美元": Fraction(1)},
    "yuan": {"元": Fraction(1), "yuan": Fraction(1), "角": Fraction(1, 10)},
    "angle": {"degrees": Fraction(1), "^\\circ": Fraction(1), "°": Fraction(1), "度": Fraction(1)},
}  # fmt: skip
UNIT_FORMS: Sequence[str] = ("{n} {u}", "{n}\\text{{ {u}}}", "{n} \\text{{ {u}}}", "{n}\\ \\text{{{u}}}", "{n}{u}",
                             "{n}\\,\\mathrm{{{u}}}", "${n}$ {u}", "{n} {u}.", "**{n} {u}**",
                             "\\boxed{{{n}\\text{{ {u}}}}}",
                             "The answer is {n} {u}.", "{n}~\\text{{{u}}}")  # fmt: skip


def _form(rng: random.Random, unit: str) -> str:
    chosen = rng.choice(UNIT_FORMS)
    if unit.startswith("^"):
        return "{n}{u}"
    if not unit.isascii():
        return rng.choice(("{n}{u}", "{n} {u}", "{n}\\text{{{u}}}"))
    if " " in unit or len(unit) > 3:
        return rng.choice([f for f in UNIT_FORMS if f not in ("{n}{u}",)])
    return chosen


def units(rng: random.Random, values: Sequence[Fraction]) -> Iterator[Case]:
    """Yield quantities in another unit, without a unit, in a unit of another kind, and of another size in the same
    kind."""
    kinds = list(UNITS)
    for v in values:
        text = decimal(v)
        if text is None or v <= 0:
            continue
        kind = rng.choice(kinds)
        table = UNITS[kind]
        unit = rng.choice(list(table))
        reference = ("{n}{u}" if unit.startswith("^") else "{n} {u}").format(n=text, u=unit)
        yield Case("unit: same", reference, _form(rng, unit).format(n=text, u=unit), True)
        yield Case("unit: left out", reference, rng.choice(WORDINGS).format(text), True)
        other = rng.choice(list(table))
        converted = v * table[unit] / table[other]
        if (written := decimal(converted)) is not None:
            yield Case("unit: converted", reference, _form(rng, other).format(n=written, u=other), True)
        if table[other] != table[unit]:
            yield Case("unit: other size", reference, _form(rng, other).format(n=text, u=other), False)
        strange = rng.choice([k for k in kinds if k != kind])
        name = rng.choice(list(UNITS[strange]))
        yield Case("unit: other kind", reference, _form(rng, name).format(n=text, u=name), False)
        miss = decimal(v + 1)
        yield Case("unit: other number", reference, _form(rng, unit).format(n=miss, u=unit), False)
        yield Case("unit: hedged", reference, f"{text} {unit} or {miss} {unit}", False)


MONEY = {"$": ("${}", "\\${}", "{} dollars", "US${}", "{} USD", "{}美元", "\\$ {}"),
         "€": ("€{}", "{} euros", "{} EUR", "{}欧元"), "£": ("£{}", "{} pounds", "{}英镑"),
         "¥": ("{}元", "¥{}", "{} yuan", "{} RMB", "人民币{}元"), "₹": ("₹{}", "{} rupees")}  # fmt: skip


def money(rng: random.Random, count: int) -> Iterator[Case]:
    """Yield amounts in several currencies."""
    for _ in range(count):
        cents = rng.choice((rng.randint(1, 999) * 100, rng.randint(101, 999999), rng.randint(11, 99) * 10000))
        amount = f"{cents // 100:,}" + (f".{cents % 100:02d}" if cents % 100 else "")
        simple = amount.replace(",", "")
        sign = rng.choice(list(MONEY))
        forms = MONEY[sign]
        reference = rng.choice(forms[:2]).format(amount)
        yield Case("money: same", reference, rng.choice(forms).format(rng.choice((amount, simple))), True)
        yield Case("money: bare", reference, rng.choice((amount, simple)), True)
        if not cents % 100:
            yield Case("money: same", reference, forms[0].format(amount + ".00"), True)
        other = rng.choice([s for s in MONEY if s != sign])
        yield Case("money: other currency", reference, MONEY[other][0].format(simple), False)
        wrong = f"{(cents + rng.choice((1, 100, 1000, -100, 9))) / 100:.2f}"
        yield Case("money: near miss", reference, rng.choice(forms).format(wrong), False)
        if sign == "$":
            yield Case("money: cents", reference, f"{cents} cents", True)
            yield Case("money: cents", reference, f"{simple} cents", False)
            yield Case("money: per", reference, f"{forms[0].format(simple)} per hour", False)


# times and dates ------------------------------------------------------------------------------------------------------


def clocks(rng: random.Random, count: int) -> Iterator[Case]:
    """Yield times of day, which never equal a fraction, the value of a ratio, or another time."""
    for _ in range(count):
        h, m = rng.randint(0, 23), rng.randint(0, 59)
        half, h12 = ("AM" if h < 12 else "PM"), (h % 12 or 12)
        same = [
            f"{h12}:{m:02d} {half}",
            f"{h12}:{m:02d}{half.lower()}",
            f"{h12}:{m:02d} {half[0].lower()}.m.",
        ]
        reference = rng.choice(same)
        for answer in (*same, f"{h:02d}:{m:02d}", f"\\text{{{same[0]}}}", f"The answer is {same[0]}.",
                       f"{h12}:{m:02d}\\text{{ {half}}}"):  # fmt: skip
            yield Case("time: same", reference, answer, True)
        other = "PM" if half == "AM" else "AM"
        wrong = [
            f"{h12}:{m:02d} {other}",
            f"{h12}:{(m + 1) % 60:02d} {half}",
            f"{(h12 % 12) + 1}:{m:02d} {half}",
        ]
        if m:
            value = Fraction(h12, m)
            wrong += [f"{value.numerator}/{value.denominator}", f"{h12}.{m:02d}", f"{h12}/{m:02d}"]
        for answer in wrong:
            yield Case("time: other", reference, answer, False)
        value = Fraction(h12, m or 7)
        yield Case(
            "time: for a fraction", f"{value.numerator}/{value.denominator}", f"{h12}:{m or 7:02d}", False
        )


MONTHS = "January February March April May June July August September October November December".split()


def dates(rng: random.Random, count: int) -> Iterator[Case]:
    """Yield calendar dates in several notations, which never equal the difference that a date looks like."""
    for _ in range(count):
        d = date(1900, 1, 1) + timedelta(days=rng.randint(0, 50000))
        name, th = (
            MONTHS[d.month - 1],
            {1: "st", 2: "nd", 3: "rd"}.get(d.day % 10 if d.day // 10 != 1 else 0, "th"),
        )
        same = [f"{name} {d.day}, {d.year}", d.isoformat(), f"{d.day} {name} {d.year}", f"{name} {d.day}{th}, {d.year}",
                f"{name[:3]} {d.day}, {d.year}", f"{d.year}年{d.month}月{d.day}日",
                f"\\text{{{name} {d.day}, {d.year}}}",
                f"{d.year}/{d.month:02d}/{d.day:02d}", f"the {d.day}{th} of {name} {d.year}"]  # fmt: skip
        reference = rng.choice(same[:3])
        for answer in rng.sample(same, 5):
            yield Case("date: same", reference, answer, True)
        later = d + timedelta(days=rng.choice((1, 30, 365)))
        wrong = [later.isoformat(), f"{MONTHS[later.month - 1]} {later.day}, {later.year}", str(d.year),
                 str(d.year - d.month - d.day), f"{name} {d.day}, {d.year + 1}", f"{name} {d.year}"]  # fmt: skip
        for answer in rng.sample(wrong, 4):
            yield Case("date: other", reference, answer, False)
        yield Case("date: for a number", str(d.year - d.month - d.day), d.isoformat(), False)


# bases ----------------------------------------------------------------------------------------------------------------


def in_base(n: int, base: int) -> str:
    digits = ""
    while True:
        n, rest = divmod(n, base)
        digits = "0123456789ABCDEF"[rest] + digits
        if not n:
            return digits


def bases(rng: random.Random, count: int) -> Iterator[Case]:
    """Yield digits with a base; the base counts."""
    for _ in range(count):
        n, base = rng.randint(8, 5000), rng.choice((2, 3, 4, 5, 6, 7, 8, 9, 12, 16))
        text = in_base(n, base)
        reference = f"{text}_{base}" if base < 10 else f"{text}_{{{base}}}"
        for form in (
            "{d}_{{{b}}}",
            "({d})_{{{b}}}",
            "{d}_{{ {b} }}",
            "\\text{{{d}}}_{{{b}}}",
            "$ {d}_{{{b}}} $",
        ):
            yield Case("base: same", reference, form.format(d=text, b=base), True)
        other = rng.choice([b for b in (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16) if b != base])
        yield Case("base: other base", reference, f"{text}_{{{other}}}", False)
        yield Case("base: other digits", reference, f"{in_base(n + 1, base)}_{{{base}}}", False)
        if in_base(n, 10) != text:
            yield Case(
                "base: of a plain number", text if text.isdigit() else str(n), f"{text}_{{{base}}}", False
            )


# intervals, sets, tuples, matrices ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Span:
    """An interval; a bound of None is infinite."""

    low: int | None
    high: int | None
    open_low: bool
    open_high: bool

    def brackets(self) -> str:
        low = "-\\infty" if self.low is None else str(self.low)
        high = "\\infty" if self.high is None else str(self.high)
        return f"{'(' if self.open_low else '['}{low}, {high}{')' if self.open_high else ']'}"

    def forms(self) -> list[str]:
        """Return the interval as brackets and as inequalities."""
        text = self.brackets()
        made = [
            text,
            text.replace(", ", ","),
            f"\\left{text[:-1]}\\right{text[-1]}",
            f"x \\in {text}",
            f"x\\in{text}",
        ]
        lt, gt = {True: "<", False: "\\le"}, {True: ">", False: "\\geq"}
        tight = {True: "<", False: "≤"}
        if self.low is None and self.high is None:
            return made
        if self.low is None:
            made += [
                f"x {lt[self.open_high]} {self.high}",
                f"{self.high} {gt[self.open_high]} x",
            ]
        elif self.high is None:
            made += [f"x {gt[self.open_low]} {self.low}", f"{self.low} {lt[self.open_low]} x"]
        else:
            made += [f"{self.low} {lt[self.open_low]} x {lt[self.open_high]} {self.high}",
                     f"{self.low}{tight[self.open_low]}x{tight[self.open_high]}{self.high}"]  # fmt: skip
        return made


def spans(rng: random.Random, count: int) -> Iterator[Case]:
    """Yield intervals and inequalities; open differs from closed."""
    for _ in range(count):
        low, high = sorted(rng.sample(range(-20, 40), 2))
        span = rng.choice((
            Span(low, high, rng.random() < 0.5, rng.random() < 0.5),
            Span(None, high, True, rng.random() < 0.5), Span(low, None, rng.random() < 0.5, True),
        ))  # fmt: skip
        reference = rng.choice(span.forms())
        for form in rng.sample(span.forms(), 4):
            yield Case(
                "interval: same", reference, rng.choice(("{}", "${}$", "\\boxed{{{}}}")).format(form), True
            )
        others = []
        if span.low is not None:
            others += [Span(span.low, span.high, not span.open_low, span.open_high),
                       Span(span.low - 1, span.high, span.open_low, span.open_high)]  # fmt: skip
        if span.high is not None:
            others += [Span(span.low, span.high, span.open_low, not span.open_high),
                       Span(span.low, span.high + 1, span.open_low, span.open_high)]  # fmt: skip
        for other in others:
            yield Case("interval: other", reference, rng.choice(other.forms()), False)
        if span.low is not None and span.high is not None:
            yield Case("interval: for a set", reference, f"\\{{{span.low}, {span.high}\\}}", False)
    for _ in range(count // 2):
        a, b = sorted(rng.sample(range(-9, 20), 2))
        flags = rng.random() < 0.5
        left, right = Span(None, a, True, flags), Span(b, None, flags, True)
        below, above = ("<", ">") if flags else ("\\le", "\\ge")
        texts = [f"{left.brackets()} \\cup {right.brackets()}", f"{right.brackets()}\\cup{left.brackets()}",
                 f"{left.brackets()} ∪ {right.brackets()}",
                 f"x {below} {a} \\text{{ or }} x {above} {b}",
                 f"x {'<' if flags else '≤'} {a} or x {'>' if flags else '≥'} {b}"]  # fmt: skip
        reference = rng.choice(texts)
        for text in texts:
            yield Case("union: same", reference, text, True)
        swapped = Span(None, a, True, not flags)
        yield Case("union: other", reference, f"{swapped.brackets()} \\cup {right.brackets()}", False)
        yield Case("union: a part of it", reference, left.brackets(), False)


def collections(rng: random.Random, count: int) -> Iterator[Case]:
    """Yield sets and lists in any order, and tuples in theirs; each item counts."""
    for _ in range(count):
        size = rng.randint(2, 4)
        items = rng.sample([Fraction(n, d) for n in range(-20, 21) for d in (1, 1, 2, 3)], size)
        items = list(dict.fromkeys(items))
        if len(items) < 2:
            continue
        texts = [plain(v) or rng.choice((slash, latex_fraction("frac")))(v) or "" for v in items]
        mixed_up = rng.sample(texts, len(texts))
        extra = str(50 + rng.randint(0, 9))
        a_set, a_tuple = "\\{" + ", ".join(texts) + "\\}", "(" + ", ".join(texts) + ")"
        listed = ", ".join(texts)
        yield Case("set: same", a_set, "\\{" + ",".join(mixed_up) + "\\}", True)
        yield Case("set: same", a_set, "\\left\\{" + ", ".join(mixed_up) + "\\right\\}", True)
        yield Case("set: same", a_set, "$\\{" + "; ".join(mixed_up) + "\\}$", True)
        yield Case("set: as a list", a_set, ", ".join(mixed_up), True)
        yield Case("set: item missing", a_set, "\\{" + ",".join(mixed_up[1:]) + "\\}", False)
        yield Case("set: item too many", a_set, "\\{" + ",".join([*mixed_up, extra]) + "\\}", False)
        yield Case("set: item replaced", a_set, "\\{" + ",".join([*mixed_up[1:], extra]) + "\\}", False)
        yield Case("list: same", listed, ", ".join(mixed_up), True)
        yield Case("list: same", listed, ", ".join(mixed_up[:-1]) + " and " + mixed_up[-1], True)
        yield Case("list: same", listed, ", ".join(mixed_up[:-1]) + ", \\text{ and } " + mixed_up[-1], True)
        yield Case("list: named", listed, ", ".join(f"x = {t}" for t in mixed_up), True)
        yield Case("list: item missing", listed, ", ".join(mixed_up[1:]), False)
        yield Case("list: item too many", listed, ", ".join([*mixed_up, extra]), False)
        yield Case("tuple: same", a_tuple, "(" + ",".join(texts) + ")", True)
        yield Case("tuple: same", a_tuple, "\\left( " + " , ".join(texts) + " \\right)", True)
        if mixed_up != texts:
            yield Case("tuple: other order", a_tuple, "(" + ", ".join(mixed_up) + ")", False)
        yield Case("tuple: for a set", a_tuple, a_set, False)
        yield Case("tuple: other item", a_tuple, "(" + ", ".join([*texts[:-1], extra]) + ")", False)
        yield Case("list: one of it", listed, texts[0], False)
        yield Case("number: a list with it", texts[0], listed, False)


def matrices(rng: random.Random, count: int) -> Iterator[Case]:
    """Yield matrices; rows, columns and entries count."""
    for _ in range(count):
        rows, columns = rng.randint(1, 3), rng.randint(1, 3)
        if rows == columns == 1:
            continue
        cells = [
            [Fraction(rng.randint(-9, 9), rng.choice((1, 1, 2))) for _ in range(columns)] for _ in range(rows)
        ]

        def write(kind: str, grid: Sequence[Sequence[Fraction]], ratio: Notation = FRAC) -> str:
            body = " \\\\ ".join(" & ".join(plain(v) or ratio(v) or "" for v in row) for row in grid)
            return f"\\begin{{{kind}}} {body} \\end{{{kind}}}"

        reference = write("pmatrix", cells)
        array = write("array", cells).replace("{array} ", "{array}{" + "c" * columns + "} ", 1)
        for answer in (write("bmatrix", cells), write("pmatrix", cells, decimal), f"\\left[{array}\\right]",
                       reference.replace(" ", ""), f"${reference}$"):  # fmt: skip
            yield Case("matrix: same", reference, answer, True)
        changed = [list(row) for row in cells]
        changed[rng.randrange(rows)][rng.randrange(columns)] += rng.choice((1, -1, Fraction(1, 2)))
        yield Case("matrix: other entry", reference, write("pmatrix", changed), False)
        turned = [list(column) for column in zip(*cells, strict=True)]
        if turned != cells:
            yield Case("matrix: transposed", reference, write("pmatrix", turned), False)
        flipped = [[-v for v in row] for row in cells]
        if flipped != cells:
            yield Case("matrix: other sign", reference, write("bmatrix", flipped), False)


# algebra --------------------------------------------------------------------------------------------------------------


def polynomial(coefficients: Sequence[int], letter: str = "x", star: str = "") -> str:
    """Return the text of Σ c_i letter^i, highest power first."""
    parts = []
    for power in range(len(coefficients) - 1, -1, -1):
        c = coefficients[power]
        if not c:
            continue
        size = "" if abs(c) == 1 and power else str(abs(c))
        name = "" if not power else letter if power == 1 else f"{letter}^{power}"
        times = star if size and name else ""
        parts.append(("-" if c < 0 else "+" if parts else "") + size + times + name)
    return "".join(parts) or "0"


def multiplied(factors: Sequence[tuple[int, int]]) -> list[int]:
    """Return the coefficients, lowest first, of Π (a x + b)."""
    product = [1]
    for a, b in factors:
        grown = [0] * (len(product) + 1)
        for power, c in enumerate(product):
            grown[power] += c * b
            grown[power + 1] += c * a
        product = grown
    return product


def algebra(rng: random.Random, count: int) -> Iterator[Case]:
    """Yield polynomials expanded and factored, equations up to scale, simplified roots, logarithms."""
    for _ in range(count):
        factors = [(rng.choice((1, 1, 2, 3)), rng.choice([n for n in range(-9, 10) if n])) for _ in range(2)]
        flat = multiplied(factors)
        factored = "".join(f"({polynomial((b, a))})" for a, b in factors)
        turned = "".join(f"({polynomial((b, a))})" for a, b in reversed(factors))
        text = polynomial(flat)
        reordered = "+".join(polynomial([0] * i + [c]) for i, c in enumerate(flat) if c).replace("+-", "-")
        for answer in (factored, turned, text, reordered, polynomial(flat, star="*"), f"${factored}$", f"y = {text}",
                       text.replace("^2", "²"), text.replace("^2", "**2"), f"f(x) = {text}"):  # fmt: skip
            yield Case("polynomial: same", rng.choice((text, factored)), answer, True)
        for place in range(3):
            off = list(flat)
            off[place] += rng.choice((1, -1, 2))
            yield Case("polynomial: other", text, polynomial(off), False)
        yield Case("polynomial: other letter", text, polynomial(flat, "t"), False)
        yield Case("polynomial: other sign", text, polynomial([-c for c in flat]), False)
        scale = rng.choice((2, 3, -1))
        yield Case("equation: scaled", f"{text} = 0", f"{polynomial([scale * c for c in flat])} = 0", True)
        yield Case("equation: other", f"{text} = 0", f"{polynomial([flat[0] + 1, *flat[1:]])} = 0", False)
    for _ in range(count):
        a, b, c = rng.randint(2, 12), rng.choice((2, 3, 5, 6, 7, 10)), rng.randint(1, 20)
        square = a * a * b
        yield Case("root: simplified", f"{a}\\sqrt{{{b}}}", f"\\sqrt{{{square}}}", True)
        yield Case(
            "root: simplified",
            f"\\sqrt{{{square}}}",
            f"{a}\\sqrt{b}" if b < 10 else f"{a}\\sqrt{{{b}}}",
            True,
        )
        yield Case("root: simplified", f"{a}\\sqrt{{{b}}}", f"{a}√{b}", True)
        yield Case("root: simplified", f"{a}\\sqrt{{{b}}}", f"{a}*sqrt({b})", True)
        yield Case("root: sum", f"{c}+{a}\\sqrt{{{b}}}", f"{a}\\sqrt{{{b}}} + {c}", True)
        yield Case(
            "root: rationalised",
            f"\\frac{{{a}}}{{\\sqrt{{{b}}}}}",
            f"\\frac{{{a}\\sqrt{{{b}}}}}{{{b}}}",
            True,
        )
        yield Case("root: other", f"{a}\\sqrt{{{b}}}", f"{a + 1}\\sqrt{{{b}}}", False)
        yield Case("root: other", f"{a}\\sqrt{{{b}}}", f"\\sqrt{{{a * b}}}", False)
        yield Case("root: rounded too much", f"{a}\\sqrt{{{b}}}", f"{a * b**0.5:.2f}", False)
        yield Case("root: other sign", f"{c}+{a}\\sqrt{{{b}}}", f"{c}-{a}\\sqrt{{{b}}}", False)
        yield Case("pi", f"{a}\\pi", f"{a} \\cdot \\pi", True)
        yield Case("pi", f"{a}\\pi", f"{a}π", True)
        yield Case("pi", f"\\frac{{{a}\\pi}}{{{c + 1}}}", f"\\frac{{{a}}}{{{c + 1}}}\\pi", True)
        yield Case("pi: other", f"{a}\\pi", f"{a}", False)
        yield Case("pi: other", f"{a}\\pi", f"{a * 3.14:.2f}", False)
        yield Case("complex", f"{a}+{b}i", f"{b}i+{a}", True)
        yield Case("complex: conjugate", f"{a}+{b}i", f"{a}-{b}i", False)
        yield Case("complex: real part", f"{a}+{b}i", f"{a}", False)
        yield Case("letters", f"{a}x+{b}y", f"{b}y + {a}x", True)
        yield Case("letters: swapped", f"{a}x+{b}y", f"{a}y+{b}x", a == b)
        yield Case("letters: number alone", f"{a}x", f"{a}", False)
        yield Case("sum with its result", str(a + c), f"{a} + {c} = {a + c}", True)
        yield Case("sum with its result", str(a + c), f"{a} + {c} = {a + c + 1}", False)
        yield Case("false chain", str(a + c), f"{a + c + 1} = {a + c}", False)
        ratio = f"{a}:{b}"
        asked = "What is the ratio of red to blue marbles?" if b >= 10 else ""  # otherwise 10:15 is a time
        yield Case("ratio", ratio, f"{2 * a}:{2 * b}", True, asked)
        yield Case("ratio", ratio, f"{a} : {b}", True, asked)
        yield Case("ratio: turned", ratio, f"{b}:{a}", a == b, asked)
        yield Case("ratio: other", ratio, f"{a}:{b + 1}", False, asked)
        yield Case("degrees", f"{a * 5}^\\circ", f"{a * 5} degrees", True)
        yield Case("degrees", f"{a * 5}^\\circ", f"{a * 5}°", True)
        yield Case("degrees: radians", f"{a * 5}^\\circ", f"{a * 5} radians", False)


# words and echoes -----------------------------------------------------------------------------------------------------

WORDS = ("Paris", "Tuesday", "even", "no solution", "increasing", "Alice", "blue", "the Pacific Ocean", "yes",
         "True",          "isosceles",
         "hyperbola", "北京", "正确", "New York", "Mount Everest", "oxygen", "infinitely many")  # fmt: skip


def words(rng: random.Random) -> Iterator[Case]:
    """Yield text answers: case, punctuation and the article do not matter, other words do."""
    for word in WORDS:
        other = rng.choice([w for w in WORDS if w != word and w.isascii() == word.isascii()])
        for form in (
            "{}",
            "{}.",
            "\\text{{{}}}",
            "**{}**",
            "The answer is {}.",
            "\\boxed{{\\text{{{}}}}}",
            '"{}"',
        ):
            yield Case("words: same", word, form.format(word), True)
        yield Case("words: same", word, word.lower(), True)
        yield Case("words: same", f"\\text{{{word}}}", word.upper(), True)
        for form in ("{1}", "not {0}", "{0} or {1}", "{0}, {1}", "{0} and {1}", "{0}?", "maybe {0}", "un{0}",
                     "It is not {0}.", "neither {0} nor {1}", "{0}{1}", "the capital of {0}"):  # fmt: skip
            yield Case("words: other", word, form.format(word, other), False)
    for letter in "ABCD":
        other = chr(ord(letter) + 1)
        for form in ("{0}", "({0})", "\\text{{{0}}}", "\\text{{({0})}}", "**{0}**", "{0}.", "The answer is {0}.",
                     "$\\boxed{{{0}}}$"):  # fmt: skip
            yield Case("letter: same", letter, form.format(letter), True)
            yield Case("letter: other", letter, form.format(other), False)
        for form in ("{0} or {1}", "{0}, {1}", "not {0}", "{0}{1}", "{0}/{1}", "ABCD"):
            yield Case("letter: other", letter, form.format(letter, other), False)


def echoes(rng: random.Random, count: int) -> Iterator[Case]:
    """Yield echoes: the question alone is no answer to itself; the sum together with its result is."""
    for _ in range(count):
        a, b = rng.randint(11, 99), rng.randint(11, 99)
        sign, value = rng.choice((("+", a + b), ("-", a - b), ("\\times", a * b), ("*", a * b)))
        sum_ = f"{a} {sign} {b}"
        prompt = rng.choice(
            ("What is {}?", "Compute ${}$.", "Evaluate {}", "请计算{}。", "Find the value of $${}$$")
        ).format(sum_)
        yield Case("echo", str(value), sum_, False, prompt)
        yield Case("echo", str(value), f"${sum_}$", False, prompt)
        yield Case("echo", str(value), prompt, False, prompt)
        yield Case("echo: with the result", str(value), f"{sum_} = {value}", True, prompt)
        yield Case("echo: the result", str(value), str(value), True, prompt)
        if sign in ("+", "\\times", "*"):
            yield Case("echo: turned", str(value), f"{b} {sign} {a}", False, prompt)
    for top, bottom in ((4, 8), (6, 9), (10, 4), (15, 25), (12, 18)):
        v = Fraction(top, bottom)
        prompt = f"Simplify \\frac{{{top}}}{{{bottom}}}."
        yield Case("echo", f"{v.numerator}/{v.denominator}", f"\\frac{{{top}}}{{{bottom}}}", False, prompt)
        yield Case(
            "echo: the result",
            f"{v.numerator}/{v.denominator}",
            latex_fraction("frac")(v) or "",
            True,
            prompt,
        )


def generated(seed: int, size: int = 120) -> list[Case]:
    """Return the cases of all families; the same seed gives the same cases."""
    rng = random.Random(seed)
    values = number_values(rng, size)
    made = [
        *numbers(rng, values), *percentages(rng, values), *units(rng, values * 3), *money(rng, size),
        *clocks(rng, size // 2), *dates(rng, size // 2), *bases(rng, size // 2), *spans(rng, size),
        *collections(rng, size), *matrices(rng, size // 2), *algebra(rng, size // 2), *words(rng),
        *echoes(rng, size // 2),
    ]  # fmt: skip
    return list(dict.fromkeys(made))
