"""`grpo reward-model`: judgements → a reward model in run_dir/policy (weights, head.safetensors, reward_model.json)."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from grpo.common.hardware import resolve_compute_dtype
from grpo.config.adapter import check_start
from grpo.config.mesh import check_launch
from grpo.config.plan import StagePlan
from grpo.config.reward_model import RewardModelConfig
from grpo.config.router import check_router
from grpo.stages.figures import Figures, loss_figure, number, trained_tokens
from grpo.stages.launch_data import show_rows, shown
from grpo.stages.preview import EXAMPLES, preview_end, preview_text
from grpo.stages.stage import MODEL, POLICY_OUTPUTS, Stage
from grpo.stages.workload import Workload, supervised_workload
from policies.facts import read_config, read_facts, resolve_model
from policies.files import write_atomic

if TYPE_CHECKING:
    from grpo.supervised.loop import Job
    from grpo.tracking.run_once import Summary
    from grpo.training.reward_model_data import Labelled, Pair
    from grpo.training.supervised_learner import ObjectiveFactory


def run(config: RewardModelConfig, address: str | None) -> Summary:
    """Train, or go on training, in config.run_dir; returns the summary.

    With held-out examples the summary has final_heldout_accuracy (the share of pairs ranked right; point-wise, of
    examples on the right side of one half) and, point-wise with both labels held out, final_heldout_auc.
    """

    from grpo.supervised.loop import run_supervised
    from rewards.model.text import CARD

    held: list[Pair | Labelled] = []

    def read() -> Job[Pair | Labelled]:
        job = read_job(config)
        held.extend(job.held_out)
        return job

    summary = run_supervised(config, "grpo reward-model", read, address)
    # Always written: an earlier call may have finished the run and stopped before its card.
    # The base without the folders above it: the card is part of the artefact, which is the same in every run directory.
    base = "/".join(Path(config.policy.model).parts[-2:])
    card = {"objective": config.objective, "reads": config.reads, "base": base}
    write_atomic(config.model_dir / CARD, json.dumps(card, indent=2) + "\n")
    if config.objective == "pointwise" and config.eval.holdout and "final_heldout_auc" not in summary:
        summary["final_heldout_auc"] = _heldout_auc(config, held or list(read_job(config).held_out))
        write_atomic(config.run_dir / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def preview(config: RewardModelConfig) -> None:
    """Check everything and print the plan and the first examples, as the reward model reads them."""
    from grpo.supervised import loop
    from grpo.training.reward_model_data import Labelled, Pair
    from policies.tokenizer import load_tokenizer

    job = read_job(config)
    loop.preview(config, "grpo reward-model", job)
    tokenizer = load_tokenizer(job.model_dir)
    for place, item in enumerate(job.items[:EXAMPLES], 1):
        title = f"example {place} of {len(job.items):,}"
        if isinstance(item, Pair):
            preview_text(f"{title}, chosen", tokenizer.decode(item.chosen.tolist(), skip_special=False))
            preview_text(f"{title}, rejected", tokenizer.decode(item.rejected.tolist(), skip_special=False))
        else:
            assert isinstance(item, Labelled)
            text = tokenizer.decode(item.token_ids.tolist(), skip_special=False)
            preview_text(title, text, {"label": item.label})
    preview_end(config.run_dir)


def read_job(config: RewardModelConfig) -> Job[Pair | Labelled]:
    """Read and check model folder and data; every error is found before an actor starts."""
    from grpo.supervised.loop import Job, take_holdout
    from grpo.training.reward_model_data import Pair, read_judgements
    from grpo.training.reward_model_objective import PairwiseObjective, PointwiseObjective
    from policies.digests import digest_lines
    from policies.tokenizer import load_tokenizer

    model_dir = resolve_model(config.policy.model)
    policy = read_facts(model_dir)
    shape = read_config(model_dir)
    check_launch(config.learner, shape)
    check_router(config.router, shape)
    adapter = check_start(config.policy, model_dir)
    tokenizer = load_tokenizer(model_dir)
    items, counts, how = read_judgements(config, tokenizer)
    first = items[0].chosen if isinstance(items[0], Pair) else items[0].token_ids
    show_rows(how, shown(tokenizer.decode(first.tolist(), skip_special=False)))
    chosen = PairwiseObjective if config.objective == "pairwise" else PointwiseObjective
    # The items are all of one kind, which is the kind that the recipe's objective takes.
    objective = cast("ObjectiveFactory[Pair | Labelled]", chosen)
    kept, held = take_holdout(len(items), config.eval.holdout, config.seed)
    return Job(
        model_dir=model_dir,
        compute_dtype=resolve_compute_dtype(config.policy.compute_dtype, policy.hidden_size),
        objective=objective,
        items=[items[i] for i in kept],
        held_out=[items[i] for i in held],
        data_hashes={"train": digest_lines(_digest(items[i]) for i in kept), **adapter},
        measures=chosen.names,
        counts=counts,
    )


def auc(values: Sequence[float], labels: Sequence[float]) -> float | None:
    """Return P(value of a random good item > value of a random bad one), ties one half; None without both labels."""
    good = [v for v, y in zip(values, labels, strict=True) if y]
    bad = sorted(v for v, y in zip(values, labels, strict=True) if not y)
    if not good or not bad:
        return None
    beaten = sum(bisect_left(bad, g) + bisect_right(bad, g) for g in good)  # twice, a tie once
    return beaten / 2 / (len(good) * len(bad))


def _heldout_auc(config: RewardModelConfig, items: Sequence[Pair | Labelled]) -> float | None:
    from grpo.training.reward_model_data import Labelled
    from rewards.model.reward import RewardModel

    held = [item for item in items if isinstance(item, Labelled)]
    values = RewardModel(str(config.model_dir)).values([item.token_ids.tolist() for item in held])
    return auc(values, [item.label for item in held])


def _digest(item: Pair | Labelled) -> str:
    """Return the content of an item as text."""

    from grpo.training.reward_model_data import Pair

    if isinstance(item, Pair):
        return f"{item.chosen.tolist()} {item.rejected.tolist()}"
    return f"{item.token_ids.tolist()} {item.label}"


def key_figure(figures: Figures) -> str:
    """Return the held-out accuracy; the loss of a run that held nothing out."""
    if figures.get("final_heldout_accuracy") is None:
        return loss_figure(figures)
    return f"held-out accuracy {number(figures, 'final_heldout_accuracy')}"


def workload(config: RewardModelConfig, plan: StagePlan, mean: float | None) -> Workload:
    """Return the sequences of all epochs; a pair has two of `mean` tokens each."""
    return supervised_workload(config, plan, mean, 2 if config.objective == "pairwise" else 1)


STAGE = Stage(
    name="reward-model",
    help="Train a reward model on pairs or labelled responses. Run it again to resume where it stopped.",
    example="grpo reward-model helpful.toml --set seed=2",
    config=RewardModelConfig,
    run=run,
    outputs=POLICY_OUTPUTS,
    key_figure=key_figure,
    inputs=("policy.model", "policy.lora.adapter", "data.source"),
    options=(MODEL,),
    preview=preview,
    workload=workload,
    observe=trained_tokens,
)
