"""Predicted bytes of a forward against what autograd saves, for every family."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from grpo.memory.activations import RESIDUAL, saved
from policies import attention
from policies.fused import fuse
from policies.logprobs import hidden_states
from policies.mtp import mtp_layers
from policies.packing import pack, pack_documents
from policies.presets import new_policy, tiny_config

SHORT, LONG = 160, 416


@contextmanager
def saving(model: torch.nn.Module, dtype: str) -> Iterator[dict[int, torch.UntypedStorage]]:
    """Collect the storages that a forward in a dtype saves, by address, parameters left out."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            found[storage.data_ptr()] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16", cache_enabled=False), hooks:
        yield found


def saved_bytes(model: torch.nn.Module, tokens: int, dtype: str) -> int:
    """Bytes of all storages that a forward over `tokens` packed tokens saves, parameters left out."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(2, 40, size).tolist() for size in (tokens // 4, *[tokens // 4] * 3)]
    with saving(model, dtype) as found:
        hidden_states(model, pack([(ids[0], ids[1:])]))
    return sum(storage.nbytes() for storage in found.values())


def saved_bytes_ahead(model: torch.nn.Module, tokens: int, dtype: str) -> int:
    """The same for the forward of a layer of multi-token prediction."""
    packed = pack_documents([list(range(2, 2 + tokens // 8))] * 8)
    positions = packed.position_ids[None]
    states = torch.randn(1, tokens, model.config.hidden_size)
    rotary = model.get_decoder().rotary_emb(states, positions)
    (layer,) = mtp_layers(model)
    with saving(model, dtype) as found:
        layer(
            states, torch.randn_like(states), attention_mask=None, position_ids=positions,
            position_embeddings=rotary, packed_layout=packed.layout,
        )  # fmt: skip
    return sum(storage.nbytes() for storage in found.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bytes_of_a_layer_of_multi_token_prediction(dtype: str) -> None:
    attention.register()
    config = tiny_config("tiny-v3-mtp", vocab_size=48)
    model = new_policy(config, seed=0)
    fuse(model)
    measured = (saved_bytes_ahead(model, LONG, dtype) - saved_bytes_ahead(model, SHORT, dtype)) / (
        LONG - SHORT
    )
    assert saved(config.to_dict(), dtype, "cpu").mtp_layer == pytest.approx(measured, rel=0.08)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("preset", ["tiny-llama", "tiny-qwen2", "tiny-qwen3", "tiny-v2", "tiny-v3"])
def test_bytes_per_token_are_what_autograd_saves(preset: str, dtype: str) -> None:
    attention.register()
    config = tiny_config(preset, vocab_size=48)
    model = new_policy(config, seed=0)
    fuse(model)
    measured = (saved_bytes(model, LONG, dtype) - saved_bytes(model, SHORT, dtype)) / (LONG - SHORT)
    predicted = sum(saved(config.to_dict(), dtype, "cpu").layers)
    last_norm = RESIDUAL * config.hidden_size
    # Not counted: positions, indices and single numbers a token, which weigh something beside 64 channels.
    assert predicted + last_norm == pytest.approx(measured, rel=0.08)
