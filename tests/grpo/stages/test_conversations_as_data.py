"""A prompt of several messages keeps them from the data set through samples and `grpo curate` to what SFT learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from data_recipes.config import DatasetConfig
from data_recipes.prompts.datasets import load_prompts
from data_recipes.sft.config import SftSource
from data_recipes.sft.examples import read_examples
from grpo.config.curate import CurateConfig
from grpo.stages.curate import run as run_curate
from grpo.tracking.sample_row import group_rows
from grpo.tracking.samples import read_samples, write_samples
from policies.tokenizer import Tokenizer, load_tokenizer
from rewards.types import Score, ScoredGroup
from rollout.types import Sample, SampleGroup
from tests.policies.tiny import write_tokenizer

TEACHER = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
STUDENT = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
REPLY = "<think>we add them</think> 9"
DIALOGUE = [
    {"role": "system", "content": "1"},
    {"role": "user", "content": "2 + 3"},
    {"role": "assistant", "content": "5"},
    {"role": "user", "content": "5 + 4"},
]


def tokenizer(folder: Path, template: str) -> Tokenizer:
    return load_tokenizer(write_tokenizer(folder, chat_template=template))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer(tmp_path_factory.mktemp("teacher"), TEACHER)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer(tmp_path_factory.mktemp("student"), STUDENT)


def sampled(folder: Path, teacher: Tokenizer, rows: list[dict[str, Any]]) -> Path:
    """Write what `grpo sample` would leave of these prompts: one reply each, rewarded."""
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts = load_prompts(DatasetConfig(source=str(data), answer_field=None, template="chat"), teacher)
    found = []
    for prompt in prompts:
        ids = np.array([*teacher.encode(REPLY), teacher.eos_id], np.int32)
        sample = Sample(prompt.id, 0, ids, np.zeros(len(ids), np.float32), REPLY, "stop", 0, 0, 0)
        group = ScoredGroup(SampleGroup(prompt, (sample,)), (Score(1.0, {"accuracy": 1.0}),))
        found += group_rows(group, stage="sample", step=0, group_id=prompt.id, model="hash")
    return write_samples(folder / "samples.parquet", found)


def curated(folder: Path, samples: Path, **keys: Any) -> Path:
    config = CurateConfig.model_validate(
        {"sources": (str(samples),), "out": folder / "rows.parquet", "min_language_share": None, **keys}
    )
    run_curate(config)
    return config.out


def learnt(source: Path, tokenizer: Tokenizer, **keys: Any) -> list[tuple[str, str]]:
    """What is read and what is learnt of each example of an SFT source."""
    examples, _ = read_examples(SftSource(source=str(source), **keys), tokenizer, max_tokens=512)
    return [
        (
            tokenizer.decode(e.token_ids[~e.is_target].tolist(), skip_special=False),
            tokenizer.decode(e.token_ids[e.is_target].tolist(), skip_special=False),
        )
        for e in examples
    ]


def normal(text: str) -> str:
    return "".join(text.split())


def test_a_student_reads_the_whole_conversation_in_its_own_template(
    tmp_path: Path, teacher: Tokenizer, student: Tokenizer
) -> None:
    samples = sampled(
        tmp_path, teacher, [{"messages": DIALOGUE}, {"messages": [{"role": "user", "content": "3 + 3"}]}]
    )
    rows = curated(tmp_path, samples, correct="accuracy", max_repeated_share=None, max_paragraph_words=None)
    whole, single = learnt(rows, student, prompt_field="messages")
    assert normal(whole[0]) == normal("[system]1[user]2 + 3[assistant]5[user]5 + 4[assistant]")
    assert normal(single[0]) == normal("[user]3 + 3[assistant]")
    assert all(reply.startswith(REPLY) for _, reply in (whole, single))


def test_samples_and_rows_say_what_the_conversation_was(tmp_path: Path, teacher: Tokenizer) -> None:
    samples = sampled(tmp_path, teacher, [{"messages": DIALOGUE}, {"messages": DIALOGUE[1:2]}])
    long, short = read_samples(samples)
    assert json.loads(long.messages or "") == DIALOGUE
    assert (long.question, short.question, short.messages) == ("5 + 4", "2 + 3", None)
    table = parquet.read_table(curated(tmp_path, samples)).to_pylist()
    assert [row["messages"] for row in table] == [DIALOGUE, DIALOGUE[1:2]]


def test_finished_rows_to_add_may_be_conversations(
    tmp_path: Path, teacher: Tokenizer, student: Tokenizer
) -> None:
    samples = sampled(tmp_path, teacher, [{"messages": DIALOGUE[1:2]}])
    mix = tmp_path / "mix.jsonl"
    mix.write_text(json.dumps({"messages": DIALOGUE, "completion": "9"}) + "\n")
    rows = curated(tmp_path, samples, mix=({"source": str(mix)},))
    assert normal(learnt(rows, student, prompt_field="messages")[1][0]) == normal(
        "[system]1[user]2 + 3[assistant]5[user]5 + 4[assistant]"
    )


def test_a_conversation_is_compared_with_evaluation_sets_in_all_its_messages(
    tmp_path: Path, teacher: Tokenizer
) -> None:
    copied = "1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 1 + 2"
    held_out = tmp_path / "eval.jsonl"
    held_out.write_text(json.dumps({"question": copied}) + "\n")
    said = [{"role": "user", "content": copied}, *DIALOGUE[2:]]
    mix = tmp_path / "mix.jsonl"
    mix.write_text(json.dumps({"messages": said, "completion": "9"}) + "\n")
    samples = sampled(tmp_path, teacher, [{"messages": DIALOGUE[1:2]}])
    rows = curated(tmp_path, samples, mix=({"source": str(mix)},), decontaminate=({"source": str(held_out)},))
    assert json.loads(rows.with_suffix(".json").read_text())["mix_contaminated"] == 1


def test_tools_and_calls_reach_the_student(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}"
        "{% for c in m.tool_calls or [] %}<{{ c.function.name }}{{ c.function.arguments | tojson }}>{% endfor %}"
        "{% endfor %}{% for t in tools or [] %}({{ t.function.name }}){% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    own = tokenizer(tmp_path / "own", template)
    tools = [{"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}]
    call = {"type": "function", "function": {"name": "clock", "arguments": {"zone": "UTC", "n": 1}}}
    said = [
        {"role": "user", "content": "time?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "noon"},
    ]
    samples = sampled(tmp_path, own, [{"messages": said, "tools": tools}, {"messages": DIALOGUE}])
    rows = curated(tmp_path, samples)
    (read, _), (other, _) = learnt(rows, own, prompt_field="messages")
    (sample, second) = read_samples(samples)
    assert (read, other) == (sample.prompt, second.prompt)
    assert "clock" in read
    assert "UTC" in read
