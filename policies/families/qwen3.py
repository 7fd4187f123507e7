"""Qwen3, dense: norms on queries and keys, heads whose width the config names."""

from policies.families.checks import dense
from policies.families.family import Family
from policies.families.llama import TINY
from policies.families.qwen2 import YARN

FAMILY = Family(
    name="qwen3",
    architecture="Qwen3ForCausalLM",
    qk_norm=True,
    gguf="QWEN3",
    problems=dense,
    presets={
        "tiny-qwen3": {**TINY, "head_dim": 32, "tie_word_embeddings": True},
        "tiny-qwen3-untied": {**TINY, "head_dim": 32, "tie_word_embeddings": False},
        # As Qwen3: the heads together are wider than the residual stream.
        "mini-qwen3": {
            **TINY,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "tie_word_embeddings": True,
            **YARN,
        },
    },
)
