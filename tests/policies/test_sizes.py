"""Sizes of policies against what their makers print, against real weights, and by hand."""

from __future__ import annotations

import pytest

from policies.families.registry import PRESETS
from policies.presets import new_policy, tiny_config
from policies.sizes import SIZES, policy_size

PRINTED = {
    "deepseek-ai/DeepSeek-V3-Base": 671e9,
    "Qwen/Qwen2.5-Math-1.5B": 1.54e9,
    "Qwen/Qwen2.5-Math-7B": 7.61e9,
    "Qwen/Qwen2.5-14B": 14.7e9,
    "Qwen/Qwen2.5-32B": 32.5e9,
    "meta-llama/Llama-3.1-8B": 8.03e9,
    "meta-llama/Llama-3.3-70B-Instruct": 70.6e9,
}


@pytest.mark.parametrize("name", PRINTED)
def test_totals_are_as_printed(name: str) -> None:
    assert SIZES[name].total == pytest.approx(PRINTED[name], rel=0.01)


def test_v3_as_its_paper_has_it() -> None:
    v3 = SIZES["deepseek-ai/DeepSeek-V3-Base"]
    assert v3.active == pytest.approx(37e9, rel=0.015)
    assert v3.cache == 576 * 61
    # By hand: 256 experts of 3 × 7168 × 2048 in 58 layers.
    assert v3.routed == 58 * 256 * 3 * 7168 * 2048
    assert v3.read(1) == pytest.approx(v3.active)
    assert v3.read(1e6) == pytest.approx(v3.total - 129280 * 7168)
    # Two tokens: of 256 experts an expected 8 + 8 · 248/256 are read.
    share = (8 + 8 * 248 / 256) / 256
    assert v3.read(2) == pytest.approx(v3.active - v3.routed * 8 / 256 + v3.routed * share)
    # Attention at 1,000 tokens of context: 128 heads × (192 + 128) × 61 layers, a multiplication and an addition each.
    assert v3.forward_flops(1000) - 2 * v3.active == 2 * 128 * 320 * 61 * 1000


@pytest.mark.parametrize("preset", [p for p in PRESETS if not p.endswith(("mtp", "mini-v3"))])
def test_tiny_policies_have_as_many_weights(preset: str) -> None:
    config = tiny_config(preset, 50)
    size = policy_size(config.to_dict())
    model = new_policy(config, 0)
    matrices = sum(p.numel() for n, p in model.named_parameters() if p.dim() > 1)
    assert size.total == matrices
    embedding = 50 * size.hidden
    assert size.lookup == (0 if config.tie_word_embeddings else embedding)
    assert size.read(1e6) == pytest.approx(size.total - size.lookup)


def test_an_unknown_family_is_named() -> None:
    config = {"model_type": "gpt2", "hidden_size": 1, "num_hidden_layers": 1, "vocab_size": 1}
    with pytest.raises(ValueError, match="gpt2"):
        policy_size(config | {"num_attention_heads": 1})
