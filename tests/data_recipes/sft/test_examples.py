"""Rows to SFT examples: what is learnt, behind which prompt, and what becomes of rows that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_recipes.config import DatasetConfig
from data_recipes.errors import DataError
from data_recipes.prompts.datasets import load_prompts
from data_recipes.sft.config import SftSource
from data_recipes.sft.examples import (
    Example,
    encode_prompt,
    join_turns,
    read_examples,
    turn_end,
    without_opened_think,
)
from policies.tokenizer import Tokenizer, load_tokenizer
from tests.policies.tiny import CHAT_TEMPLATE, write_tokenizer

R1_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ 'U:' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}{{ 'A:' + m['content'].split('</think>')[-1] + eos_token }}"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'A:<think>\n' }}{% endif %}"
)
"""Like DeepSeek-R1's: drops reasoning from earlier turns, opens `<think>` for the next."""


def tokenizer_with(folder: Path, template: str | None) -> Tokenizer:
    return load_tokenizer(write_tokenizer(folder, chat_template=template))


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer_with(tmp_path_factory.mktemp("chat"), CHAT_TEMPLATE)


@pytest.fixture(scope="module")
def r1(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer_with(tmp_path_factory.mktemp("r1"), R1_TEMPLATE)


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def read(path: Path, tokenizer: Tokenizer, max_tokens: int = 1000, **keys: Any) -> list[Example]:
    return read_examples(SftSource(source=str(path), **keys), tokenizer, max_tokens)[0]


def shown(tokenizer: Tokenizer, example: Example) -> list[tuple[bool, str]]:
    """Runs of (learnt, text)."""
    runs: list[tuple[bool, list[int]]] = []
    for token, learnt in zip(example.token_ids.tolist(), example.is_target.tolist(), strict=True):
        if not runs or runs[-1][0] != learnt:
            runs.append((learnt, []))
        runs[-1][1].append(token)
    return [(learnt, tokenizer.decode(ids, skip_special=False)) for learnt, ids in runs]


def test_rendered_prompts_are_the_default(tmp_path: Path, tiny_tokenizer: Tokenizer) -> None:
    """What `grpo curate` writes is read without a key but the source."""
    questions = write(tmp_path / "q.jsonl", [{"question": "7 * 4", "answer": "8"}])
    (prompt,) = load_prompts(DatasetConfig(source=str(questions)), tiny_tokenizer)
    completion = " <think> 7 * 4 = 8 </think> <answer> 8 </answer>"
    row = {"id": "a", "prompt": prompt.text, "completion": completion, "kind": "math", "score": 1.0}
    (example,) = read(write(tmp_path / "a.jsonl", [row]), tiny_tokenizer)
    size = len(prompt.token_ids)
    assert (
        tuple(example.token_ids[:size]) == prompt.token_ids
    )  # as the rollout reads it, begin token included
    assert example.token_ids[size:].tolist() == [
        *tiny_tokenizer.encode(completion),
        tiny_tokenizer.eos_id,
    ]
    assert example.is_target.tolist() == [False] * size + [True] * (len(example.token_ids) - size)
    assert example.id.endswith("a.jsonl, line 1")


@pytest.mark.parametrize("template", ["r1-zero", "plain", "chat"])
def test_templates_are_those_of_rl(tmp_path: Path, chat: Tokenizer, template: Any) -> None:
    rows = write(tmp_path / "a.jsonl", [{"question": "the cat", "answer": "sat"}])
    (prompt,) = load_prompts(DatasetConfig(source=str(rows), template=template), chat)
    (example,) = read(rows, chat, template=template, prompt_field="question", completion_field="answer")
    assert tuple(example.token_ids[~example.is_target]) == prompt.token_ids
    assert shown(chat, example)[-1] == (True, "sat<|im_end|>")


def test_a_rendered_chat_gets_no_second_begin_token(tmp_path: Path, chat: Tokenizer) -> None:
    from tokenizers.processors import TemplateProcessing

    chat_with_bos = load_tokenizer(chat.folder)
    chat_with_bos._backend.post_processor = TemplateProcessing(
        "<|endoftext|> $A", special_tokens=[("<|endoftext|>", chat.bos_id)]
    )
    expected = [chat.bos_id, *chat.encode("the cat")]
    assert encode_prompt(chat_with_bos, "the cat") == expected
    assert encode_prompt(chat_with_bos, "<|endoftext|>the cat") == expected
    assert encode_prompt(chat, "the cat") == expected[1:]


def test_every_assistant_turn_is_learnt_and_nothing_else(tmp_path: Path, chat: Tokenizer) -> None:
    messages = [
        {"role": "system", "content": "be a cat"},
        {"role": "user", "content": "the"},
        {"role": "assistant", "content": "cat sat"},
        {"role": "user", "content": "on"},
        {"role": "assistant", "content": "the mat"},
    ]
    (example,) = read(write(tmp_path / "a.jsonl", [{"messages": messages}]), chat, format="chat")
    assert shown(chat, example) == [
        (
            False,
            "<|im_start|>system\nbe a cat<|im_end|>\n<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\n",
        ),
        (True, "cat sat<|im_end|>"),
        (False, "\n<|im_start|>user\non<|im_end|>\n<|im_start|>assistant\n"),
        (True, "the mat<|im_end|>"),
    ]


def test_a_system_message_is_added_where_there_is_none(tmp_path: Path, chat: Tokenizer) -> None:
    turns = [{"role": "user", "content": "the"}, {"role": "assistant", "content": "cat"}]
    rows = [{"messages": turns}, {"messages": [{"role": "system", "content": "own"}, *turns]}]
    first, second = read(write(tmp_path / "a.jsonl", rows), chat, format="chat", system="mat")
    assert shown(chat, first)[0][1].startswith("<|im_start|>system\nmat<|im_end|>")
    assert shown(chat, second)[0][1].startswith("<|im_start|>system\nown<|im_end|>\n<|im_start|>user")


def test_reasoning_survives_a_template_that_drops_it(tmp_path: Path, r1: Tokenizer) -> None:
    """Each turn is learnt in full, behind the prompt that the policy would be given; the template opened the tag."""
    messages = [
        {"role": "user", "content": "the"},
        {"role": "assistant", "content": "<think>\nmat</think>cat"},
        {"role": "user", "content": "on"},
        {"role": "assistant", "content": "<think>\nsat</think>mat"},
    ]
    first, second = read(write(tmp_path / "a.jsonl", [{"messages": messages}]), r1, format="chat")
    bos, eos = "<|endoftext|>", "<|im_end|>"
    assert shown(r1, first) == [(False, f"{bos}U:theA:<think>\n"), (True, f"mat</think>cat{eos}")]
    assert shown(r1, second) == [
        (False, f"{bos}U:theA:cat{eos}U:onA:<think>\n"),
        (True, f"sat</think>mat{eos}"),
    ]
    assert [e.id.rpartition(", ")[2] for e in (first, second)] == ["part 1", "part 2"]


TOKENS = st.lists(st.integers(0, 3), max_size=5)


@given(st.lists(st.tuples(TOKENS.filter(bool), TOKENS.filter(bool), st.booleans()), min_size=1, max_size=5))
def test_joined_turns_hold_every_reply_behind_its_own_prompt(turns: list[Any]) -> None:
    pairs, history = [], []
    for more, reply, keeps in turns:
        prompt = [*(history if keeps else []), *more]
        assume(prompt != history)  # a turn has at least a token of its own before the reply
        pairs.append((prompt, reply))
        history = [*prompt, *reply]
    sequences = join_turns(pairs)
    found = []
    for ids, mask in sequences:
        assert len(ids) == len(mask)
        ends = [i for i in range(len(ids)) if mask[i] and (i + 1 == len(ids) or not mask[i + 1])]
        starts = [i for i in range(len(ids)) if mask[i] and not mask[i - 1]]
        found += [(ids[:a], ids[a : b + 1]) for a, b in zip(starts, ends, strict=True)]
        assert not mask[0]
    assert found == pairs
    if all(keeps for _, _, keeps in turns):
        assert len(sequences) == 1


def test_the_end_of_a_turn_is_a_token_that_stops_the_engine(tmp_path: Path, chat: Tokenizer) -> None:
    assert turn_end(chat) == [chat.token_id("<|im_end|>")]
    other = tokenizer_with(tmp_path, CHAT_TEMPLATE.replace("<|im_end|>", "</turn>"))
    assert turn_end(other) == [other.eos_id]


@pytest.mark.parametrize(
    ("prompt", "reply", "expected"),
    [
        ("A:<think>\n", "<think>\na</think>b", "a</think>b"),
        ("A:<think>\n", "<think>a</think>b", "a</think>b"),
        ("A:<think>\n", "a</think>b", "a</think>b"),
        ("A:", "<think>a</think>b", "<think>a</think>b"),
        ("a <think> in the text", "<think>a</think>b", "<think>a</think>b"),
    ],
)
def test_an_opened_think_is_not_written_twice(prompt: str, reply: str, expected: str) -> None:
    assert without_opened_think(prompt, reply) == expected


def test_replacements_apply_to_replies_in_order(tmp_path: Path, chat: Tokenizer) -> None:
    row = {"prompt": "12 + 34 #### 1", "completion": "12 + 34 = <<12+34=46>>46\n#### 46"}
    replace = ((r"<<[^>]*>>", ""), (r"#### (.+)\Z", r"\\boxed{\1}"))
    (example,) = read(write(tmp_path / "a.jsonl", [row]), chat, replace=replace)
    assert shown(chat, example) == [
        (False, "12 + 34 #### 1"),
        (True, "12 + 34 = 46\n\\boxed{46}<|im_end|>"),
    ]


GOOD = {"prompt": "the cat", "completion": "sat"}
BAD: list[tuple[Any, str]] = [
    ({"prompt": "the"}, r"line 2: no field 'completion'; there are prompt \(set completion_field"),
    ({"prompt": "the", "completion": None}, "line 2: completion = None; expected text"),
    ({"prompt": " ", "completion": "cat"}, "line 2: prompt = ' '"),
    ("{not json", "line 2: not JSON at column 2"),
    ("[1, 2]", "line 2: expected an object"),
]


@pytest.mark.parametrize(("bad", "message"), BAD, ids=[m for _, m in BAD])
def test_a_bad_row_stops_or_is_left_out_and_named(
    tmp_path: Path, chat: Tokenizer, bad: Any, message: str
) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD, bad, GOOD])
    with pytest.raises(DataError, match=message):
        read(path, chat)
    examples, counts = read_examples(SftSource(source=str(path), bad_rows="skip"), chat, 1000)
    assert [e.id.rpartition(" ")[2] for e in examples] == ["1", "3"]
    assert len(counts.bad_rows) == 1
    assert counts.rows == 3
    assert "line 2" in counts.bad_rows[0]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("text", "expected a list of messages"),
        ([], "expected a list"),
        ([{"role": "user", "content": "a"}], "no assistant turn"),
        ([{"role": "assistant", "content": "a"}], "begins with the assistant"),
        ([{"role": "user", "content": "a"}, {"role": "assistant"}], r"messages\[1\] = .*expected a role"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}], "nothing is left"),
        (
            [{"role": "user", "content": "a"}, {"role": "asistant", "content": "b"}],
            r"messages\[1\] has role 'asistant'",
        ),
        (
            [{"role": "human", "content": "a"}, {"role": "gpt", "content": "b"}],
            "has role 'human'; expected one of",
        ),
        (
            [{"role": "user", "content": " "}, {"role": "assistant", "content": "b"}],
            "the user's message is empty",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]}],
            r"messages\[0\] has a part of type 'image_url'; expected parts of type 'text'",
        ),
        ([None], "expected a role and a content"),
    ],
)
def test_a_bad_conversation_is_named(tmp_path: Path, chat: Tokenizer, messages: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"line 1: .*{message}"):
        read(write(tmp_path / "a.jsonl", [{"messages": messages}]), chat, format="chat")


def test_all_bad_rows_are_found_before_the_stage_stops(tmp_path: Path, chat: Tokenizer) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "a"}] * 8)
    with pytest.raises(DataError, match=r"(?s)line 1:.*line 5:.*and 3 more.*bad_rows = \"skip\"") as caught:
        read(path, chat)
    assert "line 6" not in str(caught.value)


@pytest.mark.parametrize("reply", ["cat<|im_end|>", "cat<|im_end|>\n<|im_start|>user\nthe"])
def test_a_reply_that_ends_twice_is_a_bad_row(tmp_path: Path, chat: Tokenizer, reply: str) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD, {"prompt": "the", "completion": reply}])
    with pytest.raises(
        DataError, match=r"line 2: the completion contains '<\|im_end\|>', which ends a reply; delete it"
    ):
        read(path, chat, template="chat")
    read(path, chat, template="chat", replace=((r"<\|im_end\|>(.|\n)*", ""),))


def test_what_the_tokenizer_does_not_know_is_a_bad_row(tmp_path: Path, tiny_tokenizer: Tokenizer) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "7 * 4", "completion": " Überraschung"}])
    with pytest.raises(DataError, match=r"line 1: the tokenizer .* does not know"):
        read(path, tiny_tokenizer)


def test_overlong_examples_are_left_out_whole_and_counted(tmp_path: Path, chat: Tokenizer) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD, {**GOOD, "completion": "sat " * 50}, GOOD])
    (first, _) = read(path, chat)[:2]
    examples, counts = read_examples(SftSource(source=str(path)), chat, len(first.token_ids))
    assert [e.id.rpartition(" ")[2] for e in examples] == ["1", "3"]
    assert (counts.rows, counts.too_long) == (3, 1)
    assert read_examples(SftSource(source=str(path)), chat, len(first.token_ids) - 1)[0] == []


def test_limits_and_counts_of_several_sources(tmp_path: Path, chat: Tokenizer) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD] * 5)
    examples, counts = read_examples(SftSource(source=str(path), limit=2), chat, 1000)
    assert len(examples) == 2
    _, counts = read_examples(SftSource(source=str(path)), chat, 1000, counts)
    assert counts.rows == 7


def test_parquet_rows(tmp_path: Path, chat: Tokenizer) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    messages = [{"role": "user", "content": "the"}, {"role": "assistant", "content": "cat"}]
    pq.write_table(pa.Table.from_pylist([{"messages": messages}]), tmp_path / "a.parquet")
    (example,) = read(tmp_path / "a.parquet", chat, format="chat")
    assert shown(chat, example)[-1] == (True, "cat<|im_end|>")
    assert example.id.endswith("row 1")


def test_a_chat_needs_a_chat_template(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path / "t", None)
    with pytest.raises(DataError, match="no chat template"):
        read(write(tmp_path / "a.jsonl", [GOOD]), tokenizer, template="chat")


@pytest.mark.parametrize(
    "keys",
    [
        {"split": "train"},
        {"replace": [["(", ""]]},
        {"replace": [["a", r"\2"]]},
        {"format": "chat", "template": "r1-zero"},
        {"system": "x"},
        {"preamble": "x"},
        {"prefill": "x"},
        {"repeats": 0},
    ],
    ids=str,
)
def test_keys_that_do_not_fit_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SftSource.model_validate_json(json.dumps({"source": "a.jsonl", **keys}))
