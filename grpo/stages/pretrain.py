"""`grpo pretrain`: a tiny base policy from nothing; grpo/pretrain/trainer.py trains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from grpo.common.console import say
from grpo.config.plan import StagePlan
from grpo.config.pretrain import PretrainConfig
from grpo.stages.figures import Figures, Finished, TokenTime
from grpo.stages.preview import EXAMPLES, preview_end, preview_text
from grpo.stages.stage import POLICY_OUTPUTS, Stage
from grpo.stages.workload import Workload
from policies.json_types import JsonMapping

if TYPE_CHECKING:
    from pathlib import Path

    from grpo.tracking.run_once import Summary

USUAL_VOCABULARY = 100
"""Tokens of a tiny world's tokenizer, about: the run builds its own."""


def run(config: PretrainConfig, address: str | None) -> Summary:
    """Pre-train in this process, on no cluster; see `grpo.pretrain.trainer.run`."""
    from rich.markup import escape

    from grpo.common.console import say
    from grpo.common.neighbours import announced, warning
    from grpo.pretrain import trainer

    with announced(config.run_dir) as neighbours:
        if note := warning(neighbours, "threads"):
            say(f"[yellow]note[/] {escape(note)}")
        return trainer.run(config)


def preview(config: PretrainConfig) -> None:
    """Check the shape of the policy and print the plan and the first documents."""
    from grpo.pretrain.corpora import corpus_of
    from policies.sizes import policy_size

    size = policy_size(new_policy(config))
    say(
        f"[bold]grpo pretrain[/] {escape(config.preset)}, about {size.total / 1e6:.2f} M parameters → "
        f"{escape(str(config.run_dir))}"
    )
    say(
        f"  {config.max_steps:,} updates at most, of {config.documents_per_step} documents of {config.corpus}"
    )
    for number, text in enumerate(corpus_of(config.corpus).texts(config.seed, 0, EXAMPLES), 1):
        preview_text(f"document {number}", text)
    preview_end(config.run_dir)


def key_figure(figures: Figures) -> str:
    """Return the number of updates and the trace accuracy by length."""
    accuracy = "  ".join(f"{k} {v:.2f}" for k, v in (figures.get("trace_accuracy") or {}).items())
    return f"{figures.get('steps', 0):,} steps  trace accuracy {accuracy}"


def workload(config: PretrainConfig, plan: StagePlan, mean: float | None) -> Workload:
    """Return what the longest run trains on; `mean` is of a document."""
    tokens = config.max_steps * config.documents_per_step * mean if mean else None
    return Workload(steps=config.max_steps, trained=tokens, mean_context=(mean or 0.0) / 2)


def observe(finished: Finished) -> TokenTime:
    """Return the time of the documents that a finished run read."""
    if not finished.rows:
        return TokenTime()
    return TokenTime(
        busy_s=finished.rows[-1]["time/total_s"],
        tokens=float(finished.summary["tokens"]),
        items=float(finished.summary["steps"] * finished.config["documents_per_step"]),
    )


def write_tokenizer(config: PretrainConfig, folder: Path) -> None:
    """Write the tokenizer of the corpus into a folder."""
    from grpo.pretrain.corpora import corpus_of

    corpus_of(config.corpus).build_tokenizer(folder)


def new_policy(config: PretrainConfig) -> JsonMapping:
    """Return the transformers config of the policy, with a vocabulary of the usual size."""
    from policies.presets import tiny_config

    return tiny_config(config.preset, USUAL_VOCABULARY, **config.preset_overrides).to_dict()


STAGE = Stage(
    name="pretrain",
    help="Pre-train a tiny base policy on the procedural corpus. Run it again to resume.",
    example="grpo pretrain tiny-base --set seed=1 --set run_dir=runs/base",
    config=PretrainConfig,
    run=run,
    preview=preview,
    outputs=POLICY_OUTPUTS,
    key_figure=key_figure,
    takes_address=False,
    workload=workload,
    observe=observe,
    new_policy=new_policy,
    write_tokenizer=write_tokenizer,
)
