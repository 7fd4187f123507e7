"""The parts of a transformers model that this package uses, as types: transformers itself is not typed.

base = causal_lm(model)                       the transformers model of a policy, possibly inside a LoRA wrapper
base.get_output_embeddings().weight           (V, D)
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from torch import Tensor, nn

from policies.layout import AttentionLayout

AutogradContext = Any
"""`ctx` of a torch.autograd.Function. Any: forward sets attributes that torch's class does not know."""
HfConfig = Any
"""A transformers config. Any: its attributes are whatever config.json holds."""
HfModel = Any
"""A transformers or peft model. Any: nn.Module lacks their methods, and each architecture has a class of its own."""


class DecoderOutput(Protocol):
    """Output of a decoder's forward."""

    last_hidden_state: Tensor
    """(1, T, D), after the last norm."""


class Decoder(Protocol):
    """A causal model without its output head."""

    layers: nn.ModuleList
    embed_tokens: nn.Embedding

    def rotary_emb(self, states: Tensor, positions: Tensor, /) -> tuple[Tensor, Tensor]:
        """Return cosines and sines, (1, T, K) each, of (1, T) positions."""

    def __call__(
        self, *, input_ids: Tensor, position_ids: Tensor, packed_layout: AttentionLayout, use_cache: bool
    ) -> DecoderOutput:
        """Run all layers on (1, T) token ids."""


class CausalLm(Protocol):
    """A policy's transformers model."""

    config: HfConfig  # transformers' config classes take any field of a config.json

    def get_decoder(self) -> Decoder:
        """Return the model below the output head."""

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the embedding of tokens, (V, D)."""

    def get_output_embeddings(self) -> nn.Linear:
        """Return the output head, (V, D)."""


def causal_lm(model: nn.Module) -> CausalLm:
    """Return the transformers model inside a LoRA wrapper, or the model itself."""
    unwrap = getattr(model, "get_base_model", None)
    return cast(CausalLm, model if unwrap is None else unwrap())


def tied_names(model: nn.Module) -> set[str]:
    """Return parameters that are an earlier one too (the head of a policy with a tied embedding)."""
    first = {name for name, _ in model.named_parameters(remove_duplicate=True)}
    return {name for name, _ in model.named_parameters(remove_duplicate=False)} - first
