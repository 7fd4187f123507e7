"""Rows of public data sets become the project's rows; a row that lacks or spoils a field is named by it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from data_recipes.builders.formats.built import Built, LeftOut
from data_recipes.builders.formats.language import language_of
from data_recipes.builders.formats.registry import FORMATS
from data_recipes.errors import DataError
from tests.data_recipes.builders.public_rows import ROWS, packed


def convert(name: str, row: dict[str, Any]) -> Built:
    return FORMATS[name].convert("rows.jsonl, line 7", row)


def changed(name: str, **fields: object) -> dict[str, Any]:
    row = copy.deepcopy(ROWS[name][0])
    for key, value in fields.items():
        if value is ...:
            del row[key]
        else:
            row[key] = value
    return row


def test_every_format_has_a_row_here() -> None:
    assert set(ROWS) == set(FORMATS)


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_public_row_is_converted(name: str) -> None:
    row, expected = ROWS[name]
    built = convert(name, row)
    assert {key: getattr(built, key) for key in expected} == expected
    assert built.kind in FORMATS[name].kinds
    assert built.question.strip()
    assert (built.completion is not None) == FORMATS[name].has_reply


@pytest.mark.parametrize(
    ("name", "fields", "found"),
    [
        ("math", {"problem": ...}, "no field 'problem'"),
        ("math", {"problem": " "}, "problem = ' '"),
        ("math", {"solution": "It is five."}, r"solution has no \\boxed"),
        ("gsm8k", {"answer": "It is 1080."}, "answer = 'It is 1080.'; expected a last line ####"),
        ("aime", {"Answer": "1000"}, "Answer = '1000'; expected a whole number from 0 to 999"),
        ("aime", {"Answer": 2.5}, "Answer = 2.5"),
        ("verl", {"prompt": [{"role": "system", "content": "x"}]}, "prompt = "),
        ("questions", {"answer": float("nan")}, "answer = nan"),
        ("questions", {"answer": True}, "answer = True"),
        ("cluewsc", {"label": True}, "label = True"),
        ("cluewsc", {"target": {"span1_text": "a"}}, "no field 'target.span2_text'"),
        ("mmlu", {"answer": 4}, "answer = 4; expected a letter up to D or an index below 4"),
        ("mmlu", {"choices": ["a", "a", "b", "c"]}, "two options are the same"),
        ("mmlu", {"choices": "abcd"}, "choices = 'abcd'; expected a list of texts"),
        ("arc", {"answerKey": "E"}, "answerKey = 'E'"),
        ("medmcqa", {"cop": -1}, "cop = -1"),
        ("ceval", {"answer": "E"}, "answer = 'E'"),
        ("apps", {"input_output": "{"}, "input_output = '{': not JSON"),
        ("apps", {"input_output": '{"inputs": ["1"], "outputs": []}'}, "the tests cannot be used"),
        ("livecodebench", {"contest_date": "soon"}, "contest_date = 'soon'"),
        ("livecodebench", {"private_test_cases": "eJzzzz"}, "private_test_cases"),
        (
            "code-contests",
            {"public_tests": {"input": ["1"], "output": []}},
            "public_tests: expected input and",
        ),
        ("mbpp", {"test_list": []}, r"test_list = \[\]"),
        ("humaneval", {"test": ...}, "no field 'test'"),
        ("arena-hard", {"turns": []}, r"turns = \[\]"),
        ("chats", {"conversation": [{"role": "assistant", "content": "x"}]}, "no message of the user"),
        ("messages", {"messages": [{"role": "user", "content": "x"}]}, "does not end with a reply"),
        ("translations", {"translation": {"en": "x"}}, "no field 'zh'"),
        ("alpaca", {"output": None}, "output = None"),
    ],
)
def test_a_bad_row_is_named_by_its_field(name: str, fields: dict[str, object], found: str) -> None:
    with pytest.raises(DataError, match=f"^rows.jsonl, line 7: .*{found}"):
        convert(name, changed(name, **fields))


@pytest.mark.parametrize(
    ("name", "fields", "rule"),
    [
        ("numina", {"question_type": "proof"}, "proof"),
        ("numina", {"answer": "proof"}, "no_answer"),
        ("numina", {"answer": None}, "no_answer"),
        ("numina", {"question_type": "MCQ"}, "multiple_choice"),
        ("numina", {"problem_is_valid": "Incomplete"}, "invalid"),
        ("numina", {"problem": "证明：根号二是无理数。"}, "proof"),
        ("questions", {"problem": "Prove that 2 is prime."}, "proof"),
        ("apps", {"picture_num": "2"}, "picture"),
        ("apps", {"input_output": ""}, "no_tests"),
        ("code-contests", {"input_file": "in.txt"}, "file_input"),
        ("code-contests", {"public_tests": {"input": [], "output": []}, "generated_tests": ...}, "no_tests"),
        ("built", {"tests": ...}, "no_tests"),
        ("chats", {"toxic": True}, "flagged"),
        ("chats", {"openai_moderation": [{"flagged": True}]}, "flagged"),
    ],
)
def test_a_rule_leaves_a_sound_row_out(name: str, fields: dict[str, object], rule: str) -> None:
    with pytest.raises(LeftOut, match=f"^{rule}$"):
        convert(name, changed(name, **fields))


def test_the_letter_names_the_right_option_wherever_it_stands() -> None:
    places = set()
    for number in range(40):
        built = convert("gpqa", changed("gpqa", Question=f"What does catalyst {number} lower?"))
        assert built.answer is not None
        assert built.choices["ABCD".index(built.answer)] == "the activation energy"
        assert f"{built.answer}. the activation energy" in built.question
        places.add(built.answer)
    assert places == set("ABCD")


def test_the_tests_of_both_columns_of_livecodebench_are_kept() -> None:
    built = convert("livecodebench", ROWS["livecodebench"][0])
    assert built.tests is not None
    assert '"input": "2"' in built.tests
    assert '"input": "5"' in built.tests
    with pytest.raises(DataError, match="the tests cannot be used"):
        convert(
            "livecodebench",
            changed(
                "livecodebench",
                private_test_cases=packed([{"input": "x", "output": "1", "testtype": "stdin"}]),
            ),
        )


def test_a_conversation_keeps_what_was_said_before_and_ends_with_the_question() -> None:
    built = convert("messages", ROWS["messages"][0])
    assert [(m.role, m.content) for m in built.messages] == [
        ("system", "You are Clippy."),
        ("user", "Hello"),
        ("assistant", "Hi, how can I help?"),
        ("user", "Who are you?"),
    ]
    assert [m.role for m in convert("helpsteer", ROWS["helpsteer"][0]).messages] == [
        "user",
        "assistant",
        "user",
    ]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("If $x = 3$, what is $x^2$?", "en"),
        ("求函数 $f(x) = \\sin x + \\cos x$ 的最大值。", "zh"),
        ("小明有3个 apple，又买了5个，一共几个？", "zh"),
        ("Translate 你好 into English for me, please.", "en"),
        ("Сколько будет два плюс два?", None),
        ("これはいくつですか。", None),
        ("$\\alpha + \\beta = \\gamma$ and α + β; find the sum of the angles", "en"),
        ("1 + 1 = ?", None),
    ],
)
def test_the_language_of_a_text_is_found_by_its_script(text: str, language: str | None) -> None:
    assert language_of(text) == language
