"""DeepSeek-V2 and V3 in float64 from a checkpoint's tensors and its config.json, in plain loops over layers and tokens.

Written from the papers (V2 2405.04434 §2, V3 2412.19437 §2.1) and the released modelling code's order of operations,
with neither transformers nor `policies`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Config = dict[str, Any]


@dataclass
class Run:
    """What a forward of n tokens gives."""

    logprobs: Tensor
    """(n-1, V) after each token but the last."""
    experts: dict[int, list[set[int]]] = field(default_factory=dict)
    """Chosen experts of each token, by layer."""
    shares: dict[int, list[dict[int, float]]] = field(default_factory=dict)
    """The weight of each chosen expert, by layer and token."""


def forward(config: Config, weights: dict[str, Tensor], tokens: list[int]) -> Run:
    w = {name: tensor.double() for name, tensor in weights.items()}
    states = w["model.embed_tokens.weight"][torch.tensor(tokens)]
    run = Run(torch.empty(0))
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        states = states + attention(config, w, at, norm(states, w[f"{at}.input_layernorm.weight"], config))
        inner = norm(states, w[f"{at}.post_attention_layernorm.weight"], config)
        if layer < config["first_k_dense_replace"]:
            states = states + gated(w, f"{at}.mlp", inner)
        else:
            states = states + experts(config, w, layer, inner, run)
    states = norm(states, w["model.norm.weight"], config)
    run.logprobs = (states @ w["lm_head.weight"].T).log_softmax(-1)[:-1]
    return run


def norm(x: Tensor, weight: Tensor, config: Config) -> Tensor:
    return weight * x / (x.pow(2).mean(-1, keepdim=True) + config.get("rms_norm_eps", 1e-6)).sqrt()


def gated(w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    gate, up = x @ w[f"{at}.gate_proj.weight"].T, x @ w[f"{at}.up_proj.weight"].T
    return (gate / (1 + (-gate).exp()) * up) @ w[f"{at}.down_proj.weight"].T


def mscale(factor: float, scale: float) -> float:
    return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0


def frequencies(config: Config) -> tuple[list[float], float, float]:
    """Angle per position of each pair, factor of the rotations, factor of the softmax's scale."""
    dim, base = config["qk_rope_head_dim"], config["rope_theta"]
    plain = [base ** (-2 * i / dim) for i in range(dim // 2)]
    yarn = config.get("rope_scaling")
    if not yarn:
        return plain, 1.0, 1.0
    factor, original = yarn["factor"], yarn["original_max_position_embeddings"]

    def index(turns: float) -> float:
        """The pair that turns so often over the original context."""
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(index(yarn["beta_fast"])), 0)
    high = min(math.ceil(index(yarn["beta_slow"])), dim - 1)
    width = (high - low) or 0.001
    found = []
    for i, angle in enumerate(plain):
        stretched = min(max((i - low) / width, 0.0), 1.0)
        found.append(angle / factor * stretched + angle * (1 - stretched))
    scale, all_dim = yarn.get("mscale", 1), yarn.get("mscale_all_dim", 0)
    softmax = mscale(factor, all_dim) ** 2 if all_dim else 1.0
    return found, mscale(factor, scale) / mscale(factor, all_dim), softmax


def rotate(x: Tensor, config: Config) -> Tensor:
    """(n, …, dim): pairs of neighbours turn by position × frequency."""
    angles, factor, _ = frequencies(config)
    turned = torch.empty_like(x)
    for position in range(len(x)):
        for pair, angle in enumerate(angles):
            c, s = math.cos(position * angle) * factor, math.sin(position * angle) * factor
            a, b = x[position, ..., 2 * pair], x[position, ..., 2 * pair + 1]
            turned[position, ..., 2 * pair] = a * c - b * s
            turned[position, ..., 2 * pair + 1] = a * s + b * c
    return turned


def attention(config: Config, w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    heads, nope, rope, value = (
        config[key] for key in ("num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    )
    n, rank = len(x), config["kv_lora_rank"]
    at = f"{at}.self_attn"
    if config.get("q_lora_rank"):
        low = norm(x @ w[f"{at}.q_a_proj.weight"].T, w[f"{at}.q_a_layernorm.weight"], {})
        query = low @ w[f"{at}.q_b_proj.weight"].T
    else:
        query = x @ w[f"{at}.q_proj.weight"].T
    query = query.view(n, heads, nope + rope)
    latent = x @ w[f"{at}.kv_a_proj_with_mqa.weight"].T
    expanded = norm(latent[:, :rank], w[f"{at}.kv_a_layernorm.weight"], {}) @ w[f"{at}.kv_b_proj.weight"].T
    expanded = expanded.view(n, heads, nope + value)
    turned_query, turned_key = rotate(query[..., nope:], config), rotate(latent[:, rank:], config)
    scale = (nope + rope) ** -0.5 * frequencies(config)[2]
    out = torch.empty(n, heads, value, dtype=torch.float64)
    for head in range(heads):
        scores = query[:, head, :nope] @ expanded[:, head, :nope].T + turned_query[:, head] @ turned_key.T
        scores = (scores * scale).masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -math.inf)
        out[:, head] = scores.softmax(-1) @ expanded[:, head, nope:]
    return out.view(n, heads * value) @ w[f"{at}.o_proj.weight"].T


def gate(config: Config, logits: list[float], bias: list[float] | None) -> dict[int, float]:
    """Chosen experts with their weights, of one token."""
    if config["scoring_func"] == "sigmoid":
        scores = [1 / (1 + math.exp(-x)) for x in logits]
    else:
        total = sum(math.exp(x) for x in logits)
        scores = [math.exp(x) / total for x in logits]
    choice = scores if bias is None else [s + b for s, b in zip(scores, bias, strict=True)]
    allowed = set(range(len(scores)))
    if config["topk_method"] != "greedy":
        size = len(scores) // config["n_group"]
        best = 2 if config["topk_method"] == "noaux_tc" else 1  # V3: the two best; V2: the best
        ranks = [
            sum(sorted(choice[g * size : (g + 1) * size], reverse=True)[:best])
            for g in range(config["n_group"])
        ]
        kept = sorted(range(len(ranks)), key=lambda g: -ranks[g])[: config["topk_group"]]
        allowed = {g * size + i for g in kept for i in range(size)}
    chosen = sorted(allowed, key=lambda i: -choice[i])[: config["num_experts_per_tok"]]
    total = sum(scores[i] for i in chosen) if config["norm_topk_prob"] else 1.0
    return {i: scores[i] / total * config["routed_scaling_factor"] for i in chosen}


def experts(config: Config, w: dict[str, Tensor], layer: int, x: Tensor, run: Run) -> Tensor:
    at = f"model.layers.{layer}.mlp"
    logits = x @ w[f"{at}.gate.weight"].T
    bias = w.get(f"{at}.gate.e_score_correction_bias")
    result = gated(w, f"{at}.shared_experts", x)
    run.experts[layer], run.shares[layer] = [], []
    for token in range(len(x)):
        shares = gate(config, logits[token].tolist(), None if bias is None else bias.tolist())
        for expert, share in shares.items():
            result[token] += share * gated(w, f"{at}.experts.{expert}", x[token])
        run.experts[layer].append(set(shares))
        run.shares[layer].append(shares)
    return result
