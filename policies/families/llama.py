"""Llama 2 and 3, and the students of R1 that grew from Llama 3."""

from policies.families.checks import dense
from policies.families.family import Family

TINY = {
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    # Heads are 32 wide, the least that vLLM's attention on a CPU supports.
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 1024,
}
"""Sizes of the dense presets."""

FAMILY = Family(
    name="llama",
    architecture="LlamaForCausalLM",
    mlp_bias=True,
    gguf="LLAMA",
    problems=dense,
    presets={
        "tiny-llama": {**TINY, "tie_word_embeddings": False},
        "tiny-llama-tied": {**TINY, "tie_word_embeddings": True},
        # Llama 3.1: every switch of its config.json; the original context is short so that the scaling matters.
        "mini-llama3": {
            **TINY,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
            "max_position_embeddings": 256,
        },
    },
)
