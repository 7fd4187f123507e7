from pathlib import Path
from typing import Any

import pytest
import torch

from data_recipes.worlds.probes.reply_probe import reply_probability, reply_probe
from data_recipes.worlds.r1.corpus import SOLVED_LENGTHS
from data_recipes.worlds.r1.probe import probe_replies
from data_recipes.worlds.r1.tokenizer import build_tokenizer, pieces
from grpo.pretrain.corpora import corpus_of
from policies.presets import new_policy, tiny_config
from policies.tokenizer import Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return load_tokenizer(folder)


@pytest.fixture
def model(tokenizer: Tokenizer) -> Any:
    return new_policy(tiny_config("tiny-llama", len(tokenizer)), seed=3, weight_std=0.3)


@pytest.mark.parametrize("k", [2, 4])
def test_it_is_the_product_over_judged_tokens_one_document_at_a_time(
    tokenizer: Tokenizer, model: Any, k: int
) -> None:
    replies = probe_replies(k, 3, seed=1)
    found = reply_probability(model, reply_probe(tokenizer, replies))
    model.set_attn_implementation("sdpa")  # the oracle: transformers alone, one document at a time
    expected = []
    for reply in replies:
        prompt = tokenizer.encode(reply.prompt, add_special_tokens=True)
        ids = [tokenizer.token_id(judged.piece) for judged in reply.reply]
        with torch.no_grad():
            shares = model(torch.tensor([[*prompt, *ids]])).logits[0].softmax(-1)
        probability = 1.0
        for place, judged in enumerate(reply.reply, len(prompt) - 1):
            at = {piece: float(shares[place, tokenizer.token_id(piece)]) for piece in pieces()}
            free = 1.0 - sum(at[p] for p in judged.apart)
            if judged.right:
                probability *= sum(at[p] for p in judged.right) / free
            elif judged.wrong:
                probability *= (free - sum(at[p] for p in judged.wrong)) / free
        expected.append(probability)
    assert found == pytest.approx(sum(expected) / len(expected), rel=1e-3)


def test_probes_of_a_corpus_cover_its_solved_lengths(tokenizer: Tokenizer, model: Any) -> None:
    probes = corpus_of("r1-world").probes(tokenizer, 2, 0)
    assert set(probes) == set(SOLVED_LENGTHS)
    assert all(0 <= probe(model) < 0.01 for probe in probes.values())


def test_a_piece_of_another_tokenizer(tokenizer: Tokenizer) -> None:
    reply = probe_replies(2, 1, 0)[0]
    strange = type(reply)(reply.prompt, (type(reply.reply[0])(" zebra"),))
    with pytest.raises(ValueError, match="no piece ' zebra'"):
        reply_probe(tokenizer, [strange])
