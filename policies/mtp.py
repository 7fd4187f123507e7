"""Multi-token prediction (DeepSeek-V3 2412.19437 §2.2): further layers predict tokens further ahead.

    logprobs = mtp_logprobs(model, packed, hidden_states(model, packed))      # one (C_k,) per depth k = 1 … K

At index i of a sequence, depth k reads the state of depth k-1 and the embedding of token i+k, and predicts token i+k+1
with the policy's head:

    h'ᵏᵢ = M_k [norm(Emb(tᵢ₊ₖ)); norm(hᵏ⁻¹ᵢ)]     hᵏ = Block_k(h'ᵏ)     Pᵏᵢ₊ₖ₊₁ = Head(norm(hᵏᵢ))      eq. 21–23

The halves of M_k are in the order of the published weights. As in the engines that run these layers, h⁰ is the main
model's state after its last norm, and depth k+1 reads hᵏ after depth k's norm.

Axes: T packed tokens, D model width, C_k targets that depth k predicts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from policies.context import own_targets, own_tokens
from policies.facts import MTP_STATE
from policies.logprobs import token_logprobs
from policies.model import causal_lm
from policies.packing import PackedSequences
from policies.shards import DividedRows, in_rows, whole

_LAYER = re.compile(r"model\.layers\.(\d+)\.")
_COPY = re.compile(r"model\.layers\.\d+\.(embed_tokens|shared_head\.head)\.weight")


def mtp_layers(model: nn.Module) -> list[nn.Module]:
    """Return the policy's layers for multi-token prediction; most policies have none."""
    base = causal_lm(model)
    return list(base.get_decoder().layers[base.config.num_hidden_layers :])


def mtp_logprobs(
    model: nn.Module,
    packed: PackedSequences,
    states_TD: Tensor,
    *,
    chunk_tokens: int = 512,
    layers_alone: bool = False,
) -> list[Tensor]:
    """Compute log-probabilities of the targets, depth by depth, differentiable in these layers and the main model.

    Args:
        model: a policy with `mtp_layers`.
        packed: sequences of `policies.packing.pack_documents`, which do not see each other; if ranks divide the model's
            tokens, of `policies.context.divided`.
        states_TD: hidden states of the main model (`policies.logprobs.hidden_states`).
        chunk_tokens: rows of logits that exist at one time.
        layers_alone: no gradient for what the layers share with the main model: its states, embedding and head.
    Returns:
        For each depth k (C_k,) float32 of the targets with at least k+1 tokens before them, in their order.
    """
    base = causal_lm(model)
    decoder = base.get_decoder()
    positions = own_tokens(packed, packed.position_ids)[None]
    rotary = decoder.rotary_emb(states_TD[None], positions)
    target_index = packed.position_ids[packed.predict_index] + 1
    size = len(packed.token_ids)
    indices = own_tokens(packed, torch.arange(size, device=states_TD.device))
    states = states_TD[None]
    head_VD = whole(base.get_output_embeddings().weight)
    if layers_alone:
        states, head_VD = states.detach(), head_VD.detach()
    result: list[Tensor] = []
    for k, layer in enumerate(mtp_layers(model), 1):
        # The last k tokens of a sequence read tokens of the next one. Nothing is predicted from them, and attention
        # only looks back.
        ahead = packed.token_ids[(indices + k).clamp(max=size - 1)]
        embeddings = decoder.embed_tokens(ahead[None])
        states = layer(
            states,
            embeddings.detach() if layers_alone else embeddings,
            attention_mask=None,
            position_ids=positions,
            position_embeddings=rotary,
            packed_layout=packed.layout,
        )
        kept = target_index > k
        own = own_targets(packed, packed.predict_index[kept] - k)
        logprobs, _ = token_logprobs(
            states[0].index_select(0, own.rows),
            head_VD,
            own.of(packed.target_ids[kept]),
            chunk_tokens=chunk_tokens,
        )
        result.append(own.joined(logprobs))
    return result


def drop_mtp(model: nn.Module) -> None:
    """Remove the layers, in place, from the policy and its config."""
    base = causal_lm(model)
    base.get_decoder().layers = base.get_decoder().layers[: base.config.num_hidden_layers]
    if hasattr(base.config, "num_nextn_predict_layers"):
        base.config.num_nextn_predict_layers = 0


def declare_mtp(model: nn.Module, *, trained: bool) -> None:
    """Say in the policy's config if the layers follow its main layers: `mtp_state` is "stale" where they do not.

    Args:
        model: a policy; without such layers nothing is said.
        trained: the layers were trained along with the main layers, or after them.
    """
    config = causal_lm(model).config
    if hasattr(config, MTP_STATE):
        delattr(config, MTP_STATE)
    if mtp_layers(model) and not trained:
        setattr(config, MTP_STATE, "stale")


def is_mtp_tensor(name: str, main_layers: int) -> bool:
    """Return True for a checkpoint's tensor that only multi-token prediction reads."""
    found = _LAYER.match(name)
    return found is not None and int(found[1]) >= main_layers


def is_shared_copy(name: str) -> bool:
    """Return True for a layer's copy of the embedding or of the head, which published checkpoints hold."""
    return _COPY.fullmatch(name) is not None


def shared_copies(model: nn.Module) -> Iterator[tuple[str, Tensor | DividedRows]]:
    """Yield embedding and head once more for each layer: published checkpoints repeat them, and engines load them."""
    base = causal_lm(model)
    first = base.config.num_hidden_layers
    for number in range(first, first + len(mtp_layers(model))):
        for name, module in (
            (f"model.layers.{number}.embed_tokens.weight", base.get_input_embeddings()),
            (f"model.layers.{number}.shared_head.head.weight", base.get_output_embeddings()),
        ):
            yield name, in_rows(name, module.weight.detach())
