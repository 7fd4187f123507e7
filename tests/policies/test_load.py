from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from policies.errors import BrokenCheckpoint, UnsupportedArchitecture
from policies.export import save_policy
from policies.families.registry import PRESETS
from policies.hf_names import load_named_tensors, named_tensors
from policies.load import load_policy
from policies.logprobs import sequence_logprobs
from policies.mtp import is_shared_copy
from policies.presets import new_policy, tiny_config
from policies.tokenizer import load_tokenizer
from tests.policies.tiny import tiny_policy, write_tokenizer

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]


def with_bias(model: Any) -> Any:
    """A router bias that is not zero, so that losing it shows."""
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.copy_(torch.linspace(-0.3, 0.3, len(buffer)))
    return model


@pytest.mark.parametrize("preset", PRESETS)
def test_saved_files_hold_the_named_tensors_and_load_back_bit_for_bit(tmp_path: Path, preset: str):
    model = with_bias(tiny_policy(preset))
    folder = save_policy(model, tmp_path / "policy", None)
    saved = {n: t for n, t in load_file(folder / "model.safetensors").items() if not is_shared_copy(n)}
    named = dict(named_tensors(model))
    assert saved.keys() == named.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in named.items())
    loaded = load_policy(folder)
    assert [name for name, _ in named_tensors(loaded)] == list(named)
    assert all(torch.equal(t, named[name]) for name, t in named_tensors(loaded))
    assert torch.equal(sequence_logprobs(loaded, TOKENS), sequence_logprobs(model, TOKENS))
    assert not loaded.training
    assert all(p.dtype == torch.float32 and p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("preset", ["tiny-v3", "tiny-v2"])
def test_expert_names_are_those_of_transformers_own_conversion(preset: str):
    from transformers.core_model_loading import revert_weight_conversion

    model = with_bias(tiny_policy(preset))
    expected = revert_weight_conversion(model, model.state_dict())
    named = dict(named_tensors(model))
    assert named.keys() == expected.keys()
    assert all(torch.equal(named[name], tensor) for name, tensor in expected.items())
    assert "model.layers.1.mlp.experts.3.up_proj.weight" in named


def test_named_tensors_are_views_of_the_live_weights():
    model = tiny_policy("tiny-v3")
    storages = {t.untyped_storage().data_ptr() for t in model.state_dict().values()}
    for name, tensor in named_tensors(model):
        assert tensor.untyped_storage().data_ptr() in storages, name
        assert not tensor.requires_grad


def test_transformers_loads_the_folder(tmp_path: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    model = tiny_policy("tiny-v3")
    folder = save_policy(model, tmp_path / "policy", tokenizer)
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    logits = plain(input_ids=torch.tensor([TOKENS])).logits[0, :-1].log_softmax(-1)
    expected = logits.gather(1, torch.tensor(TOKENS[1:])[:, None])[:, 0]
    torch.testing.assert_close(sequence_logprobs(model, TOKENS), expected, atol=1e-5, rtol=0)
    ids = load_tokenizer(folder).encode("the cat")
    assert AutoTokenizer.from_pretrained(folder).encode("the cat", add_special_tokens=False) == ids


def test_config_carries_what_the_engine_builds_the_bias_for(tmp_path: Path):
    config = json.loads(
        (save_policy(tiny_policy("tiny-v3"), tmp_path / "p", None) / "config.json").read_text()
    )
    assert config["topk_method"] == "noaux_tc"
    assert config["scoring_func"] == "sigmoid"
    assert config["architectures"] == ["DeepseekV3ForCausalLM"]
    assert config["num_nextn_predict_layers"] == 0


def test_config_has_the_keys_that_older_readers_know(tmp_path: Path):
    def written(preset: str) -> dict[str, Any]:
        folder = save_policy(tiny_policy(preset), tmp_path / preset, None)
        return json.loads((folder / "config.json").read_text())

    llama = written("mini-llama3")
    assert llama["rope_theta"] == 500000.0
    assert {"type": "llama3", "rope_type": "llama3", "factor": 8.0}.items() <= llama["rope_scaling"].items()
    plain = written("tiny-llama")
    assert plain["rope_theta"] == 10000.0
    assert plain["rope_scaling"] is None
    assert plain["torch_dtype"] == "float32"
    assert not {"rope_parameters", "dtype"} & (llama.keys() | plain.keys())


def test_mtp_layers_of_a_published_checkpoint_are_left_out(tmp_path: Path):
    folder = save_policy(tiny_policy("tiny-v3"), tmp_path / "policy", None)
    file = folder / "model.safetensors"
    save_file({**load_file(file), "model.layers.61.enorm.weight": torch.ones(64)}, file, {"format": "pt"})
    assert all(".61." not in name for name, _ in named_tensors(load_policy(folder)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.layers.0.mlp.up_proj.weight"), "missing tensors: model.layers.0.mlp.up_proj"),
        (lambda t: t.update(stray=torch.ones(2)), "unexpected tensors: stray"),
        (lambda t: t.update({"model.norm.weight": torch.ones(65)}), "model.norm.weight"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path: Path, change: Any, message: str):
    folder = save_policy(tiny_policy("tiny-llama"), tmp_path / "policy", None)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BrokenCheckpoint, match=message):
        load_policy(folder)


def test_an_unknown_architecture_is_refused_before_anything_loads(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["MambaForCausalLM"]}))
    with pytest.raises(UnsupportedArchitecture, match="MambaForCausalLM"):
        load_policy(tmp_path)


def test_saving_replaces_the_folder_whole(tmp_path: Path):
    first, second = tiny_policy("tiny-llama", 0), tiny_policy("tiny-llama", 1)
    out = tmp_path / "policy"
    save_policy(first, out, None)
    (out / "stale").touch()
    save_policy(second, out, None)
    assert not (out / "stale").exists()
    assert torch.equal(sequence_logprobs(load_policy(out), TOKENS), sequence_logprobs(second, TOKENS))
    assert os.listdir(tmp_path) == ["policy"]


def test_a_failed_save_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = tiny_policy("tiny-llama")
    out = save_policy(model, tmp_path / "policy", None)
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("policies.files.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_policy(tiny_policy("tiny-llama", 1), out, None)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert os.listdir(tmp_path) == ["policy"]


def test_named_tensors_load_all_or_none():
    model, other = tiny_policy("tiny-v3", 0), with_bias(tiny_policy("tiny-v3", 1))
    source = {name: t.clone() for name, t in named_tensors(other)}
    before = sequence_logprobs(model, TOKENS)
    last = list(source)[-1]
    for broken, message in (
        ({k: v for k, v in source.items() if k != last}, "1 missing"),
        ({**source, "stray": torch.ones(1)}, "1 unknown"),
        ({**source, last: torch.ones(3, 3)}, "has shape"),
    ):
        with pytest.raises(BrokenCheckpoint, match=message):
            load_named_tensors(model, broken)
        assert torch.equal(sequence_logprobs(model, TOKENS), before)
    load_named_tensors(model, source)
    assert torch.equal(sequence_logprobs(model, TOKENS), sequence_logprobs(other, TOKENS))


def test_new_policy_depends_on_its_seed_alone():
    torch.manual_seed(1)
    a = tiny_policy("tiny-v3", 3)
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    b = tiny_policy("tiny-v3", 3)
    c = tiny_policy("tiny-v3", 4)
    assert all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )
    assert not torch.equal(a.lm_head.weight, c.lm_head.weight)
    torch.manual_seed(1)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("preset", "low", "high"), [("tiny-v3", 180_000, 220_000), ("tiny-v2", 180_000, 220_000)]
)
def test_size_of_the_tiny_policies(preset: str, low: int, high: int):
    assert low < sum(p.numel() for p in tiny_policy(preset).parameters()) < high


def test_weight_std_is_as_asked():
    weights = new_policy(tiny_config("tiny-v3", 64), 0, 0.3).model.layers[1].mlp.experts.gate_up_proj
    assert abs(weights.std().item() - 0.3) < 0.01


def test_unknown_preset_names_the_choices():
    with pytest.raises(ValueError, match=r"tiny-v4.*tiny-v3"):
        tiny_config("tiny-v4", 64)
