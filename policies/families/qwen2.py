"""Qwen2 and Qwen2.5, and the students of R1 that grew from Qwen2.5: a bias on queries, keys and values."""

from policies.families.checks import dense
from policies.families.family import Family
from policies.families.llama import TINY

YARN = {
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 1000000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "max_position_embeddings": 256,
    "use_sliding_window": False,
}
"""YaRN as the model cards of Qwen2.5 and Qwen3 say: factor 4. The original context is short so that it matters."""

FAMILY = Family(
    name="qwen2",
    architecture="Qwen2ForCausalLM",
    qkv_bias=True,
    gguf="QWEN2",
    problems=dense,
    presets={
        "tiny-qwen2": {**TINY, "tie_word_embeddings": True},
        "tiny-qwen2-untied": {**TINY, "tie_word_embeddings": False},
        "mini-qwen2": {
            **TINY,
            "tie_word_embeddings": True,
            **YARN,
        },
    },
)
