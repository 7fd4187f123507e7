"""mcq, language_consistency, overlong, repetition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.math.choice import mcq
from rewards.rows import RewardRow
from rewards.text.language import language_consistency, word_counts
from rewards.text.length import overlong, soft_punishment
from rewards.text.repetition import repeated_share, repetition


@pytest.mark.parametrize(
    ("answer", "reference", "value"),
    [
        ("B", "B", 1), ("(B)", "B", 1), ("b", "B", 1), ("B.", "(B)", 1), (r"\text{B}", "B", 1), (r"\boxed{B}", "B", 1),
        ("**B**", "B", 1),
        ("The answer is B", "B", 1), ("Option B", "B", 1), ("答案：B", "B", 1), ("选B", "B", 1), ("$B$", "B", 1),
        ("Ｂ", "B", 1),
        ("B. Paris", "B", 1), ("C", "B", 0), ("A or B", "B", 0), ("A, B", "B", 0), ("AB", "B", 0), ("B. or C.", "B", 0),
        ("not B", "B", 0),
        (r"\boxed{A}\boxed{B}", "B", 0), (r"\boxed{A}\boxed{B}", "A", 0),
        ("A, C", "AC", 1), ("C and A", ["A", "C"], 1), ("A", "AC", 0), ("", "B", 0),
        ("A B C D", "B", 0),
        (r"not \boxed{B}", "B", 0), (r"\boxed{B} is not right", "B", 0), ("AC.", "AC", 1), ("(A)(C)", "AC", 1),
        ("选择B", "B", 1),
        ("Because", "B", 0), ("B" * 3000, "B", 0), ("a banana", "A", 0),
    ],
)  # fmt: skip
def test_mcq(answer, reference, value):
    assert mcq(RewardRow(f"<answer>{answer}</answer>", answer=reference)).total == value


@pytest.mark.parametrize(
    ("answer", "reference", "value"),
    [
        ("Paris", "B", 1),
        ("B. Paris", "B", 1),
        ("B. London", "B", 0),
        ("B - Paris", "B", 1),
        ("B - London", "B", 0),
        ("B", "Paris", 1),
        ("B", 1, 1),
        ("Rome", "B", 0),
        ("D", "B", 0),
    ],
)
def test_mcq_with_choices(answer, reference, value):
    row = RewardRow(
        f"<answer>{answer}</answer>", answer=reference, columns={"choices": ["London", "Paris", "Oslo"]}
    )
    assert mcq(row).total == value


@pytest.mark.parametrize(
    ("reference", "verdict"), [(None, "abstain"), ("zebra", "error"), (7, "error"), (True, "error")]
)
def test_mcq_reference_that_names_no_option(reference, verdict):
    assert mcq(RewardRow("<answer>B</answer>", answer=reference)).verdict == verdict


def test_mcq_without_answer_is_zero():
    assert mcq(RewardRow("I think B", answer="B")).total == 0.0


def _language(text, language):
    return language_consistency(RewardRow(text, columns={"language": language}))


@pytest.mark.parametrize(
    ("reasoning", "language", "share"),
    [
        ("We add the numbers", "en", 1.0),
        ("We add the numbers", "zh", 0.0),
        ("我们相加", "zh", 1.0),
        ("我们 compute 这个", "zh", 4 / 5),
        ("我们 compute 这个", "en", 1 / 5),
        ("1 + 2 = 3, so x = $\\frac{alpha}{beta}$ fine", "en", 1.0),
        ("所以 \\(x \\text{ is good}\\) 等于 \\frac{abc}{def} 三", "zh", 1.0),
        ("看代码 ```python\nprint(word)\n``` 和 `inline code` 完", "zh", 1.0),
        ("\\begin{align}words here\\end{align} 结束", "zh", 1.0),
        ("見て the これ", "en", 1 / 5),
        ("слово word", "en", 0.5),
        ("cost is $5 today", "en", 1.0),
        ("don't stop", "en", 1.0),
        ("设 x 等于 y", "zh", 1.0),
        ("设 α 等于 β", "zh", 1.0),  # a Greek letter alone is a variable
        ("λόγος word", "en", 0.5),
        ("we用numbers算", "en", 0.5),  # glued, and parted where the script changes
        ("Let us 计算 the sum", "en", 4 / 6),
        ("Let us 计算 the sum", "zh", 2 / 6),
        ("ＦＵＬＬ width", "en", 1.0),
        ("re\u0301sume\u0301 writing", "en", 1.0),  # two words, not three
        ("مرحبا hello", "en", 0.5),
        ("안녕 세계 hello", "en", 1 / 3),
        ("🙂 words 🙂", "en", 1.0),
    ],
)
def test_language_share(reasoning, language, share):
    assert _language(f"<think>{reasoning}</think><answer>无 none</answer>", language).total == pytest.approx(
        share
    )


def test_language_reads_only_the_reasoning():
    assert _language("<think>good words</think>这里是中文", "en").total == 1.0


@pytest.mark.parametrize("language", [None, "", "fr", 3])
def test_language_without_target_abstains(language):
    assert _language("<think>words</think>", language).verdict == "abstain"


def test_language_variants_of_the_code_are_understood():
    assert (
        _language("<think>字</think>", "zh-CN").total
        == _language("<think>word</think>", "en_US").total
        == 1.0
    )


@pytest.mark.parametrize(
    "text", ["no tags at all", "<think></think>", "<think>1 + 2 = 3</think>", "<think>$words$</think>"]
)
def test_language_of_nothing_is_zero(text):
    score = _language(text, "en")
    assert (score.total, score.verdict) == (0.0, "ok")
    assert score.reason


@given(st.lists(st.sampled_from(["word", "another", "字", "词"]), min_size=1, max_size=30))
def test_language_counts_agree_with_a_plain_count(words):
    counts = word_counts(" ".join(words))
    assert counts == {
        "en": sum(w.isascii() for w in words),
        "zh": sum(not w.isascii() for w in words),
        "other": 0,
    }


@pytest.mark.parametrize(
    "unit", ["$", "`", "\\(", "\\[", "\\begin{align}", "```", "\\frac{", "$$", "http://"]
)
def test_language_of_unclosed_markup_is_linear(unit):
    assert _language("<think>" + unit * (200_000 // len(unit)) + "</think>", "en").verdict == "ok"


@pytest.mark.parametrize(
    ("length", "value"), [(0, 0), (80, 0), (81, -0.05), (90, -0.5), (100, -1.0), (101, -1.0), (1000, -1.0)]
)
def test_soft_punishment_is_dapo_equation_13(length, value):
    assert soft_punishment(length, max_tokens=100, cache_tokens=20) == pytest.approx(value)


def test_overlong_counts_tokens_and_abstains_without_them():
    row = RewardRow("x", completion_ids=np.zeros(90, dtype=np.int32))
    assert overlong(row, max_tokens=100, cache_tokens=20).total == -0.5
    assert overlong(RewardRow("x"), max_tokens=100, cache_tokens=20).verdict == "abstain"
    assert overlong(row, max_tokens=10, cache_tokens=20).verdict == "error"


def test_repetition_by_hand():
    # bigrams of "a b a b a": ab ba ab ba -> 2 distinct of 4
    assert repetition(RewardRow("a b a b a"), ngram=2).total == -0.5
    assert repetition(RewardRow("a b a b a"), ngram=2, max_penalty=2.0).total == -1.0
    assert repetition(RewardRow("short"), ngram=4).total == 0.0
    assert repetition(RewardRow("好好好好"), ngram=1).total == -0.75


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 4))
def test_repeated_share_lies_between_zero_and_one_and_is_zero_only_without_repeats(words, ngram):
    share = repeated_share(" ".join(words), ngram)
    grams = [tuple(words[i : i + ngram]) for i in range(len(words) - ngram + 1)]
    assert 0.0 <= share < 1.0
    assert (share == 0.0) == (len(set(grams)) == len(grams))
