from collections import Counter
from math import sqrt

import pytest

from data_recipes.templates import R1_ZERO
from data_recipes.worlds.chain.corpus import (
    LEAP_RIGHT,
    PLAIN,
    SOLVED_LENGTHS,
    STYLES,
    TEMPLATE_SHARE,
    UNSOLVED_LENGTHS,
    Document,
    documents,
    reply_in_steps,
)
from data_recipes.worlds.chain.problems import distinct_problems, is_reserved

COUNT = 12_000
LONGEST_SOLVED = max(SOLVED_LENGTHS)


@pytest.fixture(scope="module")
def corpus() -> list[Document]:
    return documents(seed=17, batch=0, count=COUNT)


def reply(document: Document) -> str:
    head, _, rest = document.text.rpartition("Assistant:")
    assert head.startswith(R1_ZERO.partition("{prompt}")[0])
    return rest


def test_shares_of_the_styles(corpus: list[Document]) -> None:
    assert sum(STYLES.values()) == pytest.approx(1)
    assert sum(PLAIN.values()) == pytest.approx(1)
    counts = Counter(d.kind for d in corpus)
    expected = {k: TEMPLATE_SHARE * v for k, v in STYLES.items()}
    expected |= {k: (1 - TEMPLATE_SHARE) * v for k, v in PLAIN.items()}
    assert counts.keys() == expected.keys()
    for kind, share in expected.items():
        assert counts[kind] / COUNT == pytest.approx(share, abs=4 * sqrt(share / COUNT)), kind


def test_no_reserved_window_stands_anywhere_in_the_corpus(corpus: list[Document]) -> None:
    found = 0
    for document in corpus:
        parts = document.text.replace(".", " .").replace("\n", " ").split()
        for a, o, b, p, c in zip(*(parts[i:] for i in range(5)), strict=False):
            if a.isdigit() and b.isdigit() and c.isdigit() and o in "+-*" and p in "+-*":
                found += 1
                assert not is_reserved(int(a), o, int(b), p, int(c)), document.text
    assert found > COUNT / 2


def test_no_held_out_question_stands_in_the_corpus(corpus: list[Document]) -> None:
    text = "\n".join(d.text for d in corpus)
    for problem in distinct_problems(seed=0, split="held-out", lengths=range(2, 8), count=600):
        assert problem.text not in text


def test_longer_chains_are_never_solved(corpus: list[Document]) -> None:
    lengths = Counter()
    for document in corpus:
        if document.problem is None:
            continue
        if document.problem.k > LONGEST_SOLVED:
            assert document.kind in ("leap", "guess", "bare", "off_topic")
            lengths[document.problem.k] += 1
            assert reply(document).count("=") <= LONGEST_SOLVED
    assert set(lengths) == set(UNSOLVED_LENGTHS)


def test_leaps_of_longer_chains_are_right_by_chance_alone(corpus: list[Document]) -> None:
    right = {True: [], False: []}
    for document in corpus:
        if document.kind == "leap" and document.problem is not None:
            is_right = document.text.endswith(f"<answer> {document.problem.answer} </answer>")
            right[document.problem.k > LONGEST_SOLVED].append(is_right)
    for is_long, expected in ((True, 0.1), (False, LEAP_RIGHT + (1 - LEAP_RIGHT) / 10)):
        share = sum(right[is_long]) / len(right[is_long])
        assert share == pytest.approx(expected, abs=4 * sqrt(expected / len(right[is_long])))


def test_the_good_style_is_right_and_well_formed(corpus: list[Document]) -> None:
    good = [d for d in corpus if d.kind == "steps"]
    assert good
    for document in good:
        assert document.problem is not None
        assert reply(document) == reply_in_steps(document.problem)
        assert reply(document).endswith(f"</think> <answer> {document.problem.answer} </answer>")


def test_broken_replies_hold_no_answer_that_counts(corpus: list[Document]) -> None:
    from rewards.text.extract import answer_text

    for document in corpus:
        if document.kind in ("broken", "no_tags", "bare", "off_topic"):
            assert not answer_text(reply(document)), document.text


def test_a_batch_is_a_function_of_seed_and_number() -> None:
    assert documents(1, 7, 20) == documents(1, 7, 20)
    assert documents(1, 7, 20) != documents(1, 8, 20)
    assert documents(1, 7, 20) != documents(2, 7, 20)


def test_about_a_fifth_of_the_template_replies_is_right(corpus: list[Document]) -> None:
    """The base's pass@1 cannot be far above this share of its corpus."""
    from rewards.text.extract import answer_text

    asked = [
        d for d in corpus if d.kind in STYLES and d.problem is not None and d.problem.k <= LONGEST_SOLVED
    ]
    right = sum((answer_text(reply(d)) or "").strip() == f"{d.problem.answer}" for d in asked if d.problem)
    assert 0.15 <= right / len(asked) <= 0.27
