"""The list of a policy's tensors against transformers' own modules, built without memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.families.registry import PRESETS
from policies.parts import tensors
from policies.presets import tiny_config
from policies.sizes import CONFIGS, policy_size


def built(config: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of a model that transformers builds; a tied head is the embedding and counts once."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        if getattr(config, "num_nextn_predict_layers", 0):
            from policies.deepseek_mtp import DeepseekV3ForCausalLM

            model: Any = DeepseekV3ForCausalLM(config)
        else:
            model = AutoModelForCausalLM.from_config(config)
    found = dict(model.named_parameters())
    found |= {n: b for n, b in model.named_buffers() if n in model.state_dict()}
    return {name: tuple(t.shape) for name, t in found.items()}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_tensor_of_every_preset(preset: str) -> None:
    config = tiny_config(preset, vocab_size=48)
    mtp = getattr(config, "num_nextn_predict_layers", 0) or 0
    listed = {t.name: t.shape for t in tensors(config.to_dict(), mtp)}
    assert listed == built(config)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_tensor_of_the_known_policies(name: str) -> None:
    from transformers import AutoConfig

    config = dict(CONFIGS[name])
    config |= {"num_nextn_predict_layers": 0}
    config = AutoConfig.for_model(config.pop("model_type"), **config)
    listed = tensors(CONFIGS[name])
    assert {t.name: t.shape for t in listed} == built(config)
    # What times are computed from leaves norms and biases out, no more.
    vectors = sum(t.count for t in listed if t.part == "norms" or t.is_buffer)
    assert policy_size(CONFIGS[name]).total == sum(t.count for t in listed) - vectors


SHAPES = st.fixed_dictionaries(
    {
        "num_hidden_layers": st.integers(1, 3),
        "num_attention_heads": st.sampled_from([2, 4]),
        "hidden_size": st.sampled_from([32, 64]),
        "intermediate_size": st.integers(8, 40),
        "tie_word_embeddings": st.booleans(),
        "attention_bias": st.booleans(),
        "mlp_bias": st.booleans(),
    }
)


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.sampled_from(["llama", "qwen2", "qwen3"]), st.sampled_from([1, 2]))
def test_any_dense_shape(sizes: dict[str, Any], family: str, kv: int) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(family, vocab_size=50, num_key_value_heads=kv, **sizes)
    assert {t.name: t.shape for t in tensors(config.to_dict())} == built(config)


@settings(max_examples=25, deadline=None)
@given(
    SHAPES,
    st.sampled_from(["deepseek_v2", "deepseek_v3"]),
    st.sampled_from([None, 24]),
    st.integers(0, 2),
    st.integers(1, 2),
)
def test_any_deepseek_shape(
    sizes: dict[str, Any], family: str, query_rank: int | None, dense: int, shared: int
) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(
        family, vocab_size=50, kv_lora_rank=16, q_lora_rank=query_rank, qk_nope_head_dim=8, qk_rope_head_dim=4,
        v_head_dim=12, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, n_group=1, topk_group=1,
        first_k_dense_replace=dense, n_shared_experts=shared, num_nextn_predict_layers=0,
        **(sizes | {"num_key_value_heads": sizes["num_attention_heads"]}),
    )  # fmt: skip
    assert {t.name: t.shape for t in tensors(config.to_dict())} == built(config)


def test_a_family_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="mamba"):
        tensors({"model_type": "mamba"})
