"""Built-in reward `reward_model`: scores each completion with a trained reward model.

    [[rewards]]
    name = "reward_model"
    kinds = ["general"]
    start_step = 1300
    timeout_s = 120
    params = { model = "runs/helpful/policy" }

Runs in a reward process of its own, on the CPU unless `device` says otherwise. Deterministic: the score of a completion
depends on that completion alone, up to rounding; batches are ordered by length.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from policies.json_types import JsonDict
from rewards.model.text import CARD, document, judged_text
from rewards.types import RewardBatch, Score

_MEND = "give the folder `policy` of a finished `grpo reward-model` run"


class RewardModel:
    """Holds the backbone and the head, loaded once.

    Args:
        model: folder `policy` of a `grpo reward-model` run.
        device: torch device of the model, e.g. "cuda:0".
        threads: torch threads of the process.
        tokens_per_forward: packed tokens per forward pass; more than one document's length only saves calls.

    Raises:
        ValueError: the folder holds no reward model; the message says what is missing and how to fix it.
    """

    def __init__(
        self, model: str, device: str = "cpu", threads: int = 1, tokens_per_forward: int = 4096
    ) -> None:
        folder = Path(model).expanduser()
        card = _card(folder)
        import torch
        from safetensors.torch import load_file

        from policies.facts import read_facts
        from policies.load import load_policy
        from policies.tokenizer import load_tokenizer
        from policies.value_head import scalar_head

        torch.set_num_threads(threads)
        facts = read_facts(folder)
        self.objective: str = card["objective"]
        self._reads = card["reads"]
        self._context, self._size = facts.max_positions, tokens_per_forward
        self._tokenizer = load_tokenizer(folder)
        self._model = load_policy(folder, device=device)
        self._head = scalar_head(facts.hidden_size, seed=0)
        try:
            self._head.load_state_dict(load_file(folder / "head.safetensors"))
        except (RuntimeError, OSError) as error:
            raise ValueError(f"{folder}: head.safetensors does not fit ({error}); {_MEND}") from error
        self._head.to(device)

    def __call__(self, batch: RewardBatch) -> list[Score]:
        """Return one score per row: the raw value r of a pairwise model, the probability σ(z) of label 1 of a pointwise
        one."""
        documents = [
            document(self._tokenizer, prompt, judged_text(completion, self._reads, prompt))
            for prompt, completion in zip(batch.prompts, batch.completions, strict=True)
        ]
        fits = [i for i, d in enumerate(documents) if len(d) <= self._context]
        values = dict(zip(fits, self.values([documents[i] for i in fits]), strict=True))
        return [self._score(values.get(i), len(document)) for i, document in enumerate(documents)]

    def values(self, documents: Sequence[Sequence[int]]) -> list[float]:
        """Return the raw head outputs, in order."""
        import torch

        from policies.value_head import sequence_values

        found = [0.0] * len(documents)
        with torch.no_grad():
            for chosen in _packs([len(d) for d in documents], self._size):
                values = sequence_values(self._model, self._head, [documents[i] for i in chosen]).tolist()
                for i, value in zip(chosen, values, strict=True):
                    found[i] = value
        return found

    def _score(self, value: float | None, length: int) -> Score:
        if value is None:
            reason = f"{length} tokens, over the reward model's context of {self._context}"
            return Score(None, verdict="error", reason=reason)
        if not math.isfinite(value):
            return Score(None, verdict="error", reason=f"the reward model gave {value}")
        return Score(_sigmoid(value) if self.objective == "pointwise" else value)


def _card(folder: Path) -> JsonDict:
    path = folder / CARD
    if not path.is_file():
        found = "no such folder" if not folder.is_dir() else f"holds no {CARD}"
        raise ValueError(f"{folder}: {found}; {_MEND}")
    try:
        card = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); {_MEND}") from error
    if card.get("objective") not in ("pairwise", "pointwise") or card.get("reads") not in (
        "summary",
        "response",
    ):
        raise ValueError(f"{path}: objective or reads missing or unknown in {card}; {_MEND}")
    return card


def _packs(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Split indices into packs of at most `limit` tokens, or of one document; sorted by length to reduce padding."""
    packs: list[list[int]] = []
    size = 0
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if not packs or size + lengths[i] > limit:
            packs.append([])
            size = 0
        packs[-1].append(i)
        size += lengths[i]
    return packs


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
