"""The time of a stage on a cluster: grpo/plan/costs.py applied to its workload. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from grpo.config.plan import MachineConfig
from grpo.graph.parse import Node
from grpo.plan.costs import forward_s, rollout_s
from grpo.stages.workload import Workload
from policies.sizes import PolicySize

TRAIN_PASSES = 3
"""A backward pass costs two forward passes."""


@dataclass(frozen=True)
class Estimate:
    """The estimated time of one stage."""

    rollout_s: float
    logprob_s: float
    train_s: float
    overhead_s: float

    @property
    def seconds(self) -> float:
        """Seconds of the whole stage."""
        return self.rollout_s + self.logprob_s + self.train_s + self.overhead_s

    def gpu_hours(self, machine: MachineConfig) -> float:
        """GPU-hours over all GPUs of the machine."""
        return self.seconds * machine.gpus / 3600


def workload(node: Node, mean_tokens: float | None = None) -> Workload:
    """Return what a stage has to do.

    Args:
        node: the stage.
        mean_tokens: of a completion or example, where the recipe's plan does not state it.
    """
    plan = node.settings.plan
    return node.stage.workload(node.config, plan, plan.tokens or mean_tokens)


def estimate(work: Workload, size: PolicySize, machine: MachineConfig) -> Estimate:
    """Estimate the time of a stage whose workload is known."""
    rollout = sum(
        p.count * rollout_s(size, machine, p.samples, work.prompt_tokens, p.mean, p.limit)
        for p in work.phases
    )
    one_pass = forward_s(size, machine, work.trained or 0.0, work.mean_context)
    return Estimate(
        rollout_s=rollout,
        logprob_s=work.passes * one_pass,
        train_s=(TRAIN_PASSES + work.recompute) * one_pass,
        overhead_s=machine.phase_overhead_s * sum(p.count for p in work.phases),
    )
