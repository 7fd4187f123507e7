"""Shared by the tests of `policies`: random groups and tiny models whose logits are far from uniform."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn

from policies.layout import AttentionBatch
from policies.packing import PackedSequences
from policies.presets import new_policy, tiny_config
from tests.oracles.policies_oracle import Groups

VOCAB = 64


def tiny_policy(preset: str, seed: int = 0, weight_std: float = 0.12, **fields: object) -> nn.Module:
    return new_policy(tiny_config(preset, VOCAB, eos_token_id=1, **fields), seed, weight_std)


def random_groups(
    seed: int, groups: int = 4, samples: int = 4, prompt: int = 30, completion: int = 20
) -> Groups:
    rng = np.random.default_rng(seed)

    def tokens(low: int, high: int) -> list[int]:
        return rng.integers(0, VOCAB, rng.integers(low, high + 1)).tolist()

    return [(tokens(1, prompt), [tokens(0, completion) for _ in range(samples)]) for _ in range(groups)]


def group_shapes(max_groups: int = 4, max_samples: int = 4, longest: int = 12) -> st.SearchStrategy[Groups]:
    """Groups of every shape: single-token prompts, empty completions, prompts without completions."""
    token = st.integers(0, VOCAB - 1)
    completion = st.lists(token, max_size=longest)
    group = st.tuples(
        st.lists(token, min_size=1, max_size=longest), st.lists(completion, max_size=max_samples)
    )
    return st.lists(group, min_size=1, max_size=max_groups)


CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_tokenizer(folder: Path, *, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """A byte-level BPE tokenizer with special tokens, saved as transformers saves one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["the cat sat on the mat, 12 + 34 = 46\n"] * 20, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=chat_template,
    )
    fast.save_pretrained(folder)
    return folder


def visible(packed: PackedSequences) -> torch.Tensor:
    """(Q, T) how often each query meets each key in the layout's batches; counts, so that doubles show."""
    layout = packed.layout
    queries = layout.token_count if layout.share is None else len(layout.share.token_index)
    seen = torch.zeros(queries, layout.token_count, dtype=torch.int64)

    def add(batch: AttentionBatch, causal: bool) -> None:
        dead_queries = set() if batch.query_padding is None else set(batch.query_padding.tolist())
        width, key_width = batch.queries.shape[1], batch.keys.shape[1]
        for row in range(len(batch.queries)):
            for i in range(width):
                if row * width + i in dead_queries:
                    continue
                met = torch.ones(key_width, dtype=torch.bool)
                if batch.key_mask is not None:
                    met &= batch.key_mask[row, 0, 0] == 0
                if causal:
                    met[i + 1 :] = False
                seen[batch.queries[row, i]].index_add_(0, batch.keys[row], met.long())

    for part in layout.parts:
        for batch in part.batches:
            add(batch, part.causal)
    return seen
