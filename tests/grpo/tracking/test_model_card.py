"""The model card: front matter that a hub reads, code that runs, facts of the run, and no part of the policy's hash."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData

from grpo.graph.keys import hash_path
from grpo.tracking.model_card import write_card
from grpo.tracking.run_dir import facts
from grpo.tracking.run_once import run_once
from policies.export import save_policy
from policies.settings import Settings
from tests.policies.tiny import tiny_policy, write_tokenizer

CONFIG: dict[str, Any] = {
    "stage": "rl",
    "seed": 7,
    "run_dir": "runs/x",
    "policy": {"model": "acme/base-1b"},
    "data": {"template": "r1-zero", "prefill": "<think>\n"},
}
SUMMARY = {"seed": 7, "final_pass1": 0.98765, "trained_tokens": 1234567, "done": True, "pass_at": {"1": 0.5}}


class Recipe(Settings):
    """A config without keys."""


def make_run(folder: Path, preset: str = "tiny-llama", **config: Any) -> Path:
    run = folder / "my-run"
    save_policy(tiny_policy(preset), run / "policy", write_tokenizer(folder / "tokenizer"))
    (run / "config.json").write_text(json.dumps(CONFIG | config))
    manifest = facts(Recipe(), 7, {"train": "aa11", "eval": "bb22"}, None) | {"git_commit": "c0ffee"}
    (run / "manifest.json").write_text(json.dumps(manifest))
    return run


def card_of(run: Path) -> str:
    path = write_card(run, SUMMARY)
    assert path == run / "policy" / "README.md"
    return path.read_text(encoding="utf-8")


def front_matter(card: str) -> dict[str, Any]:
    match = re.match(r"\A---\n(.*?)\n---\n", card, re.DOTALL)
    assert match is not None
    return dict(yaml.safe_load(match[1]))


def test_the_front_matter_is_what_a_hub_reads(tmp_path: Path) -> None:
    card = card_of(make_run(tmp_path))
    data = front_matter(card)
    assert data["base_model"] == "acme/base-1b"
    assert data["library_name"] == "transformers"
    assert data["pipeline_tag"] == "text-generation"
    assert {"rl", "llama"} <= set(data["tags"])
    assert "license" not in data
    assert "No licence is stated" in card
    assert isinstance(ModelCard(card).data, ModelCardData)


def test_licence_and_base_come_from_the_card_of_a_local_base(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text(
        "---\nlicense: apache-2.0\nbase_model: acme/origin\nlanguage: [en, de]\n---\n# x\n"
    )
    card = card_of(make_run(tmp_path, policy={"model": str(base)}))
    data = front_matter(card)
    assert (data["license"], data["base_model"], data["language"]) == (
        "apache-2.0",
        "acme/origin",
        ["en", "de"],
    )
    assert "No licence" not in card


@pytest.mark.parametrize("text", ["no front matter", "---\nlicense: [\n---\n", "---\n- a\n---\n", ""])
def test_a_base_whose_card_says_nothing_gives_no_licence(tmp_path: Path, text: str) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text(text)
    data = front_matter(card_of(make_run(tmp_path, policy={"model": str(base)})))
    assert not {"license", "base_model"} & set(data)


def test_it_tells_how_the_policy_was_trained(tmp_path: Path) -> None:
    card = card_of(make_run(tmp_path))
    for expected in (
        "| `final_pass1` | 0.9877 |",
        "1,234,567",
        "train aa11, eval bb22",
        "c0ffee",
        "torch ",
        "acme/base-1b",
    ):
        assert expected in card
    assert '- prefill: `"<think>\\n"`' in card
    assert "--template r1-zero" in card
    recipe = re.search(r"```json\n(.*?)\n```", card, re.DOTALL)
    assert recipe is not None
    assert json.loads(recipe[1]) == CONFIG


def test_its_code_loads_the_policy(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    code = re.search(r"```python\n(.*?)```", card_of(run), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1].replace("FOLDER", str(run / "policy")), names)
    assert type(names["model"]).__name__ == "LlamaForCausalLM"
    assert names["tokenizer"].decode(names["tokenizer"]("cat")["input_ids"]) == "cat"


PLAIN_VLLM = ("vLLM does not start", "may be wrong on a CPU", "`vllm serve FOLDER --dtype float32` works")


@pytest.mark.parametrize(
    ("preset", "said"),
    [("tiny-v3", 0), ("tiny-v2", 0), ("tiny-v3-mla512", 1), ("tiny-qwen3", 2), ("tiny-llama", 2)],
)
def test_it_tells_where_plain_vllm_fails(tmp_path: Path, preset: str, said: int) -> None:
    card = card_of(make_run(tmp_path, preset))
    assert [text in card for text in PLAIN_VLLM] == [number == said for number in range(3)]
    assert ("this policy has 32 and 16" in card) is (preset in ("tiny-v3", "tiny-v2"))


def test_a_reward_model_is_no_text_generator(tmp_path: Path) -> None:
    run = make_run(tmp_path, stage="reward-model")
    (run / "policy" / "head.safetensors").touch()
    card = card_of(run)
    assert "pipeline_tag" not in front_matter(card)
    assert "the language model alone gives no rewards" in card


@pytest.mark.parametrize(
    ("preset", "targets", "warns"),
    [
        ("tiny-v3", ["q_proj", "up_proj"], True),
        ("tiny-v3", ["kv_b_proj"], False),
        ("tiny-llama", ["up_proj"], False),
    ],
)
def test_an_adapter_that_peft_misreads_is_pointed_out(
    tmp_path: Path, preset: str, targets: list[str], warns: bool
) -> None:
    run = make_run(tmp_path, preset)
    (run / "policy" / "adapter").mkdir()
    (run / "policy" / "adapter" / "adapter_config.json").write_text(json.dumps({"target_modules": targets}))
    card = card_of(run)
    assert "peft's format" in card
    assert ("peft does not load this adapter right" in card) is warns


def test_a_run_without_a_policy_gets_none_and_one_without_a_manifest_does(tmp_path: Path) -> None:
    assert write_card(tmp_path, {}) is None
    run = make_run(tmp_path)
    (run / "manifest.json").unlink()
    assert "| commit | unknown |" in card_of(run)


def test_the_card_is_no_part_of_the_policys_hashes(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    before = facts(Recipe(), 1, {}, run / "policy")["model"], hash_path(run / "policy")
    card_of(run)
    assert (facts(Recipe(), 1, {}, run / "policy")["model"], hash_path(run / "policy")) == before


class Config(Settings):
    stage: str = "x"
    seed: int = 7


def test_a_finished_run_has_a_card(tmp_path: Path) -> None:
    """Before summary.json, which marks the run as finished: a crash in between writes both again."""
    run = tmp_path / "run"

    def work() -> dict[str, Any]:
        save_policy(tiny_policy("tiny-llama"), run / "policy", write_tokenizer(tmp_path / "tokenizer"))
        return SUMMARY

    def finish(summary: dict[str, Any]) -> None:
        assert (run / "policy" / "README.md").is_file()

    run_once(Config(), run, work, finish)
    assert (run / "summary.json").is_file()
