"""Multi-token prediction (DeepSeek-V3 2412.19437 §2.2): log-probs of tokens further ahead, through layers of their own.

    logprobs = mtp_logprobs(model, packed, hidden_states(model, packed))      # one (C_k,) per depth k = 1 … K

Depth k sees, at place i of a sequence, the state of depth k-1 there and the embedding of token i+k, and predicts token
i+k+1 with the policy's own head:

    h'ᵏᵢ = M_k [norm(Emb(tᵢ₊ₖ)); norm(hᵏ⁻¹ᵢ)]     hᵏ = Block_k(h'ᵏ)     Pᵏᵢ₊ₖ₊₁ = Head(norm(hᵏᵢ))      eq. 21–23

The halves of M_k stand as in the published weights. As in the engines that run these layers, h⁰ is the main model's
state behind its last norm, and hᵏ goes on behind its own.

Axes: T packed tokens, D model width, C_k targets that depth k predicts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from policies.logprobs import causal_lm, token_logprobs
from policies.packing import PackedSequences

_LAYER = re.compile(r"model\.layers\.(\d+)\.")
_COPY = re.compile(r"model\.layers\.\d+\.(embed_tokens|shared_head\.head)\.weight")


def mtp_layers(model: Any) -> list[nn.Module]:
    """The layers for multi-token prediction that the policy holds; none for most."""
    base = causal_lm(model)
    return list(base.get_decoder().layers[base.config.num_hidden_layers :])


def mtp_logprobs(
    model: Any, packed: PackedSequences, states_TD: Tensor, *, chunk_tokens: int = 512
) -> list[Tensor]:
    """Log-probabilities of the targets, depth by depth, with their graph into layers and main model.

    Args:
        model: a policy with `mtp_layers`.
        packed: of `policies.packing.pack_documents`: sequences that do not see each other.
        states_TD: its hidden states (`policies.logprobs.hidden_states`).
        chunk_tokens: rows of logits that exist at one time.
    Returns:
        For depth k the targets that have k+1 tokens before them in their sequence, in the order of the targets.
    """
    base = causal_lm(model)
    decoder = base.get_decoder()
    positions = packed.position_ids[None]
    rotary = decoder.rotary_emb(states_TD[None], positions)
    place_of_target = packed.position_ids[packed.predict_index] + 1
    size = len(packed.token_ids)
    places = torch.arange(size, device=states_TD.device)
    states, result = states_TD[None], []
    for k, layer in enumerate(mtp_layers(model), 1):
        # The last k places of a sequence read tokens of the next one: nothing is predicted from there, and attention
        # looks back only.
        ahead = packed.token_ids[(places + k).clamp(max=size - 1)]
        states = layer(
            states,
            decoder.embed_tokens(ahead[None]),
            attention_mask=None,
            position_ids=positions,
            position_embeddings=rotary,
            packed_layout=packed.layout,
        )
        kept = place_of_target > k
        logprobs, _ = token_logprobs(
            states[0].index_select(0, packed.predict_index[kept] - k),
            base.get_output_embeddings().weight,
            packed.target_ids[kept],
            chunk_tokens=chunk_tokens,
        )
        result.append(logprobs)
    return result


def is_mtp_tensor(name: str, main_layers: int) -> bool:
    """True for a checkpoint's tensor that only multi-token prediction reads."""
    found = _LAYER.match(name)
    return found is not None and int(found[1]) >= main_layers


def is_shared_copy(name: str) -> bool:
    """True for a layer's copy of the embedding or of the head, which published checkpoints hold."""
    return _COPY.fullmatch(name) is not None


def shared_copies(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Copies of embedding and head for each layer, as published checkpoints repeat them and engines load them."""
    base = causal_lm(model)
    first = base.config.num_hidden_layers
    for number in range(first, first + len(mtp_layers(model))):
        yield (
            f"model.layers.{number}.embed_tokens.weight",
            base.get_input_embeddings().weight.detach().clone(),
        )
        head = base.get_output_embeddings().weight.detach().clone()
        yield f"model.layers.{number}.shared_head.head.weight", head
