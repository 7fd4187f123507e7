"""`grpo reward-model`: judgements → a reward model in run_dir/policy (weights, head.safetensors, reward_model.json)."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpo.common.hardware import resolve_compute_dtype
from grpo.config.reward_model import RewardModelConfig
from grpo.supervised.loop import Job, hash_items, run_supervised, take_holdout
from grpo.training.reward_model_data import Labelled, read_judgements
from policies.facts import read_facts, resolve_model
from policies.files import write_atomic
from policies.tokenizer import load_tokenizer
from rewards.model.text import CARD

if TYPE_CHECKING:
    from grpo.training.supervised_learner import ObjectiveFactory


def run(config: RewardModelConfig, address: str | None) -> dict[str, Any]:
    """Train, or go on training, in config.run_dir; returns the summary.

    With held-out examples the summary has final_heldout_accuracy (pairs ranked right; point-wise: right at one half)
    and, point-wise with both labels held out, final_heldout_auc.
    """
    held: list[Any] = []

    def read() -> Job:
        job = read_job(config)
        held.extend(job.held_out)
        return job

    summary = run_supervised(config, "grpo reward-model", read, address)
    # Always, also for a run that an earlier call finished and did not come to mark.
    # The base without the folders above it: the card is part of the artefact, which is the same in every run directory.
    base = "/".join(Path(config.policy.model).parts[-2:])
    card = {"objective": config.objective, "reads": config.reads, "base": base}
    write_atomic(config.model_dir / CARD, json.dumps(card, indent=2) + "\n")
    if config.objective == "pointwise" and config.eval.holdout and "final_heldout_auc" not in summary:
        summary["final_heldout_auc"] = _heldout_auc(config, held or list(read_job(config).held_out))
        write_atomic(config.run_dir / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def read_job(config: RewardModelConfig) -> Job:
    """Read and check model folder and data; every fault is one error, before anything is launched."""
    from grpo.training.reward_model_objective import PairwiseObjective, PointwiseObjective

    model_dir = resolve_model(config.policy.model)
    policy = read_facts(model_dir)
    items, counts = read_judgements(config, load_tokenizer(model_dir))
    objective: ObjectiveFactory = PairwiseObjective if config.objective == "pairwise" else PointwiseObjective
    kept, held = take_holdout(len(items), config.eval.holdout, config.seed)
    return Job(
        model_dir=model_dir,
        compute_dtype=resolve_compute_dtype(config.policy.compute_dtype, policy.hidden_size),
        objective=objective,
        items=[items[i] for i in kept],
        held_out=[items[i] for i in held],
        data_hashes={"train": hash_items([_digest(items[i]) for i in kept])},
        counts=counts,
    )


def auc(values: Sequence[float], labels: Sequence[float]) -> float | None:
    """P(value of a random good one > value of a random bad one), ties one half; None without both labels."""
    good = [v for v, y in zip(values, labels, strict=True) if y]
    bad = sorted(v for v, y in zip(values, labels, strict=True) if not y)
    if not good or not bad:
        return None
    beaten = sum(bisect_left(bad, g) + bisect_right(bad, g) for g in good)  # twice, where there is no tie
    return beaten / 2 / (len(good) * len(bad))


def _heldout_auc(config: RewardModelConfig, held: Sequence[Labelled]) -> float | None:
    from rewards.model.reward import RewardModel

    values = RewardModel(str(config.model_dir)).values([item.token_ids.tolist() for item in held])
    return auc(values, [item.label for item in held])


def _digest(item: Any) -> str:
    """The item's content, as text."""
    parts = (item.chosen, item.rejected) if hasattr(item, "chosen") else (item.token_ids, item.label)
    return " ".join(str(p.tolist() if hasattr(p, "tolist") else p) for p in parts)
