"""DeepSeek V2 and V3 with every published switch against a float64 oracle: log-probs and each choice of experts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from policies.hf_names import named_tensors
from policies.logprobs import sequence_logprobs
from policies.mtp import is_mtp_tensor
from policies.router import routers
from tests.oracles.deepseek_oracle import Config, forward, frequencies
from tests.rollout.families import policy

SHAPES = ("mini-v3", "mini-v2", "mini-v2-lite")
TOKENS = [int(i) for i in torch.randint(2, 96, (90,), generator=torch.Generator().manual_seed(3))]


def released_config(model: Any) -> Config:
    """The config in the keys of the released config.json: rope_theta and rope_scaling."""
    config = model.config.to_dict()
    rope = config.pop("rope_parameters")
    return config | {
        "rope_theta": rope["rope_theta"],
        "rope_scaling": rope if rope["rope_type"] == "yarn" else None,
    }


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    main = model.config.num_hidden_layers
    return {name: t for name, t in named_tensors(model) if not is_mtp_tensor(name, main)}


@pytest.mark.parametrize("preset", SHAPES)
def test_learner_computes_the_released_model(preset: str) -> None:
    model = policy(preset, 1)
    config, weights = released_config(model), weights_of(model)
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        router.register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, (out[1], out[2])))
        for name, router in routers(model)
    ]
    got = sequence_logprobs(model, TOKENS)
    for hook in hooks:
        hook.remove()
    run = forward(config, weights, TOKENS)
    index = torch.tensor(TOKENS[1:])[:, None]
    expected = run.logprobs.gather(1, index)[:, 0]
    entropy = -(run.logprobs.exp() * run.logprobs).sum(-1).mean() / math.log(96)
    assert entropy < 0.8, "logits are too uniform to tell a wrong model from a right one"
    assert (got.double() - expected).abs().max() < 1e-4
    assert len(run.experts) == len(seen) == 2
    for layer, sets in run.experts.items():
        shares, chosen = seen[f"model.layers.{layer}.mlp.gate"]
        assert [set(row) for row in chosen.tolist()] == sets
        for row, weight, wanted in zip(chosen.tolist(), shares.tolist(), run.shares[layer], strict=True):
            assert dict(zip(row, weight, strict=True)) == pytest.approx(wanted, rel=1e-4)
    plain = forward(config | {"rope_scaling": None}, weights, TOKENS).logprobs.gather(1, index)[:, 0]
    assert (plain - expected).abs().max() > 0.1, "YaRN makes no difference here: the test shows nothing"


@pytest.mark.parametrize(("preset", "scale"), [("mini-v3", 1.0), ("mini-v2", 0.707), ("mini-v2-lite", 1.0)])
def test_published_rotations_are_those_of_the_released_code(preset: str, scale: float) -> None:
    """Full size: 4,096 tokens stretched by 40, 64 rotary dimensions."""
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3RotaryEmbedding

    config = policy(preset, 1).config
    config.qk_rope_head_dim = config.head_dim = 64
    config.rope_parameters |= {
        "original_max_position_embeddings": 4096, "mscale": scale, "mscale_all_dim": scale
    }  # fmt: skip
    config.max_position_embeddings = 163840
    rotary = DeepseekV3RotaryEmbedding(config)
    angles, factor, softmax = frequencies(
        {"qk_rope_head_dim": 64, "rope_theta": 10000.0, "rope_scaling": config.rope_parameters}
    )
    assert rotary.inv_freq.tolist() == pytest.approx(angles, rel=1e-6)
    assert rotary.attention_scaling == pytest.approx(factor)
    assert softmax == pytest.approx((0.1 * scale * math.log(40) + 1) ** 2)
