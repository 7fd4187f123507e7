"""Pairs and labels as people have them: text, messages, whole conversations, TRL's and our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data_recipes.errors import DataError
from grpo.config.reward_model import RewardModelConfig
from grpo.training.reward_model_data import Labelled, Pair, read_judgements
from policies.tokenizer import Tokenizer
from tests.data_recipes.sft.test_examples import tokenizer_with, write
from tests.data_recipes.test_chat import QWEN
from tests.policies.tiny import CHAT_TEMPLATE

USER = [{"role": "user", "content": "the cat?"}]
GOOD, BAD = ([{"role": "assistant", "content": text}] for text in ("sat", "mat"))
TURNS = [{"from": "human", "value": "the cat?"}, {"from": "gpt", "value": "sat"}]


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer_with(tmp_path_factory.mktemp("chat"), CHAT_TEMPLATE)


def items(path: Path, tokenizer: Tokenizer, objective: str = "pairwise", **data: Any) -> list[Any]:
    tree = {
        "objective": objective,
        "run_dir": "r",
        "policy": {"model": "m"},
        "data": {"source": str(path), **data},
    }
    return list(read_judgements(RewardModelConfig.model_validate_json(json.dumps(tree)), tokenizer)[0])


PAIRS: dict[str, dict[str, Any]] = {
    "messages": {"prompt": USER, "chosen": GOOD, "rejected": BAD},
    "the prompt in the conversations": {"chosen": USER + GOOD, "rejected": USER + BAD},
    "the prompt in both (UltraFeedback)": {
        "prompt": "the cat?", "chosen": USER + GOOD, "rejected": USER + BAD
    },
    "a question and messages": {"prompt": "the cat?", "chosen": GOOD, "rejected": BAD},
    "messages and text": {"prompt": USER, "chosen": "sat", "rejected": "mat"},
    "ShareGPT": {"chosen": TURNS, "rejected": [TURNS[0], {"from": "gpt", "value": "mat"}]},
}  # fmt: skip


@pytest.mark.parametrize("row", PAIRS.values(), ids=PAIRS.keys())
def test_pairs_of_conversations_read_what_the_policy_would(
    tmp_path: Path, chat: Tokenizer, row: dict[str, Any]
) -> None:
    (pair,) = items(write(tmp_path / "a.jsonl", [row]), chat)
    assert isinstance(pair, Pair)
    prompt = chat.apply_chat_template(USER)
    for ids, reply in ((pair.chosen, "sat"), (pair.rejected, "mat")):
        assert chat.decode(ids.tolist(), skip_special=False) == f"{prompt}{reply}<|im_end|>"


def test_text_is_rendered_already(tmp_path: Path, chat: Tokenizer) -> None:
    row = {"prompt": "User: the cat?", "chosen": "sat", "rejected": "mat"}
    (pair,) = items(write(tmp_path / "a.jsonl", [row]), chat)
    assert chat.decode(pair.chosen.tolist(), skip_special=False) == "User: the cat?sat<|im_end|>"
    renamed = {"q": "User: the cat?", "judged": {"better": "sat", "worse": "mat"}}
    keys = {"prompt_field": "q", "chosen_field": "judged.better", "rejected_field": "judged.worse"}
    (same,) = items(write(tmp_path / "b.jsonl", [renamed]), chat, **keys)
    assert same.chosen.tolist() == pair.chosen.tolist()


def test_labels_of_trl(tmp_path: Path, chat: Tokenizer) -> None:
    row = {"prompt": USER, "completion": GOOD, "label": True}
    (item,) = items(write(tmp_path / "a.json", [row]), chat, "pointwise")
    assert isinstance(item, Labelled)
    assert item.label == 1.0
    assert chat.decode(item.token_ids.tolist(), skip_special=False).endswith("assistant\nsat<|im_end|>")


TOOL: dict[str, Any] = {"type": "function", "function": {"name": "time", "parameters": {}}}
CALLED = [
    *USER,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "time", "arguments": '{"zone": "UTC"}'}}
        ],
    },
    {"role": "tool", "content": "12", "tool_call_id": "1"},
]


def test_tools_and_calls_of_the_history_are_read_as_the_template_writes_them(
    tmp_path: Path, chat: Tokenizer
) -> None:
    qwen = tokenizer_with(tmp_path, QWEN)
    row = {"prompt": CALLED, "chosen": GOOD, "rejected": BAD, "tools": [TOOL], "enable_thinking": False}
    (pair,) = items(write(tmp_path / "a.jsonl", [row]), qwen)
    text = qwen.decode(pair.chosen.tolist(), skip_special=False)
    assert '"name": "time"' in text.partition("<|im_end|>")[0]
    assert '"arguments": {"zone": "UTC"}' in text
    assert text.endswith("<think>\n\n</think>\n\nsat<|im_end|>")
    with pytest.raises(DataError, match=r"line 1: .*does not read .*; set (tools_field|template_fields)"):
        items(tmp_path / "a.jsonl", chat)
    left_out = {"tools_field": None, "template_fields": []}
    with pytest.raises(
        DataError, match=r"line 1: prompt\[1\]\.tool_calls: the chat template .* writes no tool calls"
    ):
        items(tmp_path / "a.jsonl", chat, **left_out)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": "a", "rejected": "b"}, "line 1: prompt = None; expected text"),
        ({"chosen": USER + GOOD, "rejected": USER + USER + BAD}, "rejected has the messages user, assistant"),
        (
            {"chosen": USER + GOOD + USER + GOOD, "rejected": USER + BAD + USER + BAD},
            "chosen and rejected differ before their last turns",
        ),
        ({"prompt": USER, "chosen": GOOD + GOOD, "rejected": BAD}, "chosen has the messages assistant, assistant"),
        ({"prompt": USER, "chosen": GOOD, "rejected": None}, "rejected = None; expected a list"),
    ],
)  # fmt: skip
def test_pairs_that_cannot_be_compared_are_refused_by_row(
    tmp_path: Path, chat: Tokenizer, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=rf"a\.jsonl, line 1: .*{message.removeprefix('line 1: ')}"):
        items(write(tmp_path / "a.jsonl", [row]), chat)
