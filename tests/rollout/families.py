"""Random tiny policies of the families whose engine is held against a plain transformers forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from policies.export import save_policy
from policies.presets import new_policy, tiny_config

VOCABULARY = 96
STOP = 1

FAMILIES = {
    # name: weight std that keeps logits far from uniform without saturating them
    "tiny-v3": 0.22,
    "mini-v3": 0.21,
    "mini-v2": 0.2,
    "mini-v2-lite": 0.21,
    "mini-qwen2": 0.22,
    "mini-qwen3": 0.22,
    "mini-llama3": 0.22,
    "tiny-llama": 0.22,
    "tiny-llama-tied": 0.22,
}

EVERYDAY = ("tiny-v3", "mini-v2", "tiny-llama-tied")
"""A family of each kind: the others differ in what these have already, and run with the slow tests."""


def policy(preset: str, seed: int, **overrides: Any) -> Any:
    """A random policy, its router bias (if any) away from zero."""
    config = tiny_config(preset, vocab_size=VOCABULARY, eos_token_id=STOP, **overrides)
    model = new_policy(config, seed=seed, weight_std=FAMILIES[preset])
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.data = 1 + 0.3 * torch.randn(parameter.shape, generator=generator)
        if name.endswith("kv_b_proj.weight"):
            # Keys as large as with a latent of 32: sharper attention would turn rounding into other tokens.
            parameter.data *= (32 / parameter.shape[1]) ** 0.5
        if name.endswith("proj.bias"):
            parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.copy_(0.2 * torch.randn(buffer.shape, generator=generator))
    return model


def save(model: Any, folder: Path) -> Path:
    """A model folder with a word-level tokenizer."""
    return add_tokenizer(save_policy(model, folder, None))


def add_tokenizer(folder: Path) -> Path:
    """Write a word-level tokenizer into a model folder."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(VOCABULARY)}
    backend = Tokenizer(models.WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="w1").save_pretrained(folder)
    return folder
