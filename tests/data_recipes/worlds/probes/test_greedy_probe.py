"""The greedy gate against generation token by token."""

from pathlib import Path

import torch

from data_recipes.worlds.code_tiny.tokenizer import build_tokenizer, pieces
from data_recipes.worlds.probes.greedy_probe import greedy_accuracy, greedy_probe
from policies.attention import NAME
from policies.presets import new_policy, tiny_config
from policies.tokenizer import load_tokenizer


def test_it_counts_the_replies_that_greedy_sampling_writes(tmp_path: Path) -> None:
    build_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    model = new_policy(tiny_config("tiny-qwen2", len(pieces()), eos_token_id=2), seed=1, weight_std=0.2)
    model.set_attn_implementation("sdpa")
    given = ["Write f: sort the numbers, return the sum.\n```python\n", "Write f: return the list.\n"]
    replies = []
    for text in given:
        ids = tokenizer.encode(text, add_special_tokens=True)
        start = len(ids)
        for _ in range(4):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1, 4:].argmax()) + 4)
        replies.append((text, [*ids[start:]]))
    texts = [(text, "".join(pieces()[i] for i in ids)) for text, ids in replies]
    # Pieces may merge when read as text again; the probe judges the text's own pieces.
    kept = [
        (text, rest)
        for (text, rest), (_, ids) in zip(texts, replies, strict=True)
        if tokenizer.encode(rest) == ids
    ]
    assert kept
    model.set_attn_implementation(NAME)
    assert greedy_accuracy(model, greedy_probe(tokenizer, kept)) == 1.0
    wrong = [(text, rest + "]\n" if not rest.endswith("]\n") else rest + "1:") for text, rest in kept]
    mixed = greedy_accuracy(model, greedy_probe(tokenizer, [*kept, *wrong]))
    assert 0.5 <= mixed < 1.0
