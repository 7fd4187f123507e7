"""Size of a policy from its config alone: parameters, those used for one token, and elements of the cache.

    size = policy_size(config)          a config.json as a dict
    SIZES["deepseek-ai/DeepSeek-V3-Base"]    total 671 B, active 37 B, 35,136 cache elements a token

Not counted: norms and biases (below 0.1%) and layers of multi-token prediction (V3: 11.5 B).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from policies.families.registry import family_of
from policies.json_types import JsonDict, JsonMapping


@dataclass(frozen=True)
class PolicySize:
    """Parameters (elements of weight matrices) and shape of a policy."""

    total: float
    """All parameters, embedding and head included."""
    active: float
    """Parameters used for one token: the chosen experts and the head, without the embedding."""
    routed: float
    """Parameters of all routed experts; part of `total`."""
    experts: int
    """Routed experts per layer; 0 for a dense policy."""
    chosen: int
    """Routed experts per token."""
    layers: int
    hidden: int
    heads: int
    score_width: int
    """Query/key width plus value width of a head: multiplications per head, layer and token of context."""
    cache: int
    """Elements of keys and values, or of the latent, per token in all layers."""
    lookup: int
    """Parameters of the embedding if it is not tied to the head: they are looked up, not multiplied."""

    def read(self, tokens: float) -> float:
        """Return the expected parameters that a forward of `tokens` tokens reads: of experts only the chosen ones."""
        body = self.total - self.routed - self.lookup
        if not self.experts:
            return body
        unread = math.pow(1 - self.chosen / self.experts, tokens)
        return body + self.routed * (1 - unread)

    def forward_flops(self, context: float) -> float:
        """Return the floating-point operations of one token's forward after `context` tokens.

        They are 2 per active weight plus those of the attention.
        """
        return 2 * self.active + 2 * self.layers * self.heads * self.score_width * context


def policy_size(config: JsonMapping) -> PolicySize:
    """Return the size of a policy of a supported family.

    Raises:
        ValueError: the family is not supported.
    """
    hidden, layers, vocab = (config[k] for k in ("hidden_size", "num_hidden_layers", "vocab_size"))
    heads = config["num_attention_heads"]
    tied = bool(config.get("tie_word_embeddings", False))
    lookup = 0 if tied else vocab * hidden
    ends = lookup + vocab * hidden
    if family_of(config["model_type"]).attention == "grouped":
        width = config.get("head_dim") or hidden // heads
        kv = config.get("num_key_value_heads") or heads
        attention = hidden * width * (2 * heads + 2 * kv)
        body = layers * (attention + 3 * hidden * config["intermediate_size"])
        return PolicySize(
            body + ends, body + vocab * hidden, 0, 0, 0, layers, hidden, heads, 2 * width, 2 * kv * width * layers,
            lookup,
        )  # fmt: skip
    nope, rope, value = (config[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    rank, query_rank = config["kv_lora_rank"], config.get("q_lora_rank")
    query = heads * (nope + rope)
    attention = (hidden * query_rank + query_rank * query) if query_rank else hidden * query
    attention += hidden * (rank + rope) + rank * heads * (nope + value) + heads * value * hidden
    experts, chosen, shared = (
        config.get(k) or 0 for k in ("n_routed_experts", "num_experts_per_tok", "n_shared_experts")
    )
    dense = min(config.get("first_k_dense_replace", 0), layers) if experts else layers
    sparse = layers - dense
    expert = 3 * hidden * config.get("moe_intermediate_size", 0)
    common = layers * attention + dense * 3 * hidden * config["intermediate_size"]
    common += sparse * (shared * expert + hidden * experts)
    routed = sparse * experts * expert
    return PolicySize(
        total=common + routed + ends,
        active=common + sparse * chosen * expert + vocab * hidden,
        routed=routed,
        experts=experts,
        chosen=chosen,
        layers=layers,
        hidden=hidden,
        heads=heads,
        score_width=nope + rope + value,
        cache=(rank + rope) * layers,
        lookup=lookup,
    )


def _dense(
    family: str,
    hidden: int,
    layers: int,
    heads: int,
    kv: int,
    inner: int,
    vocab: int,
    positions: int,
    **more: object,
) -> JsonDict:
    return {
        "model_type": family, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv, "intermediate_size": inner, "vocab_size": vocab,
        "max_position_embeddings": positions, **more,
    }  # fmt: skip


_V3 = {
    "model_type": "deepseek_v3", "hidden_size": 7168, "num_hidden_layers": 61, "vocab_size": 129280,
    "num_attention_heads": 128, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "kv_lora_rank": 512, "q_lora_rank": 1536, "intermediate_size": 18432, "first_k_dense_replace": 3,
    "n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1, "moe_intermediate_size": 2048,
    "max_position_embeddings": 163840, "num_nextn_predict_layers": 1,
}  # fmt: skip
"""2412.19437 §4.2; the dense layers' width from its config.json."""

_V2_LITE = {
    "model_type": "deepseek_v2", "hidden_size": 2048, "num_hidden_layers": 27, "vocab_size": 102400,
    "num_attention_heads": 16, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "kv_lora_rank": 512, "q_lora_rank": None, "intermediate_size": 10944, "first_k_dense_replace": 1,
    "n_routed_experts": 64, "num_experts_per_tok": 6, "n_shared_experts": 2, "moe_intermediate_size": 1408,
    "max_position_embeddings": 163840,
}  # fmt: skip
"""2405.04434 §B.1; widths from its config.json."""

_QWEN = {
    "1.5B": _dense("qwen2", 1536, 28, 12, 2, 8960, 151936, 4096, tie_word_embeddings=True),
    "7B": _dense("qwen2", 3584, 28, 28, 4, 18944, 152064, 4096),
    "14B": _dense("qwen2", 5120, 48, 40, 8, 13824, 152064, 131072),
    "32B": _dense("qwen2", 5120, 64, 40, 8, 27648, 152064, 131072),
}

CONFIGS: dict[str, JsonDict] = {
    "deepseek-ai/DeepSeek-V3-Base": _V3,
    "deepseek-ai/DeepSeek-V2-Lite": _V2_LITE,
    "Qwen/Qwen2.5-Math-1.5B": _QWEN["1.5B"],
    "Qwen/Qwen2.5-Math-7B": _QWEN["7B"],
    "Qwen/Qwen2.5-14B": _QWEN["14B"],
    "Qwen/Qwen2.5-32B": _QWEN["32B"],
    "meta-llama/Llama-3.1-8B": _dense("llama", 4096, 32, 32, 8, 14336, 128256, 131072),
    "meta-llama/Llama-3.3-70B-Instruct": _dense("llama", 8192, 80, 64, 8, 28672, 128256, 131072),
}
"""Configs of R1's base, of its students (R1 v2 §B.4.3) and of V2-Lite, so that a plan needs no download."""

SIZES: dict[str, PolicySize] = {name: policy_size(config) for name, config in CONFIGS.items()}
