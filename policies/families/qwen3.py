"""Qwen3, dense: norms on queries and keys, heads whose width the config names."""

from policies.families.checks import dense
from policies.families.family import Family
from policies.families.llama import TINY

FAMILY = Family(
    name="qwen3",
    architecture="Qwen3ForCausalLM",
    qk_norm=True,
    gguf="QWEN3",
    problems=dense,
    presets={
        "tiny-qwen3": {**TINY, "head_dim": 32, "tie_word_embeddings": True},
        "tiny-qwen3-untied": {**TINY, "head_dim": 32, "tie_word_embeddings": False},
        # As Qwen3: the heads together are wider than the residual stream; YaRN as its model cards say.
        "mini-qwen3": {
            **TINY,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1000000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 64,
            },
            "max_position_embeddings": 256,
            "use_sliding_window": False,
        },
    },
)
