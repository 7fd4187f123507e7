"""Kinds of answers that users of other toolkits reported as misjudged: equal spellings, and changed values."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rewards.math.accuracy import accuracy, is_correct, warm_up
from rewards.math.calendar import read_weekday
from rewards.math.ordinals import read_ordinal, suffix
from rewards.rows import RewardRow
from tests.rewards.math.math_cases_reported import SENTENCES, TABLE

SMALL = st.integers(-30, 30)


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    warm_up()


@pytest.mark.parametrize("line", [*TABLE.strip().splitlines(), *SENTENCES.strip().splitlines()])
def test_cases(line: str) -> None:
    reference, answer, right, *prompt = line.split(" ¦ ")
    row = RewardRow(f"<think>t</think><answer>{answer}</answer>", prompt="".join(prompt), answer=reference)
    score = accuracy(row)
    assert (score.total, score.verdict) == (float(right), "ok"), score.reason


@settings(deadline=None)
@given(st.integers(1000, 10**12), st.sampled_from([r",\!", r"{,}", r"\,", r",\! ", r" ,\!", r"{,}\!", ","]))
def test_digit_groups_are_one_number_on_either_side(number: int, separator: str) -> None:
    grouped = f"{number:,}".replace(",", separator)
    for changed in (number + 1, number - 1000, number * 10):
        assert is_correct(grouped, str(changed))[0] is False
        assert is_correct(str(changed), grouped)[0] is False
    assert is_correct(grouped, str(number))[0]
    assert is_correct(str(number), grouped)[0]
    assert not is_correct(grouped, f"{number:,}".replace(",", ", "))[0]  # a list of numbers
    assert not is_correct(str(number), grouped[:-1])[0]  # no group of three


@settings(deadline=None, max_examples=60)
@given(
    st.lists(SMALL, min_size=2, max_size=3),
    st.integers(-9, 9).filter(lambda k: k not in (0, 1)),
    st.integers(2, 9),
)
def test_a_scalar_before_a_matrix_multiplies_every_cell(cells: list[int], over: int, under: int) -> None:
    scale = Fraction(over, under)
    assume(scale != 1)
    body = r" \\ ".join(map(str, cells))
    reference = r"\begin{pmatrix}" + r" \\ ".join(str(scale * cell) for cell in cells) + r"\end{pmatrix}"
    sign = "-" if scale < 0 else ""
    top, bottom = abs(scale.numerator), scale.denominator
    for written in (rf"{sign}\frac{{{top}}}{{{bottom}}}", rf"{sign}{top}/{bottom} \cdot"):
        assert is_correct(reference, rf"{written}\begin{{pmatrix}}{body}\end{{pmatrix}}")[0]
        other = body.replace(str(cells[0]), str(cells[0] + 1), 1)
        assert not is_correct(reference, rf"{written}\begin{{pmatrix}}{other}\end{{pmatrix}}")[0]
    if any(cells):
        assert not is_correct(reference, rf"\begin{{pmatrix}}{body}\end{{pmatrix}}")[0]


@settings(deadline=None, max_examples=60)
@given(SMALL, st.integers(1, 30), SMALL)
def test_both_signs_are_two_members(middle: int, distance: int, third: int) -> None:
    assume(third not in (middle + distance, middle - distance))
    both = rf"{middle} \pm {distance}"
    full = [str(middle + distance), str(middle - distance), str(third)]
    assert is_correct(rf"\{{{both}, {third}\}}", rf"\{{{', '.join(full)}\}}")[0]
    assert is_correct(", ".join(full), f"{third}, {both}")[0]
    assert not is_correct(rf"\{{{both}, {third}\}}", rf"\{{{', '.join(full[:2])}\}}")[0]
    assert not is_correct(", ".join(full), rf"{third}, {middle} \pm {distance + 1}")[0]


PIECES = st.lists(st.integers(-20, 20), min_size=3, max_size=5, unique=True).map(sorted)


@settings(deadline=None, max_examples=60)
@given(PIECES, st.sampled_from("[("), st.sampled_from("])"))
def test_an_interval_without_points_is_the_union_of_its_parts(ends: list[int], left: str, right: str) -> None:
    low, *holes, high = ends
    cuts = [low, *holes, high]
    parts = [f"({a},{b})" for a, b in pairwise(cuts)]
    parts[0], parts[-1] = left + parts[0][1:], parts[-1][:-1] + right
    union, points = r" \cup ".join(parts), ", ".join(map(str, holes))
    assert is_correct(union, rf"{left}{low},{high}{right} \setminus \{{{points}\}}")[0]
    assert is_correct(rf"{left}{low},{high}{right} \setminus \{{{points}\}}", union)[0]
    assert not is_correct(union, f"{left}{low},{high}{right}")[0]
    assert not is_correct(union, rf"{left}{low},{high + 1}{right} \setminus \{{{points}\}}")[0]
    flipped = "(" if left == "[" else "["
    assert not is_correct(union, rf"{flipped}{low},{high}{right} \setminus \{{{points}\}}")[0]
    everywhere = [rf"(-\infty,{holes[0]})", *parts[1:-1], rf"({holes[-1]},\infty)"]
    assert is_correct(r" \cup ".join(everywhere), rf"\mathbb{{R}} \setminus \{{{points}\}}")[0]
    assert is_correct(r" \cup ".join(everywhere), ", ".join(rf"x \ne {hole}" for hole in holes))[0]
    assert not is_correct(r" \cup ".join(everywhere), r"\mathbb{R}")[0]


@given(st.integers(1, 10**6))
def test_ordinals_have_the_suffix_of_their_number(number: int) -> None:
    question = "Which term of the sequence is the first one above the limit?"
    for written in (
        f"{number}{suffix(number)}",
        rf"{number}^{{\text{{{suffix(number)}}}}}",
        f"the {number}{suffix(number)}",
    ):
        assert is_correct(str(number), written, question)[0], written
        assert not is_correct(str(number + 1), written, question)[0]
        assert not is_correct(str(number), written, "How many terms are above the limit?")[0]
    wrong = next(ending for ending in ("st", "nd", "rd", "th") if ending != suffix(number))
    assert read_ordinal(f"{number}{wrong}") is None


def test_spelled_ordinals() -> None:
    tens = {20: "twenty", 30: "thirty", 90: "ninety"}
    for ten, word in tens.items():
        assert read_ordinal(f"{word}-seventh").number == ten + 7  # type: ignore[union-attr]
        assert read_ordinal(word.removesuffix("y") + "ieth").number == ten  # type: ignore[union-attr]
    for text in ("ten", "twenty-tenth", "two thirds", "th", "6 th floor of", "seventh heaven it is"):
        assert read_ordinal(text) is None, text


def test_days_of_the_week_in_both_languages() -> None:
    english = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
    for number, (name, char) in enumerate(zip(english, "一二三四五六日", strict=True)):
        for other, name_of_other in enumerate(english):
            for spelled in (f"星期{char}", f"周{char}", f"礼拜{char}", f"{name[:3]}.", name.upper()):
                assert is_correct(name_of_other, spelled)[0] == (number == other), (name_of_other, spelled)
    assert not is_correct("Sun", "Sunday", "Which star is closest to the earth?")[0]
    assert is_correct("Sun", "Sunday", "On which day does he rest?")[0]
    assert read_weekday("Sunny") is None


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 28), st.integers(1, 28))
def test_chinese_dates_in_digits_and_numerals(month: int, day: int, other: int) -> None:
    spelled = f"{numeral(month)}月{numeral(day)}日"
    assert is_correct(f"{month}月{day}日", spelled)[0]
    assert is_correct(spelled, f"{month}月{other}号")[0] == (day == other)


def numeral(number: int) -> str:
    tens, ones = divmod(number, 10)
    return ("" if tens == 0 else "十" if tens == 1 else "二十") + (
        "零一二三四五六七八九"[ones] if ones else ""
    )


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 999), st.integers(1, 400),
    st.sampled_from(["{name} has {n} {thing}.", "{name} now has {n} {thing}", "He has {n} {thing} now."]),
)  # fmt: skip
def test_a_sentence_says_its_number_and_no_other(number: int, step: int, sentence: str) -> None:
    question = "Ravi had 40 marbles and bought some. How many marbles does Ravi have now?"
    said = sentence.format(name="Ravi", n=number, thing="marbles")
    assert is_correct(str(number), said, question)[0], said
    assert not is_correct(str(number + step), said, question)[0]
    for name, thing in (("Ravi", "coins"), ("Mina", "marbles")):
        if "{name}" in sentence or thing == "coins":
            assert not is_correct(str(number), sentence.format(name=name, n=number, thing=thing), question)[0]
    for taken_back in (
        "It is not true that {}",
        "{} or none",
        "Perhaps {}",
        "{} fewer",
        "If {}",
        "{} and 2 coins",
        "{}?",
    ):
        assert not is_correct(str(number), taken_back.format(said.rstrip(".")), question)[0], taken_back


@settings(deadline=None, max_examples=40)
@given(st.integers(40, 2000), st.sampled_from(["2", "3", r"\pi"]))
def test_values_that_differ_by_very_little_differ(size: int, base: str) -> None:
    assert not is_correct(rf"\frac{{1}}{{7}} + {base}^{{-{size}}}", r"\frac17")[0]
    assert not is_correct(rf"\sqrt{{2}} - {base}^{{-{size}}}", r"\sqrt2")[0]
    assert not is_correct("x", rf"x + {base}^{{-{size}}}")[0]
    assert is_correct(
        rf"\frac{{1}}{{7}} + {base}^{{-{size}}}", rf"\frac{{1}}{{7}} + \frac{{1}}{{{base}^{{{size}}}}}"
    )[0]


@pytest.mark.parametrize("size", [80, 150, 400, 900])
def test_factorials_that_differ_by_very_little_differ(size: int) -> None:
    assert not is_correct("1", rf"1 - \frac{{1}}{{{size}!}}")[0]
    assert is_correct(rf"\frac{{1}}{{{size}!}}", rf"\frac{{1}}{{{size} \cdot {size - 1}!}}")[0]
