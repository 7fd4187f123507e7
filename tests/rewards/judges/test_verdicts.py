"""Verdicts are read strictly: the right one, or none; never a guess."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.judges.verdicts import LABELS, Unreadable, read_number, read_preference, read_word

WORDS = ("correct", "incorrect")
texts = st.lists(st.sampled_from(["<think>", "</think>"]) | st.text(max_size=60), max_size=4).map("".join)
"""Includes quotes, braces, escapes and the tags of a thought."""
prose = st.text(st.characters(exclude_characters='{}"[]<>', exclude_categories=["Cs"]), max_size=80)


def word(text: str) -> str:
    return read_word(text, "correctness", WORDS)


@given(texts, st.sampled_from(WORDS), prose, prose, st.booleans())
def test_any_analysis_that_is_json_leaves_the_verdict_what_it_is(
    analysis: str, verdict: str, before: str, after: str, ascii_: bool
) -> None:
    reply = json.dumps({"analysis": analysis, "correctness": verdict}, ensure_ascii=ascii_)
    assert word(f"{before}{reply}{after}") == verdict
    assert word(f"<think>{analysis}</think>{before}\n```json\n{reply}\n```\n{after}") == verdict


@given(st.text(st.sampled_from('{}":,\\ ab[]1correctness'), max_size=60), st.sampled_from(WORDS))
def test_no_text_beside_a_verdict_turns_it_round(noise: str, verdict: str) -> None:
    reply = json.dumps({"correctness": verdict})
    for text in (noise + reply, reply + noise):
        with contextlib.suppress(Unreadable):
            assert word(text) == verdict


@given(texts)
def test_text_without_the_key_has_no_verdict(text: str) -> None:
    with pytest.raises(Unreadable):
        word(text)


@pytest.mark.parametrize(
    "text",
    [
        r'{"analysis": "\frac{1}{2} = 0.5, \boxed{3} and \(x\)", "correctness": "correct"}',
        '{"analysis": "two\nlines", "correctness": " Correct "}',
        '{"correctness": "correct"} and again {"correctness": "correct"}',
        '<think>{"correctness": "incorrect"}</think>{"correctness": "correct"}',
        '{"analysis": "he wrote {\\"correctness\\": \\"incorrect\\"}", "correctness": "correct"}',
        '{"analysis": "no text behind </think>, which <think> opens", "correctness": "correct"}',
        '<think>he wrote {"a": "</think>", "correctness": "incorrect"}</think>{"correctness": "correct"}',
    ],
)
def test_verdicts_as_models_write_them(text: str) -> None:
    assert word(text) == "correct"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON object"),
        ("It is correct.", "no JSON object"),
        ('{"correctness": "correct"', "broken"),
        ('{"analysis": "he wrote {"correctness": "correct"}", "correctness": "incorrect"}', "broken"),
        ('{"correctness": "correct"} no: {"correctness": "incorrect"}', "differ"),
        ('{"correctness": "mostly correct"}', "not one of"),
        ('{"correctness": true}', "not one of"),
        ('{"correctness": null}', "not one of"),
        ('{"correctness": ["correct"]}', "not one of"),
        ('{"verdict": {"correctness": "correct"}}', "no JSON object"),
        ('<think>{"correctness": "correct"}', "no JSON object"),
        ('<think>he wrote {"a": "</think>", "correctness": "correct"}', "no JSON object"),
        ("{" * 30_000, "no JSON object"),
        ('{"a":' * 9_000, "no JSON object"),
    ],
)
def test_what_is_no_verdict(text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        word(text)


@given(st.integers(1, 10) | st.floats(1, 10), texts)
def test_grades_are_read_as_they_are(grade: float, analysis: str) -> None:
    assert read_number(json.dumps({"analysis": analysis, "score": grade}), "score", 1, 10) == grade


@pytest.mark.parametrize("value", ["0", "11", "NaN", "Infinity", "true", '"7"', "null", "[7]", "1e999"])
def test_what_is_no_grade(value: str) -> None:
    with pytest.raises(Unreadable):
        read_number(f'{{"score": {value}}}', "score", 1, 10)


@given(prose, st.sampled_from(sorted(LABELS)), prose)
def test_the_label_is_read_wherever_it_stands(before: str, label: str, after: str) -> None:
    assert read_preference(f"{before}[[{label}]]{after}") == LABELS[label]
    assert read_preference(f"{before}[[ {label.replace('>>', '≫')} ]]{after}") == LABELS[label]
    assert (
        read_preference(f"<think>[[A=B]] [[A>B]]</think>{before}[[{label}]] {after}[[{label}]]")
        == LABELS[label]
    )


@pytest.mark.parametrize(
    "text", ["", "A>B", "[A>B]", "[[A>>>B]]", "[[A<B]]", "[[A>B]] or [[B>A]]", "[[C>A]]"]
)
def test_what_is_no_label(text: str) -> None:
    with pytest.raises(Unreadable):
        read_preference(text)


def test_swapped_labels_are_opposite() -> None:
    swapped = str.maketrans("AB", "BA")
    assert {label: -LABELS[label.translate(swapped)] for label in LABELS if "=" not in label} == {
        label: value for label, value in LABELS.items() if "=" not in label
    }
