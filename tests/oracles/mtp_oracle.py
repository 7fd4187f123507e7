"""DeepSeek-V3 eq. 21–23 for one sequence, token by token: no packing, no shared code with policies/mtp.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def mtp_logprobs_of_sequence(model: Any, token_ids: list[int]) -> list[Tensor]:
    """For k = 1 … D: log Pᵏ of tokens k+2 … T (counted from 1), in float64 with the model's modules.

    Args:
        model: a float64 policy that holds D layers behind its main ones.
        token_ids: t_1 … t_T.
    """
    model.set_attn_implementation("eager")
    tokens, config = torch.tensor(token_ids), model.config
    decoder = model.model
    state = decoder(input_ids=tokens[None], use_cache=False).last_hidden_state[0]
    result = []
    for k in range(1, config.num_nextn_predict_layers + 1):
        module = decoder.layers[config.num_hidden_layers + k - 1]
        length = len(token_ids) - k
        if length < 1:
            result.append(state.new_zeros(0))
            continue
        rows = []
        for i in range(length):
            embedding = decoder.embed_tokens.weight[tokens[i + k]]
            pair = torch.cat([_norm(module.enorm, embedding), _norm(module.hnorm, state[i])])
            rows.append(module.eh_proj.weight @ pair)
        joined = torch.stack(rows)
        # The Transformer block with attention over the T - k places, from transformers' submodules.
        positions = torch.arange(length)[None]
        mask = torch.full((length, length), float("-inf"), dtype=joined.dtype).triu(1)[None, None]
        attended, _ = module.self_attn(
            hidden_states=_norm(module.input_layernorm, joined)[None],
            attention_mask=mask,
            position_embeddings=decoder.rotary_emb(joined[None], positions),
        )
        middle = joined + attended[0]
        block = middle + module.mlp(_norm(module.post_attention_layernorm, middle)[None])[0]
        state = _norm(module.shared_head.norm, block)
        log_probs = (state @ model.lm_head.weight.T).log_softmax(-1)
        result.append(
            torch.stack([log_probs[i, tokens[i + k + 1]] for i in range(length - 1)])
            if length > 1
            else state.new_zeros(0)
        )
    model.set_attn_implementation("grpo_packed")
    return result


def _norm(module: Any, x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + module.variance_epsilon).sqrt() * module.weight
