"""An adapter that training is to go on from: what does not belong together is named before anything loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from policies.adapters import (
    ADAPTER_FILE,
    CONFIG_FILE,
    base_tensors,
    check_adapter,
    expected_shapes,
    fingerprint,
)
from policies.errors import BrokenCheckpoint, PolicyError, UnsupportedArchitecture
from policies.export import save_policy
from policies.facts import read_facts, safetensors_header
from policies.lora import linear_layers, save_adapter
from tests.policies.test_lora import PRESETS, adapted
from tests.policies.tiny import tiny_policy

TARGETS = ("q_proj", "v_proj")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_policy(tiny_policy("tiny-llama"), tmp_path_factory.mktemp("policies") / "base", None)


@pytest.fixture
def folder(tmp_path: Path, base: Path) -> Path:
    save_adapter(
        adapted("tiny-llama", TARGETS), tmp_path / "adapter", str(base), fingerprint=fingerprint(base)
    )
    return tmp_path / "adapter"


def check(folder: Path, base: Path, **changes: Any) -> None:
    options = {"model": "base", "rank": 4, "alpha": 8.0, "targets": TARGETS} | changes
    check_adapter(folder, base=base, **options)


def configure(folder: Path, **changes: Any) -> None:
    file = folder / CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def without_fingerprint(folder: Path) -> None:
    save_file(load_file(folder / ADAPTER_FILE), folder / ADAPTER_FILE)


def test_its_own_policy_takes_it_under_any_name(folder: Path, base: Path, tmp_path: Path) -> None:
    check(folder, base)
    moved = save_policy(tiny_policy("tiny-llama"), tmp_path / "elsewhere", None)
    check(folder, moved, model="another/name")


@pytest.mark.parametrize("preset", PRESETS)
def test_default_targets_of_every_family_are_those_that_its_config_lists(tmp_path: Path, preset: str) -> None:
    base = save_policy(tiny_policy(preset), tmp_path / "base", None)
    save_adapter(adapted(preset), tmp_path / "adapter", "base", fingerprint=fingerprint(base))
    check(tmp_path / "adapter", base, targets=())
    found = safetensors_header(tmp_path / "adapter" / ADAPTER_FILE)
    assert {n: tuple(s) for n, s in found.items()} == expected_shapes(base_tensors(base), 4, ())
    assert len(found) == 2 * len(linear_layers(tiny_policy(preset)))


def test_weights_that_have_moved_are_another_base(folder: Path, tmp_path: Path) -> None:
    model: Any = tiny_policy("tiny-llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 1e-3
    other = save_policy(model, tmp_path / "other", None)
    with pytest.raises(PolicyError, match=r"trained on other weights .*policy\.model = 'base'"):
        check(folder, other)


def test_without_a_fingerprint_the_name_decides(folder: Path, base: Path) -> None:
    without_fingerprint(folder)
    check(folder, base)  # the same folder
    configure(folder, base_model_name_or_path="Qwen/Qwen3-0.6B")
    check(folder, base, model="Qwen/Qwen3-0.6B")
    for named in ("Qwen/Qwen3-1.7B", None):
        configure(folder, base_model_name_or_path=named)
        with pytest.raises(
            PolicyError, match=r"base_model_name_or_path is .* write the name of policy\.model"
        ):
            check(folder, base, model="Qwen/Qwen3-0.6B")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 8}, r"policy\.lora\.rank = 8, but the adapter in .* has 4: set policy\.lora\.rank = 4"),
        ({"alpha": 16.0}, r"policy\.lora\.alpha = 16\.0, .* set policy\.lora\.alpha = 8\.0"),
        ({"targets": ()}, r'policy\.lora\.targets = .*set policy\.lora\.targets = \["q_proj", "v_proj"\]'),
        ({"targets": ("q_proj",)}, r'set policy\.lora\.targets = \["q_proj", "v_proj"\]'),
    ],
)
def test_a_recipe_that_says_otherwise_is_told_what_to_write(
    folder: Path, base: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PolicyError, match=message):
        check(folder, base, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type = 'IA3'"),
        ({"use_rslora": True}, r"set use_rslora to false there and lora_alpha to 16"),
        ({"use_dora": True}, "use_dora = True: the learner does not compute"),
        ({"bias": "all"}, "bias = 'all': only 'none'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
        ({"a_key_of_tomorrow": 3}, "a_key_of_tomorrow = 3"),
    ],
)
def test_an_adapter_that_computes_something_else_is_refused(
    folder: Path, base: Path, changes: dict[str, Any], message: str
) -> None:
    configure(folder, **changes)
    with pytest.raises(PolicyError, match=message):
        check(folder, base)


def drop(folder: Path) -> None:
    tensors = load_file(folder / ADAPTER_FILE)
    tensors.pop("base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight")
    save_file(tensors, folder / ADAPTER_FILE)


def add(folder: Path) -> None:
    tensors = load_file(folder / ADAPTER_FILE)
    tensors["base_model.model.lm_head.lora_A.weight"] = torch.zeros(4, 64)
    save_file(tensors, folder / ADAPTER_FILE)


def reshape(folder: Path) -> None:
    tensors = load_file(folder / ADAPTER_FILE)
    name = "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"
    tensors[name] = tensors[name][:-1].contiguous()
    save_file(tensors, folder / ADAPTER_FILE)


def tear(folder: Path) -> None:
    data = (folder / ADAPTER_FILE).read_bytes()
    (folder / ADAPTER_FILE).write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop, r"layers\.1\.self_attn\.v_proj\.lora_B\.weight is missing"),
        (add, r"lm_head\.lora_A\.weight belongs to no layer"),
        (reshape, r"v_proj\.lora_B\.weight has shape \(\d+, 4\), the policy needs"),
        (tear, r"adapter_model\.safetensors: .*cut short or damaged"),
        (lambda f: (f / ADAPTER_FILE).unlink(), "cannot be read"),
        (lambda f: (f / CONFIG_FILE).write_text("{"), "adapter_config.json: cannot be read"),
        (lambda f: (f / CONFIG_FILE).write_text("[]"), "expected a JSON object"),
    ],
)
def test_a_damaged_file_is_named(
    folder: Path, base: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(folder)
    with pytest.raises(BrokenCheckpoint, match=message):
        check(folder, base)


def test_a_folder_without_an_adapter_offers_the_one_inside(folder: Path, base: Path) -> None:
    with pytest.raises(PolicyError, match=rf"holds no adapter; did you mean {folder}\?"):
        check(folder.parent, base)
    with pytest.raises(PolicyError, match="no such folder"):
        check(folder / "nowhere", base)


def test_an_adapter_in_the_place_of_a_policy_is_told_apart(folder: Path, base: Path) -> None:
    with pytest.raises(UnsupportedArchitecture, match=rf"is a LoRA adapter.*its base \({base}\)"):
        read_facts(folder)
