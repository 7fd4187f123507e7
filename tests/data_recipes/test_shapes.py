"""The shape of rows is recognised from the rows alone: whatever the order of keys, further columns, Arrow's nulls."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes.errors import DataError
from data_recipes.fields import MISSING, field, look_up
from data_recipes.shapes import OWN_KEYS, SHAPES, Task, recognise

CHAT = [{"role": "user", "content": "7 * 4?"}]
REPLY = [{"role": "assistant", "content": "28"}]
TURNS = [{"from": "human", "value": "7 * 4?"}, {"from": "gpt", "value": "28"}]
VERL = {
    "data_source": "openai/gsm8k",
    "prompt": CHAT,
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "28"},
    "extra_info": {"split": "train", "index": 0},
}
KNOWN: dict[str, tuple[Task, dict[str, Any], dict[str, str]]] = {
    "verl": ("prompts", VERL, {"prompt": "prompt", "answer": "reward_model.ground_truth"}),
    "TRL prompt": ("prompts", {"prompt": "q"}, {"prompt": "prompt"}),
    "TRL prompt as messages": (
        "prompts", {"prompt": CHAT, "solution": "28"}, {"prompt": "prompt", "answer": "solution"}
    ),
    "TRL completion for RL": (
        "prompts", {"prompt": CHAT, "completion": REPLY}, {"prompt": "prompt", "answer": "completion"}
    ),
    "TRL prompt and completion": (
        "examples", {"prompt": "q", "completion": "a"}, {"prompt": "prompt", "completion": "completion"}
    ),
    "TRL conversational completion": (
        "examples", {"prompt": CHAT, "completion": REPLY}, {"prompt": "prompt", "completion": "completion"}
    ),
    "messages": ("examples", {"messages": CHAT + REPLY}, {"messages": "messages"}),
    "OpenAI with tools": ("examples", {"messages": CHAT + REPLY, "tools": []}, {"messages": "messages"}),
    "messages for RL": ("prompts", {"messages": CHAT + REPLY}, {"prompt": "messages"}),
    "ShareGPT": ("examples", {"conversations": TURNS}, {"messages": "conversations"}),
    "ShareGPT for RL": ("prompts", {"conversations": TURNS}, {"prompt": "conversations"}),
    "Alpaca": (
        "examples",
        {"instruction": "i", "input": "", "output": "o"},
        {"prompt": "instruction", "context": "input", "completion": "output"},
    ),
    "Alpaca for RL": (
        "prompts",
        {"instruction": "i", "input": "x", "output": "o"},
        {"prompt": "instruction", "context": "input", "answer": "output"},
    ),
    "question and answer": (
        "prompts", {"question": "q", "answer": "a"}, {"prompt": "question", "answer": "answer"}
    ),
    "answer before solution": (
        "prompts",
        {"problem": "q", "solution": "long", "answer": 28},
        {"prompt": "problem", "answer": "answer"},
    ),
    "question to learn": (
        "examples", {"question": "q", "answer": "a"}, {"prompt": "question", "completion": "answer"}
    ),
    "what grpo sample writes, for RL": (
        "prompts",
        {"prompt": "User: q", "question": "q", "completion": "c", "answer": "a"},
        {"prompt": "question", "answer": "answer"},
    ),
    "what grpo curate writes, for SFT": (
        "examples",
        {"prompt": "User: q", "question": "q", "completion": "c", "prefill": None},
        {"prompt": "prompt", "completion": "completion"},
    ),
    "pairs": (
        "pairs",
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"chosen": "chosen", "rejected": "rejected", "prompt": "prompt"},
    ),
    "pairs of conversations": (
        "pairs", {"chosen": CHAT + REPLY, "rejected": CHAT + REPLY}, {"chosen": "chosen", "rejected": "rejected"}
    ),
    "labels": (
        "labels",
        {"prompt": CHAT, "completion": REPLY, "label": True},
        {"prompt": "prompt", "completion": "completion", "label": "label"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("task", "row", "fields"), KNOWN.values(), ids=KNOWN.keys())
@given(data=st.data())
def test_known_rows_are_recognised_whatever_stands_around_them(
    task: Task, row: dict[str, Any], fields: dict[str, str], data: st.DataObject
) -> None:
    extra = data.draw(
        st.dictionaries(
            st.sampled_from(["id", "source", "level", "subject", "split", "score", "data_id", "url"]),
            st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text()), st.just({"x": None})),
        )
    )
    items = list((row | extra).items())
    data.draw(st.randoms(use_true_random=False)).shuffle(items)
    nulls = dict.fromkeys(row | extra)  # a row of another kind in the same Arrow table
    rows = [nulls] * data.draw(st.integers(0, 3)) + [dict(items)]
    assert recognise(task, rows, {}).fields == fields


def test_the_order_of_the_table_decides_nothing() -> None:
    """Every shape has rows that it alone fits, so the first one does not hide another."""
    for task, row, fields in KNOWN.values():
        shuffled = list(SHAPES)
        random.Random(7).shuffle(shuffled)
        assert recognise(task, [row], {}, shapes=shuffled).fields == fields


AMBIGUOUS: list[tuple[Task, dict[str, Any], str]] = [
    ("prompts", {"prompt": "p", "question": "q"}, r'prompt, question; set prompt_field = "prompt" .*"question"'),
    ("prompts", {"prompt": CHAT, "messages": CHAT}, r'"prompt" .* or prompt_field = "messages"'),
    ("examples", {"prompt": "p", "completion": "c", "messages": CHAT}, r'prompt_field = "prompt".*messages_field = "m'),
    ("examples", {"problem": "p", "solution": "s", "answer": "a"}, r'completion_field = "answer" or completion_f'),
    ("prompts", {"problem": "p", "solution": "s", "target": "a"}, r'answer_field = "solution" or answer_field = "ta'),
    ("examples", {"conversations": TURNS, "messages": CHAT}, r'"messages" .* or messages_field = "conversations"'),
]  # fmt: skip


@pytest.mark.parametrize(("task", "row", "message"), AMBIGUOUS, ids=[m for _, _, m in AMBIGUOUS])
def test_two_ways_to_read_rows_are_an_error_that_names_the_keys(
    task: Task, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=rf"a\.jsonl: .*{message}"):
        recognise(task, [row], {}, "a.jsonl")


@pytest.mark.parametrize(("task", "row", "fields"), KNOWN.values(), ids=KNOWN.keys())
def test_keys_of_the_recipe_win(task: Task, row: dict[str, Any], fields: dict[str, str]) -> None:
    first = next(iter(fields))
    layout = recognise(task, [row | {"mine": "text"}], {first: "mine"})
    assert layout.fields[first] == "mine"
    if first in ("prompt", "messages"):
        assert layout.shape == OWN_KEYS


def test_an_answer_that_is_not_wanted_is_not_looked_for() -> None:
    rows = [{"problem": "p", "solution": "s", "target": "a"}]
    assert recognise("prompts", rows, {}, without=["answer"]).fields == {"prompt": "problem"}


def test_unknown_rows_name_their_fields_and_the_keys() -> None:
    with pytest.raises(DataError, match=r"a\.jsonl: .*fields text, meta: set prompt_field and answer_field"):
        recognise("prompts", [{"text": "x", "meta": {}}], {}, "a.jsonl")


def test_fields_have_dotted_names() -> None:
    row = {"a": {"b": [{"c": 1}], "d.e": 2}, "a.b": 3, "n": None}
    assert look_up(row, "a.b") == 3, "a name with a dot of its own comes first"
    assert look_up(row, "a.d.e") == 2
    assert look_up({"a": {"b": [{"c": 1}]}}, "a.b.0.c") == 1
    assert look_up(row, "n") is None
    for name in ("b", "a.x", "a.b.0", "n.x", "a.d.e.f"):
        assert look_up({"a": {"b": 1, "d.e": 2}, "n": None}, name) is (1 if name == "a.b" else MISSING)
    with pytest.raises(
        DataError, match=r"line 3: no field 'reward_model.truth'; .*did you mean reward_model\."
    ):
        field("a.jsonl, line 3", VERL, "answer_field", "reward_model.truth")
