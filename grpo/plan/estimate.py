"""A stage's time and memory on a cluster: grpo/plan/costs.py applied to its workload. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grpo.config.plan import MachineConfig
from grpo.graph.parse import Node
from grpo.plan.costs import Memory, forward_s, memory, rollout_s
from grpo.plan.workload import Workload
from policies.sizes import PolicySize

TRAIN_PASSES = 3
"""A backward pass costs two forward passes."""


@dataclass(frozen=True)
class Estimate:
    """Of one stage."""

    rollout_s: float
    logprob_s: float
    train_s: float
    overhead_s: float
    memory: Memory

    @property
    def seconds(self) -> float:
        """All together."""
        return self.rollout_s + self.logprob_s + self.train_s + self.overhead_s

    def gpu_hours(self, machine: MachineConfig) -> float:
        """Over all GPUs."""
        return self.seconds * machine.gpus / 3600


def estimate(node: Node, work: Workload, size: PolicySize, machine: MachineConfig) -> Estimate:
    """Time and memory of a stage whose workload is known."""
    config: Any = node.config
    rollout = sum(
        p.count * rollout_s(size, machine, p.samples, work.prompt_tokens, p.mean, p.limit)
        for p in work.phases
    )
    one_pass = forward_s(size, machine, work.trained or 0.0, work.mean_context)
    recompute = bool(getattr(getattr(config, "learner", None), "recompute", False))
    longest = max((p.mean for p in work.phases), default=0.0)
    return Estimate(
        rollout_s=rollout,
        logprob_s=work.passes * one_pass,
        train_s=(TRAIN_PASSES + recompute) * one_pass,
        overhead_s=machine.phase_overhead_s * sum(p.count for p in work.phases),
        memory=memory(
            size,
            machine,
            max((p.samples for p in work.phases), default=0.0),
            work.prompt_tokens + longest,
            trains=work.trained is not None,
            generates=bool(work.phases),
        ),
    )
