"""LoRA on routed experts: merged equals unmerged, gradients are the chain rule's, and peft computes the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from policies.adapters import ADAPTER_FILE, base_tensors, check_adapter, expected_shapes, fingerprint
from policies.export import save_policy
from policies.facts import safetensors_header
from policies.hf_names import named_tensors
from policies.load import blank_policy, fill_policy, load_policy
from policies.logprobs import completion_logprobs, sequence_logprobs
from policies.lora import add_adapters, draw_adapters, load_adapter, plain_state, save_adapter, store_frozen
from policies.packing import pack_documents
from tests.policies.test_lora import TOKENS, adapted
from tests.policies.tiny import tiny_policy

PRESETS = ["tiny-v3", "tiny-v2"]
BOTH = ("experts", "q_proj", "o_proj")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_new_adapter_changes_no_bit(preset: str) -> None:
    model = adapted(preset, ("experts",), trained=False)
    assert torch.equal(sequence_logprobs(model, TOKENS), sequence_logprobs(tiny_policy(preset), TOKENS))
    plain, found = dict(named_tensors(tiny_policy(preset))), dict(named_tensors(model))
    assert list(found) == list(plain)
    assert all(torch.equal(found[name], tensor) for name, tensor in plain.items())


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("targets", [("experts",), BOTH])
def test_the_export_has_every_experts_sum_and_computes_the_same(
    tmp_path: Path, preset: str, targets: tuple[str, ...]
) -> None:
    model, base = adapted(preset, targets), tiny_policy(preset)
    loaded = load_policy(save_policy(model, tmp_path / "policy", None))
    expected = sequence_logprobs(model, TOKENS)
    torch.testing.assert_close(sequence_logprobs(loaded, TOKENS), expected, rtol=0, atol=2e-5)
    assert (expected - sequence_logprobs(base, TOKENS)).abs().max() > 0.05
    own, before, after = dict(model.named_parameters()), base.state_dict(), loaded.state_dict()
    fused = [n for n in before if n.endswith(("gate_up_proj", "down_proj"))]
    assert fused
    for name in fused:
        owner, _, last = name.rpartition(".")
        a, b = (own[f"{owner}.lora_{x}.{last}"] for x in "AB")
        for expert in range(len(a)):
            torch.testing.assert_close(
                after[name][expert], before[name][expert] + 8.0 / 4 * b[expert] @ a[expert], rtol=0, atol=1e-6
            )
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert fused == [n for n in before if n in moved and n in fused]
    assert all(n in fused or n.removesuffix(".weight").endswith(targets) for n in moved)


def test_only_adapters_get_a_gradient_and_it_is_the_chain_rules() -> None:
    model, packed = adapted("tiny-v3", ("experts",)), pack_documents([TOKENS, TOKENS[::-1]])
    completion_logprobs(model, packed)[0].sum().backward()
    got = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert got
    assert all(".experts.lora_" in name for name in got)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == got.keys()
    full = tiny_policy("tiny-v3")
    full.load_state_dict(dict(plain_state(model)))
    completion_logprobs(full, packed)[0].sum().backward()
    weights, adapters = dict(full.named_parameters()), dict(model.named_parameters())
    for name, gradient in got.items():
        owner, _, rest = name.partition(".lora_")
        kind, last = rest.split(".")
        outer = weights[f"{owner}.{last}"].grad
        a, b = (adapters[f"{owner}.lora_{x}.{last}"] for x in "AB")
        expected = 2.0 * (b.mT @ outer if kind == "A" else outer @ a.mT)
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("targets", [("experts",), BOTH])
def test_peft_on_transformers_own_model_gives_our_logits(
    tmp_path: Path, preset: str, targets: tuple[str, ...], recwarn: pytest.WarningsRecorder
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = save_policy(tiny_policy(preset), tmp_path / "base", None)
    model = adapted(preset, targets)
    save_adapter(model, tmp_path / "adapter", str(base))
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wrapped = PeftModel.from_pretrained(plain, tmp_path / "adapter")
    assert not any("missing adapter keys" in str(w.message) for w in recwarn)
    with torch.no_grad():
        logits = wrapped(torch.tensor([TOKENS])).logits[0, :-1].log_softmax(-1)
    found = logits.gather(1, torch.tensor(TOKENS[1:])[:, None])[:, 0]
    torch.testing.assert_close(found, sequence_logprobs(model, TOKENS), rtol=0, atol=2e-5)


def test_training_goes_on_from_an_adapter_that_peft_trained(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = save_policy(tiny_policy("tiny-v3"), tmp_path / "base", None)
    plain: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "kv_b_proj"],
        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
        task_type="CAUSAL_LM",
    )
    theirs = get_peft_model(plain, config)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.1)
        logits = theirs(torch.tensor([TOKENS])).logits[0, :-1].log_softmax(-1)
    theirs.save_pretrained(tmp_path / "adapter")
    targets = ("experts", "kv_b_proj", "q_proj")
    check_adapter(tmp_path / "adapter", base=base, model=str(base), rank=4, alpha=8.0, targets=targets)
    model = adapted("tiny-v3", targets, trained=False)
    load_adapter(model, tmp_path / "adapter")
    found = logits.gather(1, torch.tensor(TOKENS[1:])[:, None])[:, 0]
    torch.testing.assert_close(sequence_logprobs(model, TOKENS), found, rtol=0, atol=2e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_file_comes_back_and_has_the_names_and_shapes_that_are_expected(
    tmp_path: Path, preset: str
) -> None:
    base = save_policy(tiny_policy(preset), tmp_path / "base", None)
    model = adapted(preset, BOTH)
    save_adapter(model, tmp_path / "adapter", "base", fingerprint=fingerprint(base))
    shapes = safetensors_header(tmp_path / "adapter" / ADAPTER_FILE)
    assert {n: tuple(s) for n, s in shapes.items()} == expected_shapes(base_tensors(base), 4, BOTH)
    check_adapter(tmp_path / "adapter", base=base, model="another name", rank=4, alpha=8.0, targets=BOTH)
    other = adapted(preset, BOTH, trained=False)
    load_adapter(other, tmp_path / "adapter")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["target_parameters"] == ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def test_a_blank_policy_gets_the_draws_of_a_whole_one(tmp_path: Path) -> None:
    base = save_policy(tiny_policy("tiny-v3"), tmp_path / "base", None)
    model: Any = blank_policy(base)
    add_adapters(model, 4, 8.0, BOTH, seed=1)
    assert all(p.is_meta for p in model.parameters())
    fill_policy(model, base)
    draw_adapters(model, seed=1)
    expected: Any = load_policy(base)
    add_adapters(expected, 4, 8.0, BOTH, seed=1)
    own = dict(model.named_parameters())
    assert all(torch.equal(own[n], p) for n, p in expected.named_parameters())
    first = own["model.layers.1.mlp.experts.lora_A.down_proj"]
    bound = first.shape[-1] ** -0.5
    assert 0.9 * bound < first.abs().max() <= bound


def test_frozen_experts_in_bfloat16_give_the_same_bits_under_autocast() -> None:
    model = adapted("tiny-v3", ("experts",))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = sequence_logprobs(model, TOKENS)
    store_frozen(model, torch.bfloat16)
    stored = {n for n, p in model.named_parameters() if p.dtype == torch.bfloat16}
    assert any(n.endswith("experts.down_proj") for n in stored)
    assert not any("lora_" in n for n in stored)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sequence_logprobs(model, TOKENS), expected)


def test_a_policy_without_routed_experts_has_no_such_target() -> None:
    with pytest.raises(Exception, match="no linear layer named 'experts'"):
        add_adapters(tiny_policy("tiny-llama"), 4, 8.0, ("experts",), 0)
