"""Every tensor of a policy from its config alone: name, shape and the part of the model it belongs to. No torch.

    tensors(config)                       config.json as a dict → a Tensor for each of transformers' parameters
    sum(t.count for t in tensors(c))      equals the loaded model's parameters, norms and biases included

`policies/sizes.py` has the few sums that times depend on; the memory of a rank depends on single tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from policies.families.registry import family_of
from policies.json_types import JsonMapping

Part = Literal["embedding", "head", "attention", "mlp", "experts", "router", "norms"]
"""`norms` are vectors: scales of norms and biases. `mlp` includes the shared experts."""


@dataclass(frozen=True)
class Tensor:
    """A parameter (or persistent buffer) as transformers names and shapes it."""

    name: str
    """E.g. "model.layers.0.self_attn.q_proj.weight"."""
    shape: tuple[int, ...]
    part: Part
    layer: int | None = None
    """Index of its layer; None outside of them."""
    is_linear: bool = False
    """True for the weight (out, in) of a linear layer, which may get a LoRA adapter."""
    is_buffer: bool = False
    """True for the router's correction bias, which no gradient moves."""

    @property
    def count(self) -> int:
        """Elements."""
        return math.prod(self.shape)


def tensors(config: JsonMapping, mtp_layers: int = 0) -> list[Tensor]:
    """Return every tensor of a policy; a head that is tied to the embedding is left out.

    Args:
        config: config.json as a dict.
        mtp_layers: layers of multi-token prediction with weights; their copies of embedding and head are not counted.

    Raises:
        ValueError: the family is not supported.
        KeyError: a size is missing.
    """
    family_of(config["model_type"])
    vocab, hidden, layers = (config[k] for k in ("vocab_size", "hidden_size", "num_hidden_layers"))
    found = [Tensor("model.embed_tokens.weight", (vocab, hidden), "embedding")]
    for layer in range(layers + mtp_layers):
        found += _layer(config, layer)
        if layer >= layers:
            found += _mtp(hidden, layer)
    found.append(Tensor("model.norm.weight", (hidden,), "norms"))
    if not config.get("tie_word_embeddings", False):
        found.append(Tensor("lm_head.weight", (vocab, hidden), "head"))
    return found


def _layer(config: JsonMapping, layer: int) -> Iterator[Tensor]:
    hidden = config["hidden_size"]
    yield from _mla(config, layer) if has_mla(config) else _attention(config, layer)
    yield from _feed_forward(config, layer)
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield Tensor(f"model.layers.{layer}.{norm}.weight", (hidden,), "norms", layer)


def _attention(config: JsonMapping, layer: int) -> Iterator[Tensor]:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    width = head_width(config)
    kv = config.get("num_key_value_heads") or heads
    family, bias = family_of(config["model_type"]), bool(config.get("attention_bias", False))
    for name, out, inner, has_bias in (
        ("q_proj", heads * width, hidden, bias or family.qkv_bias),
        ("k_proj", kv * width, hidden, bias or family.qkv_bias),
        ("v_proj", kv * width, hidden, bias or family.qkv_bias),
        ("o_proj", hidden, heads * width, bias and not family.qkv_bias),
    ):
        yield from _linear(f"model.layers.{layer}.self_attn.{name}", out, inner, "attention", layer, has_bias)
    if family.qk_norm:
        for norm in ("q_norm", "k_norm"):
            yield Tensor(f"model.layers.{layer}.self_attn.{norm}.weight", (width,), "norms", layer)


def _mla(config: JsonMapping, layer: int) -> Iterator[Tensor]:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    nope, rope, value = (config[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    rank, query_rank = config["kv_lora_rank"], config.get("q_lora_rank")
    bias = bool(config.get("attention_bias", False))
    at = f"model.layers.{layer}.self_attn"
    if query_rank is None:
        yield from _linear(f"{at}.q_proj", heads * (nope + rope), hidden, "attention", layer)
    else:
        yield from _linear(f"{at}.q_a_proj", query_rank, hidden, "attention", layer, bias)
        yield Tensor(f"{at}.q_a_layernorm.weight", (query_rank,), "norms", layer)
        yield from _linear(f"{at}.q_b_proj", heads * (nope + rope), query_rank, "attention", layer)
    yield from _linear(f"{at}.kv_a_proj_with_mqa", rank + rope, hidden, "attention", layer, bias)
    yield Tensor(f"{at}.kv_a_layernorm.weight", (rank,), "norms", layer)
    yield from _linear(f"{at}.kv_b_proj", heads * (nope + value), rank, "attention", layer)
    yield from _linear(f"{at}.o_proj", hidden, heads * value, "attention", layer, bias)


def _feed_forward(config: JsonMapping, layer: int) -> Iterator[Tensor]:
    hidden, at = config["hidden_size"], f"model.layers.{layer}.mlp"
    bias = bool(config.get("mlp_bias", False)) and family_of(config["model_type"]).mlp_bias
    if not is_sparse(config, layer):
        yield from _mlp(at, hidden, config["intermediate_size"], layer, bias)
        return
    experts, inner = config["n_routed_experts"], config["moe_intermediate_size"]
    yield Tensor(f"{at}.gate.weight", (experts, hidden), "router", layer)
    if family_of(config["model_type"]).router == "sigmoid":
        yield Tensor(f"{at}.gate.e_score_correction_bias", (experts,), "router", layer, is_buffer=True)
    yield Tensor(f"{at}.experts.gate_up_proj", (experts, 2 * inner, hidden), "experts", layer)
    yield Tensor(f"{at}.experts.down_proj", (experts, hidden, inner), "experts", layer)
    if shared := config.get("n_shared_experts") or 0:
        yield from _mlp(f"{at}.shared_experts", hidden, shared * inner, layer, bias)


def _mlp(at: str, hidden: int, inner: int, layer: int, bias: bool) -> Iterator[Tensor]:
    yield from _linear(f"{at}.gate_proj", inner, hidden, "mlp", layer, bias)
    yield from _linear(f"{at}.up_proj", inner, hidden, "mlp", layer, bias)
    yield from _linear(f"{at}.down_proj", hidden, inner, "mlp", layer, bias)


def _mtp(hidden: int, layer: int) -> Iterator[Tensor]:
    at = f"model.layers.{layer}"
    yield Tensor(f"{at}.eh_proj.weight", (hidden, 2 * hidden), "attention", layer)
    for norm in ("enorm", "hnorm", "shared_head.norm"):
        yield Tensor(f"{at}.{norm}.weight", (hidden,), "norms", layer)


def _linear(name: str, out: int, inner: int, part: Part, layer: int, bias: bool = False) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", (out, inner), part, layer, is_linear=True)
    if bias:
        yield Tensor(f"{name}.bias", (out,), "norms", layer)


def has_mla(config: JsonMapping) -> bool:
    """Return True if the policy's heads share a latent."""
    return family_of(config["model_type"]).attention == "mla"


def head_width(config: JsonMapping) -> int:
    """Return the width of a head of a family without MLA."""
    width: int = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return width


def is_sparse(config: JsonMapping, layer: int) -> bool:
    """Return True if a layer has routed experts."""
    if family_of(config["model_type"]).router is None or not config.get("n_routed_experts"):
        return False
    return bool(layer >= config.get("first_k_dense_replace", 0))
