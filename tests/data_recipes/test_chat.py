"""Conversations with tools: what the template writes is learnt and read, what it would leave out is refused by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_recipes.config import DatasetConfig
from data_recipes.errors import DataError
from data_recipes.prompts.datasets import load_prompts
from data_recipes.tool_calls import CallStyle, call_style
from policies.tokenizer import Tokenizer
from tests.data_recipes.sft.test_examples import read, shown, tokenizer_with, write

QWEN = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}{% for c in m.tool_calls or [] %}{{ '\n<tool_call>\n' }}"
    "{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}\n</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""Like Qwen3's: tools, calls as JSON, reasoning, a switch for thinking."""
DEEPSEEK = (
    "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>U:{{ m.content }}{% endif %}"
    "{% if m.role == 'tool' %}O:{{ m.content }}{% endif %}"
    "{% if m.role == 'assistant' and m.content is none %}A:{% for c in m.tool_calls %}"
    "{{ 'CALL ' + c.function.name + ' ' + c.function.arguments }}{% endfor %}<|im_end|>{% endif %}"
    "{% if m.role == 'assistant' and m.content is not none %}A:{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}A:{% endif %}"
)
"""Like DeepSeek-V3's: arguments as text, calls only of messages whose content is null."""
PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Knows no tools, as SmolLM2's."""
TOOLS = [{"type": "function", "function": {"name": "time", "parameters": {"zone": {"type": "string"}}}}]


def call(name: str = "time", arguments: Any = '{"zone": "UTC"}') -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


def asked(content: str | None = "Let me look.", *calls: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": "the time?"},
        {"role": "assistant", "content": content, "tool_calls": list(calls) or [call()], **more},
        {"role": "tool", "content": "12", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "noon"},
    ]


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer_with(tmp_path_factory.mktemp("qwen"), QWEN)


@pytest.fixture(scope="module")
def deepseek(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer_with(tmp_path_factory.mktemp("deepseek"), DEEPSEEK)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer_with(tmp_path_factory.mktemp("plain"), PLAIN)


def learnt(path: Path, tokenizer: Tokenizer, **keys: Any) -> list[str]:
    return [
        text for e in read(path, tokenizer, **keys) for is_learnt, text in shown(tokenizer, e) if is_learnt
    ]


def test_the_way_a_template_takes_calls_is_found_by_rendering(
    qwen: Tokenizer, deepseek: Tokenizer, plain: Tokenizer
) -> None:
    assert call_style(qwen) == CallStyle(as_text=False, empty="")
    assert call_style(deepseek) == CallStyle(as_text=True, empty=None)
    assert call_style(plain) is None


@pytest.mark.parametrize("arguments", ['{"zone": "UTC"}', {"zone": "UTC"}], ids=["text", "object"])
def test_a_call_is_learnt_before_the_stop(tmp_path: Path, qwen: Tokenizer, arguments: Any) -> None:
    """The call was dropped, and the stop after the text was learnt."""
    rows = write(tmp_path / "a.jsonl", [{"messages": asked("Let me look.", call(arguments=arguments))}])
    assert learnt(rows, qwen) == [
        'Let me look.\n<tool_call>\n{"name": "time", "arguments": {"zone": "UTC"}}\n</tool_call><|im_end|>',
        "noon<|im_end|>",
    ]


def test_a_template_that_takes_arguments_as_text_gets_them_so(tmp_path: Path, deepseek: Tokenizer) -> None:
    rows = write(tmp_path / "a.jsonl", [{"messages": asked(None, call(arguments={"zone": "UTC"}))}])
    assert learnt(rows, deepseek) == ['CALL time {"zone": "UTC"}<|im_end|>', "noon<|im_end|>"]


def test_null_contents_are_never_the_word_none(tmp_path: Path, qwen: Tokenizer) -> None:
    rows = write(tmp_path / "a.jsonl", [{"messages": asked(None)}])
    (example,) = read(rows, qwen)
    assert "None" not in "".join(text for _, text in shown(qwen, example))


REFUSED: dict[str, tuple[str, list[dict[str, Any]], str]] = {
    "a template without tools": ("plain", asked(), r"messages\[1\]\.tool_calls: the chat template .* no tool calls"),
    "content and calls": ("deepseek", asked(), r"messages\[1\]\.tool_calls: .* drops the calls of a message with"),
    "no JSON": ("qwen", asked("a", call(arguments="{zone")), r"messages\[1\]\.tool_calls\[0\]\.arguments = .*not JSON"),
    "no object": ("qwen", asked("a", call(arguments="[1]")), r".*\[0\]\.arguments = .*expected an object"),
    "no function": ("qwen", asked("a", {"name": "time"}), r"messages\[1\]\.tool_calls\[0\] = .*expected"),
    "the old form": (
        "qwen", asked("a", function_call={"name": "time", "arguments": "{}"}), r"messages\[1\] has function_call"
    ),
    "a null content": (
        "qwen", [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}], r".*content is null"
    ),
    "a user who calls": (
        "qwen", [{"role": "user", "content": "a", "tool_calls": [call()]}], r"messages\[0\] has tool_calls"
    ),
    "reasoning that is dropped": (
        "plain",
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_content": "r"}],
        r"messages\[1\]\.reasoning_content: the chat template of .* does not write it; .*<think>",
    ),
    "a role that the template passes over": (
        "deepseek",
        [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "a"}, *asked()[-1:]],
        r"messages: the chat template of .* does not write a message of the role 'developer', 'be brief'; name the",
    ),
    "a system message that is not the first": (
        "deepseek",
        [*asked(None), {"role": "system", "content": "be brief"}, *asked()[:1], *asked()[-1:]],
        r"messages: the chat template of .* does not write a message of the role 'system', 'be brief'; put its text",
    ),
    "a weight": (
        "qwen",
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0.5}],
        r".*weight = 0\.5",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "messages", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_a_template_would_leave_out_is_refused_by_row(
    tmp_path: Path, request: pytest.FixtureRequest, name: str, messages: list[Any], message: str
) -> None:
    rows = write(tmp_path / "a.jsonl", [{"messages": messages}])
    with pytest.raises(DataError, match=rf"a\.jsonl, line 1: {message}"):
        read(rows, request.getfixturevalue(name))


def test_a_system_message_of_the_recipe_that_the_template_passes_over_is_refused(
    tmp_path: Path, deepseek: Tokenizer, plain: Tokenizer
) -> None:
    rows = write(tmp_path / "a.jsonl", [{"prompt": [{"role": "user", "content": "7 * 4?"}], "answer": "28"}])
    config = DatasetConfig(source=str(rows), template="chat", system="be brief")
    with pytest.raises(
        DataError, match=r"a\.jsonl, line 1: prompt: .* does not write a message of the role 'system'"
    ):
        load_prompts(config, deepseek)
    (prompt,) = load_prompts(config, plain)
    assert "be brief" in prompt.text


def test_reasoning_beside_the_content_is_learnt_as_the_template_writes_it(
    tmp_path: Path, qwen: Tokenizer
) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "why"},
    ]
    rows = write(tmp_path / "a.jsonl", [{"messages": messages}])
    assert learnt(rows, qwen) == ["<think>\nwhy\n</think>\n\nb<|im_end|>"]


def test_turns_of_weight_0_are_read_and_not_learnt(tmp_path: Path, qwen: Tokenizer) -> None:
    messages = asked("look", weight=0)
    assert learnt(write(tmp_path / "a.jsonl", [{"messages": messages}]), qwen) == ["noon<|im_end|>"]


@pytest.mark.parametrize("kind", ["parquet", "save_to_disk"])
def test_keys_that_arrow_adds_are_not_shown(tmp_path: Path, qwen: Tokenizer, kind: str) -> None:
    """One table has one struct: the arguments of another row's call stood here with the value null."""
    rows = [
        {"messages": asked("a", call(arguments={"zone": "UTC"})), "tools": TOOLS},
        {"messages": asked("b", call("weather", {"city": "Rome"})), "tools": []},
    ]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), source := tmp_path / "a.parquet")
    else:
        import datasets

        datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "set"))
        source = f"{tmp_path}/set/"  # type: ignore[assignment]
    texts = ["".join(text for _, text in shown(qwen, e)) for e in read(source, qwen)]
    assert '"arguments": {"zone": "UTC"}' in texts[0]
    assert '"arguments": {"city": "Rome"}' in texts[1]
    assert "null" not in "".join(texts)
    assert '"name": "time"' in texts[0].partition("<|im_end|>")[0], "the tools reach the template"


def test_a_null_that_json_says_is_kept(tmp_path: Path, qwen: Tokenizer) -> None:
    rows = write(tmp_path / "a.jsonl", [{"messages": asked("a", call(arguments={"zone": None}))}])
    assert '{"zone": null}' in learnt(rows, qwen)[0]


def prompts(source: Path, tokenizer: Tokenizer, **keys: Any) -> list[Any]:
    return load_prompts(DatasetConfig.model_validate({"source": str(source), **keys}), tokenizer)


@pytest.mark.parametrize("tools", [TOOLS, json.dumps(TOOLS)], ids=["list", "text"])
def test_tools_and_variables_of_a_row_reach_the_template_in_rl(
    tmp_path: Path, qwen: Tokenizer, tools: Any
) -> None:
    row = {"prompt": [{"role": "user", "content": "the time?"}], "tools": tools, "enable_thinking": False}
    (prompt,) = prompts(write(tmp_path / "a.jsonl", [row]), qwen)
    assert prompt.text.startswith('<|im_start|>system\n{"type": "function"')
    assert prompt.prefill == "<think>\n\n</think>\n\n"
    (bare,) = prompts(
        write(tmp_path / "a.jsonl", [row]), qwen, tools_field=None, template_fields=[], template="chat"
    )
    assert bare.text == "<|im_start|>user\nthe time?<|im_end|>\n<|im_start|>assistant\n"
    keys = {"template": "chat", "chat_template_kwargs": {"enable_thinking": True}}
    (thinks,) = prompts(write(tmp_path / "a.jsonl", [row]), qwen, **keys)
    assert thinks.prefill == "", "the recipe's variables win"


@pytest.mark.parametrize(
    ("more", "keys", "message"),
    [
        ({"tools": TOOLS}, {}, r"tools = .*does not read tools; set tools_field = false"),
        ({"enable_thinking": False}, {}, r"enable_thinking = False: .*does not read.*template_fields = \[\]"),
        ({"tools": TOOLS}, {"template": "r1-zero"}, r"tools = .*template = 'r1-zero' does not show tools"),
        ({"enable_thinking": True}, {"template": "plain"}, r"enable_thinking = True: template = 'plain' does not"),
        ({"chat_template_kwargs": {"x": 1}}, {}, r"chat_template_kwargs = .* does not read x"),
        ({"tools": "[{"}, {}, "tools = .*: not JSON"),
    ],
)  # fmt: skip
def test_what_a_template_does_not_read_is_refused_by_name(
    tmp_path: Path, plain: Tokenizer, more: dict[str, Any], keys: dict[str, Any], message: str
) -> None:
    row = {"prompt": [{"role": "user", "content": "the time?"}], **more}
    with pytest.raises(DataError, match=rf"a\.jsonl, line 1: {message}"):
        prompts(write(tmp_path / "a.jsonl", [row]), plain, **keys)


def test_nulls_of_other_rows_are_no_tools(tmp_path: Path, plain: Tokenizer) -> None:
    row = {"prompt": [{"role": "user", "content": "the time?"}], "tools": None, "enable_thinking": None}
    assert len(prompts(write(tmp_path / "a.jsonl", [row]), plain)) == 1
    assert len(prompts(write(tmp_path / "a.jsonl", [row]), plain, template="plain")) == 1


def test_a_history_with_calls_is_read_by_rl(tmp_path: Path, qwen: Tokenizer, plain: Tokenizer) -> None:
    rows = write(tmp_path / "a.jsonl", [{"prompt": asked()[:3]}])
    (prompt,) = prompts(rows, qwen)
    assert '"arguments": {"zone": "UTC"}' in prompt.text
    assert prompt.columns["question"] == "the time?"
    with pytest.raises(
        DataError, match=r"prompt\[1\]\.tool_calls: the chat template of .* writes no tool calls"
    ):
        prompts(rows, plain)


def test_a_conversation_gives_rl_its_last_turn_as_the_reference(tmp_path: Path, qwen: Tokenizer) -> None:
    rows = write(tmp_path / "a.jsonl", [{"messages": asked()}])
    (prompt,) = prompts(rows, qwen)
    assert prompt.answer == "noon"
    assert prompt.text.endswith("<|im_start|>tool\n12<|im_end|>\n<|im_start|>assistant\n")
    assert prompts(rows, qwen, answer_field=None)[0].answer is None
    with pytest.raises(DataError, match=r"prompt ends with the assistant's turn"):
        prompts(write(tmp_path / "b.jsonl", [{"prompt": asked()}]), qwen)


def test_one_message_of_the_user_is_a_question_for_any_template(tmp_path: Path, qwen: Tokenizer) -> None:
    row = {"prompt": [{"role": "user", "content": "the time?"}], "answer": "12"}
    (prompt,) = prompts(write(tmp_path / "a.jsonl", [row]), qwen, template="r1-zero")
    assert prompt.text.endswith("User: the time?. Assistant:")
    row["prompt"] = [{"role": "system", "content": "brief"}, *row["prompt"]]  # type: ignore[misc]
    with pytest.raises(DataError, match=r"has the messages system, user; template = 'r1-zero' takes one"):
        prompts(write(tmp_path / "a.jsonl", [row]), qwen, template="r1-zero")
