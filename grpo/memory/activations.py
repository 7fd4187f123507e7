"""Bytes that a forward keeps for its backward, per packed token: what autograd saves, module by module. Pure.

Checked against torch's saved tensors (tests/grpo/memory/test_activations.py). c is the bytes of an element in the
compute dtype, a those of the attention's operands (float32 on a CPU, whatever the compute dtype). The residual stream
is float32 in either.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.families.registry import family_of
from policies.json_types import JsonMapping
from policies.parts import has_mla, head_width, is_sparse

RESIDUAL = 4
"""Bytes of an element between the layers."""
ELEMENT = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Saved:
    """Bytes per token."""

    layers: tuple[float, ...]
    """Of each layer, all that its backward reads but the weights."""
    layer_input: float
    """Of a layer with recompute: its input alone."""
    mtp_layer: float
    """Of a layer of multi-token prediction that is trained, per token that it sees."""


def saved(config: JsonMapping, dtype: str, device: str) -> Saved:
    """Return what a forward with gradients keeps.

    Args:
        config: config.json as a dict.
        dtype: of the matrix products, "float32" or "bfloat16".
        device: "cpu" or "cuda"; decides the dtype of the attention.
    """
    c = ELEMENT[dtype]
    a = 4 if device == "cpu" else c
    hidden = config["hidden_size"]
    attention = _mla if has_mla(config) else _attention
    # Each layer has two norms, which save their input in the residual's type, and their outputs feed the projections.
    common = 2 * (RESIDUAL + c) * hidden + attention(config, c, a)
    layers = config["num_hidden_layers"]
    # States and embeddings before their norms and, joined, as the projection reads them; the last norm's input.
    joined = (3 * RESIDUAL + 2 * c) * hidden
    return Saved(
        layers=tuple(common + _feed_forward(config, i, c) for i in range(layers)),
        layer_input=RESIDUAL * hidden,
        mtp_layer=joined + common + _feed_forward(config, layers, c),
    )


def attention_widths(config: JsonMapping) -> tuple[int, int, int]:
    """Return the elements of a token's queries, of its keys and values together, and of its values."""
    heads: int = config["num_attention_heads"]
    if has_mla(config):
        query, value = config["qk_nope_head_dim"] + config["qk_rope_head_dim"], config["v_head_dim"]
        return heads * query, heads * (query + value), heads * value
    width = head_width(config)
    return heads * width, 2 * (config.get("num_key_value_heads") or heads) * width, heads * width


def _joined(config: JsonMapping, c: int, a: int) -> float:
    """Return the attention's own: queries, keys, values, output and log-sum-exp, and the output as o_proj reads it."""
    queries, keys_and_values, output = attention_widths(config)
    kept = a * (queries + keys_and_values + output) + 4 * config["num_attention_heads"]
    return kept + (c * output if c != a else 0)


def _attention(config: JsonMapping, c: int, a: int) -> float:
    norms = 0.0
    if family_of(config["model_type"]).qk_norm:  # scales queries and keys, whose projections it saves
        kv = config.get("num_key_value_heads") or config["num_attention_heads"]
        norms = c * head_width(config) * (config["num_attention_heads"] + kv)
    return norms + _joined(config, c, a)


def _mla(config: JsonMapping, c: int, a: int) -> float:
    # The latent before and after its norm; the whole projection stays, the rotary part with it.
    latent = c * (2 * config["kv_lora_rank"] + config["qk_rope_head_dim"])
    query_rank = config.get("q_lora_rank")
    latent += 2 * c * query_rank if query_rank else 0
    return float(latent + _joined(config, c, a))


def _feed_forward(config: JsonMapping, layer: int, c: int) -> float:
    hidden = config["hidden_size"]
    if not is_sparse(config, layer):
        return float(3 * c * config["intermediate_size"])  # gate, up, and their product
    inner, chosen = config["moe_intermediate_size"], config["num_experts_per_tok"]
    shared = config.get("n_shared_experts") or 0
    # An expert's tokens, gate and up together, silu(gate), the product, and its result before it is weighted.
    one = c * (2 * hidden + 4 * inner)
    router = 4 * hidden + 4 * 2 * config["n_routed_experts"]
    return float(chosen * one + 3 * c * shared * inner + router)
