"""`grpo distill`: SFT of a student on a teacher's rows (R1 §2.4), at the paper's learning rate for its size.

grpo sample (teacher) ─▶ grpo curate ─▶ grpo distill (student) ─▶ grpo eval        `grpo run distill`: all of it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpo.common.console import say
from grpo.config.distill import DistillConfig
from grpo.config.distill_presets import PRESETS, describe, nearest
from grpo.config.sft import SftOptimizer
from grpo.stages import sft
from grpo.stages.figures import loss_figure, trained_tokens
from grpo.stages.stage import MODEL, POLICY_OUTPUTS, Stage
from grpo.stages.workload import supervised_workload
from policies.facts import read_facts, resolve_model

if TYPE_CHECKING:
    from grpo.tracking.run_once import Summary


def run(config: DistillConfig, address: str | None) -> Summary:
    """Train, or go on training, in config.run_dir; returns the summary.

    Raises:
        DataError, PolicyError, RunError: as `grpo.stages.sft.run`.
    """
    resolved, reason = resolve(config)
    say(reason)
    return sft.train(resolved, address)


def preview(config: DistillConfig) -> None:
    """Check everything and print the learning rate with its reason, the plan and the first examples."""
    resolved, reason = resolve(config)
    say(reason)
    sft.preview(resolved)


def resolve(config: DistillConfig) -> tuple[DistillConfig, str]:
    """Return the config with preset and learning rate filled in, and a line with the reason.

    Raises:
        PolicyError: the student does not exist.
    """
    student = read_facts(resolve_model(config.policy.model))
    chosen = config.preset != "auto"
    name = config.preset if chosen else nearest(student.family, student.parameters)
    lr = config.optimizer.lr
    reason = describe(name, chosen, student.family, student.parameters)
    if lr is not None and lr != PRESETS[name].lr:
        reason = f"lr {lr:g} as the recipe says; {reason}"
    fields = config.optimizer.model_dump() | {"lr": PRESETS[name].lr if lr is None else lr}
    return config.model_copy(update={"preset": name, "optimizer": SftOptimizer(**fields)}), reason


STAGE = Stage(
    name="distill",
    help="SFT of a student on a teacher's rows, at the rate that R1's paper prints for its size. Resumes.",
    example="grpo distill r1-distill --model Qwen/Qwen2.5-Math-1.5B",
    config=DistillConfig,
    run=run,
    outputs=POLICY_OUTPUTS,
    key_figure=loss_figure,
    inputs=("policy.model", "policy.lora.adapter", "data.source", "mix.*.source"),
    options=(MODEL,),
    preview=preview,
    workload=supervised_workload,
    observe=trained_tokens,
)
