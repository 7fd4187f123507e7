"""A config error names file, line, key path, the value found and the fix."""

import json
from pathlib import Path
from typing import Any

import pytest

from grpo.common import config_io
from grpo.common.config_io import check, differences, dump, load_config, parse_override, shipped_recipes
from grpo.common.errors import ConfigError
from grpo.common.key_hints import fields_at
from grpo.config.rl import RlConfig
from grpo.stages.registry import STAGES
from grpo.stages.stage import MODEL

GOOD = """
stage = "rl"
steps = 8
run_dir = "runs/x"

[policy]
model = "some/folder"

[data]
source = "chain"

[[rewards]]
name = "accuracy"

[[rewards]]
name = "format"
weight = 0.5

[algorithm]
mini_batches = 2
"""


def load(tmp_path: Path, text: str, *overrides: str) -> RlConfig:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return load_config(RlConfig, str(path), overrides)


def error_of(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text, *overrides)
    return str(error.value)


def test_a_good_recipe_loads_with_overrides(tmp_path: Path) -> None:
    config = load(
        tmp_path, GOOD, "optimizer.lr=1e-5", "rewards.1.weight=0.25", "policy.model=other/folder", "steps=4"
    )
    assert config.optimizer.lr == 1e-5
    assert config.rewards[1].weight == 0.25
    assert config.rewards[0].weight == 1.0
    assert config.policy.model == "other/folder"
    assert config.steps == 4


def test_false_is_none_for_a_key_that_may_be_none_and_is_no_switch(tmp_path: Path) -> None:
    config = load(
        tmp_path, GOOD, "data.answer_field=false", "engine.enforce_eager=false", "eval.max_tokens=false"
    )
    assert config.data.answer_field is None
    assert config.engine.enforce_eager is False
    assert config.eval.max_tokens is None
    assert check(RlConfig, json.loads(dump(config)), "again") == config
    assert "steps = False" in error_of(tmp_path, GOOD, "steps=false")


def test_unknown_key_names_file_line_path_and_nearest(tmp_path: Path) -> None:
    message = error_of(tmp_path, GOOD + "group_siz = 4\n")
    assert "recipe.toml, line 21" in message
    assert "unknown key algorithm.group_siz = 4" in message
    assert "did you mean algorithm.group_size?" in message


def test_unknown_key_in_second_reward_points_at_its_line(tmp_path: Path) -> None:
    message = error_of(tmp_path, GOOD.replace("weight = 0.5", "wieght = 0.5"))
    assert "line 17" in message
    assert "rewards.1.wieght" in message


def test_unknown_set_key_names_the_override(tmp_path: Path) -> None:
    message = error_of(tmp_path, GOOD, "algorithm.clip_hihg=0.3")
    assert "--set 'algorithm.clip_hihg=0.3'" in message
    assert "did you mean algorithm.clip_high?" in message


def test_wrong_value_shows_value_and_bound(tmp_path: Path) -> None:
    message = error_of(tmp_path, GOOD.replace("mini_batches = 2", "mini_batches = 0"))
    assert "line 20" in message
    assert "algorithm.mini_batches = 0" in message
    assert "greater than or equal to 1" in message


@pytest.mark.parametrize(
    "override",
    ["optimizer.lr=inf", "rewards.1.weight=nan", "sampling.temperature_schedule=[{from_step=1,value=nan}]",
     "sampling.max_tokens_schedule=[{from_step=1,value=inf}]"],
)  # fmt: skip
def test_numbers_are_finite(override: str, tmp_path: Path) -> None:
    assert "should be a finite number" in error_of(tmp_path, GOOD, override)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '[[rewards]]\nname = "accuracy"\n\n[[rewards]]',
            "[rewards]",
            "line 12: rewards: expected a list of sections: write [[rewards]] in place of [rewards], again for each",
        ),
        ("[data]", "[[data]]", "line 9: data: expected one section: write [data] in place of [[data]]"),
        (
            '[policy]\nmodel = "some',
            'policy = "some',
            "folder': expected a section: write its keys below [policy]",
        ),
        ("steps = 8", 'steps = 8\ntrackers = "wandb"', """trackers = 'wandb': expected a list: ["wandb"]"""),
        ("steps = 8", "steps = 8\ntrackers = 3", "trackers = 3: expected a list: values in [ ]"),
    ],
)
def test_a_section_of_the_wrong_shape_is_answered_as_a_recipe_writes_it(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    assert message in error_of(tmp_path, GOOD.replace(old, new))


@pytest.mark.parametrize("override", ["optimizer.beta1=1.5", "optimizer.beta2=-0.1", "optimizer.eps=0.0"])
def test_moments_of_adam_are_bounded(override: str, tmp_path: Path) -> None:
    assert f"--set '{override}': {override.partition('=')[0]}" in error_of(tmp_path, GOOD, override)


def test_a_string_is_not_taken_for_a_number(tmp_path: Path) -> None:
    assert "steps = '8'" in error_of(tmp_path, GOOD.replace("steps = 8", 'steps = "8"'))


def test_wrong_choice_lists_the_choices(tmp_path: Path) -> None:
    message = error_of(tmp_path, GOOD, "algorithm.ratio=tokens")
    assert "'token'" in message
    assert "'gspo'" in message


def test_missing_key_says_which(tmp_path: Path) -> None:
    assert "policy.model is missing" in error_of(tmp_path, GOOD.replace('model = "some/folder"', ""))


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    message = error_of(
        tmp_path, GOOD.replace("mini_batches = 2", "mini_batches = 0"), "seeed=3", "optimizer.lr=-1"
    )
    assert len(message.splitlines()) == 3


def test_steps_must_be_whole_phases(tmp_path: Path) -> None:
    message = error_of(tmp_path, GOOD, "steps=3")
    assert "multiple of algorithm.mini_batches = 2" in message


def test_broken_toml_names_file_and_line(tmp_path: Path) -> None:
    message = error_of(tmp_path, GOOD + "x = = 3\n")
    assert "recipe.toml" in message
    assert "line 21" in message


def test_another_stage_names_its_command(tmp_path: Path) -> None:
    assert "grpo pretrain" in error_of(tmp_path, GOOD.replace('stage = "rl"', 'stage = "pretrain"'))


def test_a_text_too_long_for_a_file_is_no_recipe() -> None:
    with pytest.raises(ConfigError, match="no recipe 'xxx"):
        load_config(RlConfig, "x" * 5000)


def test_unknown_recipe_lists_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean r1-zero-tiny"):
        load_config(RlConfig, "r1-zero-tinny")


def test_override_without_value_teaches() -> None:
    with pytest.raises(ConfigError, match="expected key=value"):
        parse_override("optimizer.lr")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1e-3", 1e-3), ("true", True), ("[1, 2]", [1, 2]), ('"a"', "a"), ("a/b", "a/b"), ("", "")],
)
def test_override_values_are_toml_literals_or_strings(text: str, value: object) -> None:
    assert parse_override(f"a.b={text}") == (["a", "b"], value)


def test_set_into_a_missing_list_place_teaches(tmp_path: Path) -> None:
    assert "list of 2" in error_of(tmp_path, GOOD, "rewards.7.weight=1")


def test_differences_are_leaf_paths() -> None:
    lists = ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}, {"b": 3}]}, {"a": [{"b": 1}]})
    assert list(differences(lists[0], lists[1])) == [("a.1.b", 2, 3)]
    assert [key for key, *_ in differences(lists[0], lists[2])] == ["a"]
    assert list(differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4})) == [
        ("a.c", 2, 3),
        ("d", None, 4),
    ]


def test_shipped_recipes_name_their_stage() -> None:
    assert "r1-zero-tiny" in shipped_recipes()


def test_a_fault_in_a_default_tree_is_reported_without_a_line() -> None:
    with pytest.raises(ConfigError, match="steps is missing"):
        check(
            RlConfig,
            {
                "run_dir": "x",
                "policy": {"model": "m"},
                "data": {"source": "chain"},
                "rewards": [{"name": "format"}],
            },
            "memory",
        )


def test_a_graph_given_to_a_stage_is_told_in_a_line() -> None:
    with pytest.raises(ConfigError, match=r"^r1-tiny\.toml: a graph of stages; use `grpo run`$"):
        load_config(RlConfig, "r1-tiny")
    with pytest.raises(ConfigError, match="use `grpo run`"):
        STAGES["eval"].load("r1-tiny")


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    message = error_of(tmp_path, GOOD + f"text = {'x' * 5000!r}\n")
    assert "unknown key algorithm.text = 'xxx" in message
    assert len(message) < 1500


POLICY: dict[str, Any] = {"run_dir": "x", "policy": {"model": "m"}}
LEAST: list[tuple[str, dict[str, Any]]] = [
    ("pretrain", {"run_dir": "x"}),
    ("rl", {**POLICY, "steps": 4, "data": {"source": "chain"}, "rewards": [{"name": "format"}]}),
    ("rl", {**POLICY, "steps": 4, "data": {"source": "a/b", "answer_pattern": "(.+)"}, "rewards": [{"name": "code"}],
            "mix": [{"source": "r1-world", "params": {"math": 3}}]}),
    ("sample", {**POLICY, "data": {"source": "reasoning-gym:chain_sum"}}),
    ("curate", {"sources": ["a.jsonl"], "out": "b.parquet", "decontaminate": [{"source": "chain"}, {"source": "a/b"}]}),
    ("sft", {**POLICY, "data": {"source": "a/b", "subset": "main", "template": "chat", "replace": [["a", "b"]]}}),
    ("distill", {**POLICY, "data": {"source": "a.jsonl", "format": "chat"}}),
    ("distill", {**POLICY, "data": {"source": "a.jsonl"}, "policy": {"model": "m", "lora": {}}, "preset": "qwen-7b"}),
    ("pairs", {"source": "a.jsonl", "out": "b.parquet", "judge": {"name": "length"}}),
    ("decontaminate", {"sources": ["a.jsonl"], "out": "b.parquet", "against": [{"source": "chain"}]}),
    ("pairs", {"source": "a.jsonl", "out": "b.parquet", "judge": {"name": "x:y", "compares": True}}),
    ("reward-model", {**POLICY, "objective": "pointwise", "data": {"source": "a.jsonl"}}),
    ("eval", {**POLICY, "rewards": [{"name": "accuracy"}], "eval": {"data": {"source": "chain"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("command", "written"), LEAST)
def test_a_config_with_its_defaults_written_out_is_the_same_config(
    command: str, written: dict[str, Any]
) -> None:
    kind = STAGES[command].config
    config = kind.model_validate_json(json.dumps(written), strict=True)
    assert kind.model_validate_json(dump(config), strict=True) == config


def test_every_stage_has_such_a_config() -> None:
    assert {command for command, _ in LEAST} == STAGES.keys()


@pytest.mark.parametrize("path", ["runs/x", 'a"b', "a\\b", "läufe/数据", "a'b = 1"])
def test_an_option_gives_the_path_that_it_was_given(path: str) -> None:
    override = MODEL.override(path)
    assert parse_override(override) == (["policy", "model"], path)


@pytest.mark.parametrize(("old", "new"), config_io.RENAMED_KEYS.items())
def test_a_renamed_key_is_refused_with_its_new_name(old: str, new: str, tmp_path: Path) -> None:
    section, _, key = old.rpartition(".")
    recipe = tmp_path / "old.toml"
    recipe.write_text('stage = "rl"\n\n' + (f"[{section}]\n" if section else "\n") + f"{key} = 1\n")
    with pytest.raises(ConfigError, match=rf"old.toml, line 4: {old} is now called {new}; rename it"):
        load_config(RlConfig, str(recipe), [])
    section, _, key = new.partition(".")
    assert any(key in fields_at(stage.config, [section]) for stage in STAGES.values())
