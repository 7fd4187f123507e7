from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from data_recipes.worlds.chain.tokenizer import build_tokenizer, pieces
from data_recipes.worlds.probes import trace_accuracy as module
from data_recipes.worlds.probes.trace_accuracy import make_probe, trace_accuracy
from policies.tokenizer import Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return load_tokenizer(folder)


class FixedLogits(nn.Module):
    """A policy whose logits at every place are a function of the target there."""

    def __init__(self) -> None:
        super().__init__()
        self.head = SimpleNamespace(weight=torch.eye(len(pieces())))

    def get_output_embeddings(self) -> SimpleNamespace:
        return self.head


@pytest.fixture
def accuracy(monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer) -> Callable[..., float]:
    def _accuracy(k: int, probs: Callable[[str], dict[str, float]], count: int = 3) -> float:
        probe = make_probe(tokenizer, k, count, seed=0)

        def states(_model: nn.Module, packed) -> torch.Tensor:
            rows = torch.full((len(packed.token_ids), len(pieces())), 1e-9)
            for place, target in zip(packed.predict_index.tolist(), packed.target_ids.tolist(), strict=True):
                for piece, share in probs(pieces()[target]).items():
                    rows[place, pieces().index(piece)] = share
            return rows.log()

        monkeypatch.setattr(module, "hidden_states", states)
        return trace_accuracy(FixedLogits(), probe)

    return _accuracy


def test_certainty_is_one(accuracy) -> None:
    assert accuracy(3, lambda piece: {piece: 1.0}) == pytest.approx(1, abs=1e-4)


def test_every_digit_and_operator_counts(accuracy) -> None:
    # k = 2: "7 * 4 = 8 + 3 = 1", answer 1: of six digits the first is style; two operators.
    def half(piece: str) -> dict[str, float]:
        return {piece: 0.5, "?": 0.5} if piece.strip() and piece.strip() in "0123456789+-*" else {piece: 1.0}

    assert accuracy(2, half) == pytest.approx(0.5 ** (5 + 2), rel=1e-3)


def test_tags_do_not_count(accuracy) -> None:
    def tasteless(piece: str) -> dict[str, float]:
        tags = (" <think>", " </think>", " <answer>", " </answer>")
        return {" guess": 1.0} if piece in tags else {piece: 1.0}

    assert accuracy(2, tasteless) == pytest.approx(1, abs=1e-4)


def test_readiness_to_leap_does_not_count(accuracy) -> None:
    def leaping(piece: str) -> dict[str, float]:
        return {" then": 0.9, piece: 0.1} if piece in (" +", " -", " *") else {piece: 1.0}

    assert accuracy(4, leaping) == pytest.approx(1, abs=1e-4)


def test_going_on_after_the_end_counts_against_it(accuracy) -> None:
    def eager(piece: str) -> dict[str, float]:
        return {" </think>": 0.75, " +": 0.25} if piece == " </think>" else {piece: 1.0}

    assert accuracy(3, eager) == pytest.approx(0.75, rel=1e-3)


def test_another_tokenizer_is_refused(tokenizer: Tokenizer, monkeypatch) -> None:
    monkeypatch.setattr(type(tokenizer), "token_id", lambda self, token: None)
    with pytest.raises(ValueError, match="not the tiny tokenizer"):
        make_probe(tokenizer, 2, 1, seed=0)
