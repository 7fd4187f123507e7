"""Which option a sentence settles on, and sentences that settle on none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.math.choice import mcq
from rewards.rows import RewardRow

LETTERS = "ABCDEFGHIJ"
SETTLED = [
    ("I think the answer is C", "C"),
    ("I believe that the correct option is (D).", "D"),
    ("C is wrong, so the answer is F.", "F"),
    ("C is wrong so the answer is F", "F"),
    ("A and B are incorrect. Therefore, the answer is **E**.", "E"),
    ("Although D seems right, the answer is A", "A"),
    ("B is the correct answer.", "B"),
    ("A is not correct, but B is correct", "B"),
    ("Having ruled out A and C, I choose D", "D"),
    ("I would go with option B.", "B"),
    ("Option (C) is right", "C"),
    ("The answer isn't A; the answer is D.", "D"),
    ("A是错的，所以答案是D", "D"),
    ("我认为答案是B", "B"),
    ("A不对，应选C。", "C"),
    ("只有B是正确的", "B"),
    ("Since A is wrong the answer is B", "B"),
    ("My final answer: B", "B"),
    ("the answer must be J", "J"),
    ("I think the answer is $\\textbf{(C)}$", "C"),
    ("We can eliminate A, B and D. The answer is C.", "C"),
    ("I think it is C", "C"),
    ("It's C", "C"),
    ("So it must be C.", "C"),
    ("I think C", "C"),
    ("C, because the others are too large", "C"),
    ("The correct answer is (C) Boat", "C"),
    ("A is wrong, B is wrong, hence C", "C"),
    ("Not A. The answer is B.", "B"),
    ("The answer is C, not B.", "C"),
]
OPEN = [
    "The answer is A or C",
    "Not C",
    "I don't think the answer is C",
    "the answer is not C",
    "If x>0 the answer is C",
    "The answer is C or D",
    "Some say the answer is C",
    "C is wrong",
    "maybe the answer is C",
    "The answer might be C",
    "the answer could be C",
    "The answer is D. The answer is C",
    "I thought the answer is C",
    "The answer is C?",
    "It would be wrong to say the answer is C",
    "C is the correct answer? No.",
    "C is not correct",
    "C is correct, but so is D",
    "The answer is neither A nor C",
    "The answer is C and D",
    "C is right and D is right",
    "I doubt that the answer is C",
    "The answer is D, not C",
    "Either C or D, the answer is C",
    "The answer is anything but C",
    "D is correct. C",
    "C is incorrect",
    "the answer is C is false",
    "The answer is C is what he said",
    "The answer is D because C is wrong",
    "I would have said C",
    "not sure, C",
    "The answer is B, although C",
    "C is almost right",
]
"""None of these settles on C."""


def score(text: str, answer: str, **columns: object) -> float | None:
    return mcq(RewardRow(f"<think>A</think><answer>{text}</answer>", answer=answer, columns=columns)).total


@pytest.mark.parametrize(("text", "letter"), SETTLED)
def test_a_sentence_settles_on_one_letter(text: str, letter: str) -> None:
    assert [other for other in LETTERS if score(text, other)] == [letter]


@pytest.mark.parametrize("text", OPEN)
def test_a_sentence_that_hedges_denies_or_quotes_settles_on_nothing(text: str) -> None:
    assert score(text, "C") == 0.0


LEADS = st.sampled_from(
    ["I think the answer is {}", "the correct answer is ({})", "option {} is correct.", "I choose **{}**",
     "My answer: {}.", "it must be {}", "答案是{}", "I believe that the best choice is {}."]
)  # fmt: skip
ASIDES = st.sampled_from(
    ["", "{} is wrong, ", "Although {} looks right, ", "{} 不对，", "It cannot be {}. ", "{} is too small; "]
)
TAKEN_BACK = st.sampled_from(
    [
        "{} or {other}",
        "Not {}",
        "maybe {}",
        "It is false that {}",
        "If x = 1, {}",
        "{}?",
        "They say {}",
        "I doubt {}",
    ]
)


@given(LEADS, ASIDES, st.sampled_from(LETTERS), st.sampled_from(LETTERS))
def test_the_settled_letter_counts_and_no_other(lead: str, aside: str, letter: str, other: str) -> None:
    text = aside.format(other) + lead.format(letter)
    assert [found for found in LETTERS if score(text, found)] == [letter], text


@given(LEADS, TAKEN_BACK, st.sampled_from(LETTERS), st.sampled_from(LETTERS))
def test_what_is_taken_back_is_no_choice(lead: str, frame: str, letter: str, other: str) -> None:
    if letter != other:
        text = frame.format(lead.format(letter).rstrip("."), other=other)
        assert score(text, letter) == 0.0, text


@given(LEADS, LEADS, st.sampled_from(LETTERS), st.sampled_from(LETTERS))
def test_two_conclusions_are_none(first: str, second: str, a: str, b: str) -> None:
    if a != b:
        text = f"{first.format(a)}. {second.format(b)}"
        assert [letter for letter in (a, b) if score(text, letter)] == [], text


def test_the_text_of_an_option() -> None:
    choices = ["Oslo", "Lima", "Bern"]
    assert score("I think the answer is Lima.", "B", choices=choices) == 1.0
    assert score("Oslo is wrong, so the answer is Bern", "C", choices=choices) == 1.0
    assert score("Oslo is wrong, so the answer is Bern", "A", choices=choices) == 0.0
    assert score("The answer is (B) Lima", "B", choices=choices) == 1.0
    assert score("The answer is (B) Oslo", "B", choices=choices) == 0.0
    assert score("The answer is Lima or Bern", "B", choices=choices) == 0.0
    assert score("The answer is E", "E", choices=choices) == 0.0
