"""Curation of samples: what is kept, the reason of what is not, and properties of both."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes.sft.curate import CurateRules, Sample, curate, r1_format
from data_recipes.sft.decontaminate import evaluation_grams, is_contaminated, words
from data_recipes.sft.readability import ReadabilityLimits, longest_paragraph, unreadable
from rewards.registry import load_reward
from rewards.rows import RewardRow

GOOD = "<think>first we add three and four to get seven</think><answer>7</answer>"


def sample(**changes):
    base = Sample("p#0", "p", "What is 3 + 4?", GOOD, {"accuracy": 1.0}, "en")
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"components": {"accuracy": 0.0}}, "incorrect"),
        ({"components": {"accuracy": float("nan")}}, "incorrect"),
        ({"components": {"accuracy": None}}, "no_verdict"),
        ({"components": {}}, "no_verdict"),
        ({"is_truncated": True}, "truncated"),
        ({"completion": "7"}, "no_reasoning"),
        ({"language": "zh"}, "mixed_language"),
        ({"completion": "<think>we add 三 和 四 得 七</think><answer>7</answer>"}, "mixed_language"),
        ({"completion": "<think>" + "word " * 301 + "</think><answer>7</answer>"}, "long_paragraph"),
        ({"completion": "<think>so ```print(7)``` it is</think><answer>7</answer>"}, "code_block"),
        ({"completion": "<think>" + "we add it " * 20 + "</think><answer>7</answer>"}, "repetition"),
        ({"prompt": "a b c d e f g h i j k"}, "contaminated"),
    ],
)
def test_the_reason_of_a_drop(changes, reason):
    evaluation = evaluation_grams(["so b c d e f g h i j k"])
    assert curate([sample(**changes)], CurateRules(), evaluation).dropped == {reason: 1}


def test_replies_without_reasoning_are_kept_where_none_is_needed():
    free = CurateRules(limits=ReadabilityLimits(needs_reasoning=False))
    plain, again = "Apples and pears.", "apples and pears " * 40
    thought = "<think>我们 数 水果 的 数目</think>two"
    for completion, dropped in ((plain, {}), (again, {"repetition": 1}), (thought, {"mixed_language": 1})):
        assert curate([sample(completion=completion)], free).dropped == dropped
    assert curate([sample(completion=plain)], CurateRules()).dropped == {"no_reasoning": 1}


def test_each_kind_of_prompt_has_its_own_rule():
    rules = CurateRules(correct=("accuracy", "code"))
    some = [
        sample(id=str(i), prompt_id=str(i), prompt=str(i), components=components)
        for i, components in enumerate(
            [{"accuracy": 1.0, "code": None}, {"code": 1.0}, {"accuracy": 0.0, "code": None}, {"code": 0.0},
             {"accuracy": 1.0, "code": 0.0}, {"accuracy": None, "code": None}]
        )
    ]  # fmt: skip
    found = curate(some, rules)
    assert [s.id for s in found.kept] == ["0", "1"]
    assert found.dropped == {"incorrect": 3, "no_verdict": 1}


def test_a_good_sample_is_kept():
    assert curate([sample()], CurateRules(), evaluation_grams(["something else"])).kept == (sample(),)


def test_an_id_that_comes_twice_stops():
    with pytest.raises(ValueError, match="'p#0'"):
        curate([sample(), sample()], CurateRules())


def test_the_choice_among_the_samples_of_a_prompt():
    longer = sample(id="a", completion=GOOD.replace("first", "at the very first"))
    shorter = sample(id="b")
    assert [s.id for s in curate([longer, shorter], CurateRules(choose="first")).kept] == ["a"]
    assert [s.id for s in curate([longer, shorter], CurateRules(choose="shortest")).kept] == ["b"]
    picks = {curate([longer, shorter], CurateRules(choose="random", seed=s)).kept[0].id for s in range(20)}
    assert picks == {"a", "b"}


def test_the_same_text_is_kept_once_without_a_cap():
    result = curate([sample(id="a"), sample(id="b")], CurateRules(per_prompt=None))
    assert [s.id for s in result.kept] == ["a"]
    assert result.dropped == {"duplicate": 1}


@given(
    scores=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([0.0, 1.0, None]), st.integers(0, 4)), max_size=30
    ),
    cap=st.one_of(st.none(), st.integers(1, 3)),
    choose=st.sampled_from(["first", "shortest", "random"]),
    order=st.randoms(use_true_random=False),
)
def test_every_sample_is_kept_or_counted_and_no_prompt_is_over_its_cap(
    scores, cap, choose, order: random.Random
):
    samples = [
        sample(id=str(i), prompt_id=str(p), prompt=f"q {p}", components={"accuracy": score},
               completion=GOOD.replace("three", f"{'so ' * n}three"))
        for i, (p, score, n) in enumerate(scores)
    ]  # fmt: skip
    rules = CurateRules(per_prompt=cap, choose=choose)
    result = curate(samples, rules)
    assert len(result.kept) + sum(result.dropped.values()) == len(samples)
    assert all(s.components["accuracy"] == 1.0 for s in result.kept)
    by_prompt = [[s for s in result.kept if s.prompt_id == str(p)] for p in range(4)]
    assert all(len(group) <= (cap or len(samples)) for group in by_prompt)
    correct = {s.prompt_id for s in samples if s.components["accuracy"] == 1.0}
    assert {s.prompt_id for s in result.kept} == correct  # a cap empties no prompt
    again = curate(result.kept, rules)
    assert again.kept == result.kept
    assert not again.dropped
    if choose != "first":
        return
    prompts = list(range(4))
    order.shuffle(prompts)
    moved = [s for p in prompts for s in samples if s.prompt_id == str(p)]
    assert {s.id for s in curate(moved, rules).kept} == {s.id for s in result.kept}


def test_r1_format():
    assert r1_format(GOOD) == "<think>\nfirst we add three and four to get seven\n</think>\n\n\\boxed{7}"
    for bad in ("7", GOOD + " so", "<think>a</think><answer> </answer>", GOOD.replace("7<", "<answer>7<")):
        with pytest.raises(ValueError, match="answer"):
            r1_format(bad)


@given(
    text=st.lists(st.sampled_from("abcdef"), max_size=30),
    held=st.lists(st.sampled_from("abcdef"), max_size=30),
)
def test_contamination_is_a_shared_run_of_words(text, held):
    n = 3
    runs = [" ".join(held[i : i + n]) for i in range(len(held) - n + 1)]
    spaced = f" {' '.join(text)} "
    expected = any(f" {run} " in spaced for run in runs) or (0 < len(held) < n and text == held)
    assert is_contaminated(" ".join(text), evaluation_grams([" ".join(held)], n)) == expected


def test_words_of_a_text():
    assert words("Add ３ 和 x-1, then STOP!") == ["add", "3", "和", "x", "-", "1", "then", "stop"]
    assert words("Straße und STRASSE") == ["strasse", "und", "strasse"]
    assert words("A well-known, two\u00adpart ca\u200bse") == ["a", "well", "known", "twopart", "case"]
    with pytest.raises(ValueError, match="n = 0"):
        evaluation_grams([], 0)


@pytest.mark.parametrize(
    "copy", ["3 × 4 − 5 ÷ x", "3 * 4 - 5 / x", r"$3 \\times 4 - 5 \\div x$", "３×４–５÷Ｘ"]
)
def test_arithmetic_is_the_same_in_every_spelling(copy):
    held = evaluation_grams(["3 × 4 - 5 / x"], 10)
    assert is_contaminated(copy, held)
    assert not is_contaminated("3 × 4 + 5 / x", held)


def test_chinese_is_compared_character_by_character():
    held = evaluation_grams(["小明有三个苹果,他又买了五个,现在一共有几个?"])
    assert is_contaminated("题目:小明 有三个苹果。他又买了五个!答案是八。", held)
    assert not is_contaminated("小红有三个苹果,她又买了五个", held)


def test_a_short_question_is_found_behind_a_template():
    held = evaluation_grams(["What is 7 * 4?"])
    behind = {"prompt": "A conversation between User and Assistant. User: What is 7 * 4? Assistant:"}
    assert curate([sample(**behind)], CurateRules(), held).dropped == {}
    assert curate([sample(**behind, question="what is 7 × 4")], CurateRules(), held).dropped == {
        "contaminated": 1
    }


def test_paragraphs_end_at_an_empty_line():
    assert longest_paragraph("one two\nthree\n\nfour") == 3
    assert longest_paragraph("") == 0


@pytest.mark.parametrize("language", ["en-US", "EN", "fr", "", None])
def test_other_names_of_a_language_and_languages_that_are_not_told_apart(language):
    assert unreadable(GOOD, language, ReadabilityLimits()) is None


def test_filters_can_be_switched_off():
    free = ReadabilityLimits(None, None, True, None)
    for text in ("word " * 400, "```code```", "也 and this"):
        assert unreadable(f"<think>{text}</think><answer>7</answer>", "en", free) is None


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("72", "72"), ("72", "71"), ("\\frac{1}{2}", "0.5"), ("x = 5", "5"), ("The answer is 5.", "5"),
        ("$18", "18"), ("50%", "0.5"), ("(1, 2)", "(1,2)"), ("\\{1, 2\\}", "{2, 1}"), ("Monday", "Monday"),
        ("\\boxed{7}", "7"), ("It is \\boxed{7}.", "7"), ("1 hour 30 minutes", "1.5 hours"),
    ],
)  # fmt: skip
def test_r1_format_keeps_the_verdict_of_accuracy(answer, reference):
    accuracy = load_reward("accuracy").call
    before = f"<think>we count</think> <answer>{answer}</answer>"
    scores = [accuracy(RewardRow(text, answer=reference)).total for text in (before, r1_format(before))]
    assert scores[0] == scores[1] == float(reference != "71")


def test_r1_format_leaves_a_program_and_refuses_what_fits_into_no_box():
    program = "```python\nprint(7)\n```"
    assert r1_format(f"<think>a</think><answer>{program}</answer>").endswith(f"</think>\n\n{program}")
    for bad in ("first 7\nthen 8", "{1, 2"):
        with pytest.raises(ValueError, match="no box"):
            r1_format(f"<think>a</think><answer>{bad}</answer>")
