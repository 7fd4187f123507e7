"""LoRA: nothing changes at first, merged equals unmerged, only adapters learn, and peft reads the files."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from policies.errors import BrokenCheckpoint, PolicyError
from policies.export import save_policy
from policies.hf_names import named_tensors
from policies.load import blank_policy, fill_policy, load_policy
from policies.logprobs import completion_logprobs, sequence_logprobs
from policies.lora import (
    add_adapters,
    draw_adapters,
    has_adapters,
    linear_layers,
    load_adapter,
    plain_state,
    save_adapter,
    store_frozen,
)
from policies.mtp import mtp_layers
from policies.packing import pack_documents
from tests.policies.tiny import tiny_policy

TOKENS = [5, 9, 3, 7, 7, 2, 11, 40]
PRESETS = ["tiny-v3", "tiny-v2", "tiny-llama-tied", "tiny-qwen2", "tiny-qwen3"]
MLA = ("q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")


def adapted(preset: str, targets: tuple[str, ...] = (), trained: bool = True, **fields: Any) -> Any:
    model: Any = tiny_policy(preset, **fields)
    add_adapters(model, 4, 8.0, targets, seed=1)
    if trained:
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(0.0, 0.1, generator=generator)
    return model


@pytest.mark.parametrize("preset", PRESETS)
def test_a_new_adapter_changes_nothing(preset: str) -> None:
    model = adapted(preset, trained=False)
    assert has_adapters(model)
    expected = sequence_logprobs(tiny_policy(preset), TOKENS)
    assert torch.equal(sequence_logprobs(model, TOKENS), expected)
    plain = dict(named_tensors(tiny_policy(preset)))
    found = dict(named_tensors(model))
    assert list(found) == list(plain)
    assert all(torch.equal(found[name], tensor) for name, tensor in plain.items())


@pytest.mark.parametrize("preset", PRESETS)
def test_the_export_is_w_plus_scaled_b_a_and_computes_the_same(tmp_path: Path, preset: str) -> None:
    model = adapted(preset)
    loaded = load_policy(save_policy(model, tmp_path / "policy", None))
    assert not has_adapters(loaded)
    expected = sequence_logprobs(model, TOKENS)
    torch.testing.assert_close(sequence_logprobs(loaded, TOKENS), expected, rtol=0, atol=2e-5)
    assert (expected - sequence_logprobs(tiny_policy(preset), TOKENS)).abs().max() > 0.05
    parameters = dict(model.named_parameters())
    before, after = tiny_policy(preset).state_dict(), loaded.state_dict()
    for name in before:
        prefix = name.removesuffix(".weight")
        expected_weight = before[name]
        if f"{prefix}.lora_A.default.weight" in parameters:
            a, b = (parameters[f"{prefix}.lora_{x}.default.weight"] for x in "AB")
            expected_weight = before[name] + 8.0 / 4 * b @ a
        torch.testing.assert_close(after[name], expected_weight, rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("preset", ["tiny-v3", "tiny-llama-tied"])
def test_only_adapters_get_a_gradient_and_it_is_the_chain_rules(preset: str) -> None:
    """d loss / d B = (α/r) · (d loss / d W) Aᵀ and d loss / d A = (α/r) · Bᵀ (d loss / d W), W the merged weight."""
    model, packed = adapted(preset), pack_documents([TOKENS, TOKENS[::-1]])
    completion_logprobs(model, packed)[0].sum().backward()
    got = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert all("lora_" in name for name in got)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == got.keys()
    full = tiny_policy(preset)
    full.load_state_dict(dict(plain_state(model)))
    completion_logprobs(full, packed)[0].sum().backward()
    weights = dict(full.named_parameters())
    adapters = dict(model.named_parameters())
    for name, gradient in got.items():
        prefix, _, kind = name.removesuffix(".default.weight").rpartition(".lora_")
        outer = weights[f"{prefix}.weight"].grad
        a, b = (adapters[f"{prefix}.lora_{x}.default.weight"] for x in "AB")
        expected = 2.0 * (b.T @ outer if kind == "A" else outer @ a.T)
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-3, msg=name)


def test_targets_of_mla_and_what_stays_out() -> None:
    model = adapted("tiny-v3", MLA, num_nextn_predict_layers=1)
    names = {n.partition(".lora_A")[0] for n, _ in model.named_parameters() if "lora_A" in n}
    assert names == {f"model.layers.{i}.self_attn.{t}" for i in range(3) for t in MLA}
    assert len(mtp_layers(model)) == 1
    every = adapted("tiny-v3", num_nextn_predict_layers=1)
    names = {n.partition(".lora_A")[0] for n, _ in every.named_parameters() if "lora_A" in n}
    assert names == set(linear_layers(tiny_policy("tiny-v3", num_nextn_predict_layers=1)))
    assert not any(part in n for n in names for part in (".3.", "lm_head", "router", ".gate.", "eh_proj"))
    with pytest.raises(PolicyError, match=r"no linear layer named 'k_proj'; there are .*kv_b_proj"):
        add_adapters(tiny_policy("tiny-v3"), 4, 8.0, ("k_proj",), 0)


def test_the_seed_alone_makes_the_matrices() -> None:
    def matrices(seed: int) -> list[Tensor]:
        model = tiny_policy("tiny-qwen2")
        torch.rand(seed + 3)
        add_adapters(model, 4, 8.0, (), seed)
        return [p.detach() for n, p in model.named_parameters() if "lora_A" in n]

    state = torch.random.get_rng_state()
    first = matrices(1)
    torch.random.set_rng_state(state)
    assert all(torch.equal(a, b) for a, b in zip(first, matrices(1), strict=True))
    assert not torch.equal(first[0], matrices(2)[0])


def test_peft_reads_the_adapter(tmp_path: Path) -> None:
    from peft import PeftModel

    base = save_policy(tiny_policy("tiny-llama"), tmp_path / "base", None)
    model = adapted("tiny-llama")
    save_adapter(model, tmp_path / "adapter", str(base))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    wrapped = PeftModel.from_pretrained(load_policy(base), str(tmp_path / "adapter"))
    torch.testing.assert_close(
        sequence_logprobs(wrapped, TOKENS), sequence_logprobs(model, TOKENS), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("preset", "targets"), [("tiny-v3", MLA), ("tiny-v2", MLA), ("tiny-llama-tied", ()), ("tiny-qwen3", ())]
)
def test_peft_on_transformers_own_model_gives_the_logits_of_the_merged_export(
    tmp_path: Path, preset: str, targets: tuple[str, ...]
) -> None:
    """As a user loads them: transformers' model and attention, peft's adapter; no code of ours computes."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def logits(model: Any) -> Tensor:
        with torch.no_grad():
            result: Tensor = model.eval()(torch.tensor([TOKENS])).logits
        return result

    base = save_policy(tiny_policy(preset), tmp_path / "base", None)
    model = adapted(preset, targets)
    merged = save_policy(model, tmp_path / "policy", None)
    save_adapter(model, merged / "adapter", str(base))
    plain = AutoModelForCausalLM.from_pretrained(base)
    unadapted = logits(plain)
    found = logits(PeftModel.from_pretrained(plain, merged / "adapter"))
    expected = logits(AutoModelForCausalLM.from_pretrained(merged))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (found - unadapted).abs().max() > 0.1


def test_peft_still_takes_a_shared_experts_layers_for_routed_experts(tmp_path: Path) -> None:
    """If this fails, peft has been fixed: take the warning out of the model card and docs/use.md."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = save_policy(tiny_policy("tiny-v3"), tmp_path / "base", None)
    save_adapter(adapted("tiny-v3"), tmp_path / "adapter", str(base))
    plain = AutoModelForCausalLM.from_pretrained(base)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        PeftModel.from_pretrained(plain, tmp_path / "adapter")
    assert any("missing adapter keys" in str(warning.message) for warning in caught)


def test_an_adapter_comes_back_or_is_refused_whole(tmp_path: Path) -> None:
    model = adapted("tiny-v3")
    save_adapter(model, tmp_path, "base")
    other = adapted("tiny-v3", trained=False)
    load_adapter(other, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    with pytest.raises(BrokenCheckpoint, match=r"does not fit policy\.lora.*mlp"):
        load_adapter(adapted("tiny-v3", ("q_proj", "kv_a_proj_with_mqa", "kv_b_proj")), tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(BrokenCheckpoint, match="cannot be read"):
        load_adapter(other, tmp_path)


def test_frozen_matrices_in_bfloat16_give_the_same_bits_under_autocast(tmp_path: Path) -> None:
    for preset in ("tiny-v3", "tiny-llama"):
        model = adapted(preset)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            expected = sequence_logprobs(model, TOKENS)
        store_frozen(model, torch.bfloat16)
        stored = {n for n, p in model.named_parameters() if p.dtype == torch.bfloat16}
        assert any("base_layer" in n for n in stored)
        assert not any(part in n for n in stored for part in ("lora_", "norm", "embed", ".gate."))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(sequence_logprobs(model, TOKENS), expected)
        exported = load_policy(save_policy(model, tmp_path / preset, None)).state_dict()
        assert all(torch.equal(exported[n], t) for n, t in plain_state(model))


@pytest.mark.parametrize("preset", ["tiny-v3", "tiny-qwen2"])
def test_a_blank_policy_gets_pefts_own_draws(tmp_path: Path, preset: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    base = save_policy(tiny_policy(preset), tmp_path / "base", None)
    model: Any = blank_policy(base)
    add_adapters(model, 4, 8.0, (), seed=1)
    assert all(p.is_meta for p in model.parameters())
    fill_policy(model, base)
    draw_adapters(model, seed=1)
    expected: Any = load_policy(base)
    names = sorted({name.rpartition(".")[2] for name in linear_layers(expected)})
    torch.manual_seed(1)
    inject_adapter_in_model(
        LoraConfig(r=4, target_modules=names), expected.model.layers, adapter_name="default"
    )
    own = dict(model.named_parameters())
    assert all(torch.equal(own[n], p) for n, p in expected.named_parameters())
