"""What the tests of the sharded learner run, on many ranks and, as the oracle, on one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_recipes.sft.examples import Example
from grpo.algorithm.batching import micro_batches, split_by_rank
from grpo.algorithm.packing_plan import balance, best_fit
from grpo.algorithm.types import TrainGroup
from grpo.config.algorithm import AlgorithmConfig
from grpo.config.mesh import MeshConfig
from grpo.config.mtp import MtpConfig
from grpo.config.router import RouterConfig
from grpo.config.sections import LearnerConfig, LoraConfig, OptimizerConfig, PolicyConfig
from grpo.training.learner import Learner
from grpo.training.reward_model_data import Pair
from grpo.training.reward_model_objective import PairwiseObjective
from grpo.training.sft_objective import SftObjective
from grpo.training.supervised_learner import SupervisedLearner
from grpo.training.trained_policy import TrainedPolicy
from policies.shards import whole
from tests.grpo.tiny_phase import VOCAB, make_groups

CANARY = [3, 5, 7, 9, 11, 2, 4]


@dataclass(frozen=True)
class Case:
    """One recipe and mesh."""

    name: str
    preset: str
    ranks: int
    mesh: dict[str, int] = field(default_factory=dict)
    learner: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    algorithm: dict[str, Any] = field(default_factory=dict)
    router: dict[str, Any] = field(default_factory=dict)
    mtp: str = "stale"
    objective: str = ""
    same_bits: bool = False
    """True where the ranks add in the oracle's order."""

    @property
    def data(self) -> int:
        """Parts of a batch."""
        return self.ranks // self.mesh.get("context", 1)


@dataclass
class Outcome:
    """What ranks and oracle must agree on."""

    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    metrics: list[dict[str, float]] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    canary: list[np.ndarray] = field(default_factory=list)


LORA = LoraConfig(rank=3, alpha=6)
LORA_EXPERTS = LoraConfig(rank=3, alpha=6, targets=("experts", "q_proj", "down_proj"))
KL = {"kl_coef": 0.3}
GAMMA = {"bias_rate": 0.01}
V2 = {"expert_loss": 0.3, "device_loss": 0.5, "communication_loss": 0.2, "capacity": 1.0}
V2_LOSSES = {"expert_loss": 0.3, "device_loss": 0.5, "communication_loss": 0.2}
GROUPS = {"n_routed_experts": 8, "n_group": 4, "topk_group": 3, "topk_method": "group_limited_greedy"}
"""V2's device-limited routing: at most 3 of 4 devices."""
SHAPES = {"v2-groups": ("tiny-v2", GROUPS)}
"""Presets with other fields, by the name that a case uses."""
HALVES = {"context": 2}
TWO = [
    Case("v3", "tiny-v3", 2, algorithm=KL, router=GAMMA, same_bits=True),
    Case("v2", "tiny-v2", 2, algorithm=KL, same_bits=True),
    Case("llama", "tiny-llama", 2, algorithm=KL, same_bits=True),
    Case("llama-tied", "tiny-llama-tied", 2, algorithm=KL),
    Case("qwen2", "tiny-qwen2-untied", 2, algorithm=KL, same_bits=True),
    Case("qwen3-tied", "tiny-qwen3", 2, algorithm={**KL, "mini_batches": 2}),
    Case("recompute", "tiny-v3", 2, learner={"recompute": True}, algorithm=KL, same_bits=True),
    Case("bfloat16", "tiny-v3", 2, policy={"compute_dtype": "bfloat16"}, algorithm=KL, same_bits=True),
    Case("lora", "tiny-v3", 2, policy={"lora": LORA_EXPERTS}, algorithm=KL, same_bits=True),
    Case(
        "lora-recompute", "tiny-qwen3", 2, learner={"recompute": True}, policy={"lora": LORA}, same_bits=True
    ),
    Case("sft-mtp", "tiny-v3-mtp", 2, objective="sft-mtp"),
    Case("v3-balance", "tiny-v3", 2, algorithm=KL, router={"bias_rate": 0.01, "sequence_loss": 3.0}),
    Case("reward-model", "tiny-llama", 2, objective="pairs", same_bits=True),
    Case(
        "context-v3",
        "tiny-v3",
        2,
        mesh=HALVES,
        algorithm=KL,
        router={"bias_rate": 0.01, "sequence_loss": 3.0},
    ),
    Case("context-v2", "tiny-v2", 2, mesh=HALVES, learner={"recompute": True}, algorithm=KL),
    Case("context-tied", "tiny-llama-tied", 2, mesh=HALVES, algorithm={**KL, "mini_batches": 2}),
    Case("context-lora", "tiny-qwen3", 2, mesh=HALVES, policy={"lora": LORA}, algorithm=KL),
    Case("context-mtp", "tiny-v3-mtp", 2, mesh=HALVES, objective="sft-mtp"),
    Case("context-reward", "tiny-llama", 2, mesh=HALVES, objective="pairs"),
]
FOUR = [
    Case("shard-4", "tiny-v3", 4, algorithm=KL, router=GAMMA),
    Case("copies-2x2", "tiny-v3", 4, mesh={"replicate": 2}, algorithm=KL, router=GAMMA),
    Case("copies-4", "tiny-llama-tied", 4, mesh={"replicate": 4}, algorithm=KL),
    Case("copies-lora", "tiny-qwen3-untied", 4, mesh={"replicate": 2}, policy={"lora": LORA}, algorithm=KL),
    Case("experts-4", "tiny-v3", 4, mesh={"expert": 4}, algorithm=KL, router=GAMMA),
    Case("experts-2x2", "tiny-v2", 4, mesh={"expert": 2}, learner={"recompute": True}, algorithm=KL),
    Case("experts-copies", "tiny-v3", 4, mesh={"expert": 2, "replicate": 2}, algorithm=KL),
    Case("experts-lora", "tiny-v3", 4, mesh={"expert": 2}, policy={"lora": LORA_EXPERTS}, algorithm=KL),
    Case("experts-mtp-rl", "tiny-v3-mtp", 4, mesh={"expert": 2}, algorithm=KL, mtp="train"),
    Case("experts-balance", "v2-groups", 4, mesh={"expert": 2}, learner={"recompute": True}, router=V2),
    Case(
        # Packs are small, so that ranks without one take part with tokens that do not count.
        "sft-balance",
        "tiny-v3-mtp",
        4,
        learner={"tokens_per_micro_batch": 20},
        router={"bias_rate": 0.01, "sequence_loss": 0.3},
        objective="sft-mtp",
    ),
    Case("experts-mtp", "tiny-v3-mtp", 4, mesh={"expert": 4}, objective="sft-mtp"),
    Case("context-mtp-rl", "tiny-v3-mtp", 4, mesh=HALVES, algorithm=KL, mtp="train"),
    Case("context-balance", "v2-groups", 4, mesh=HALVES, learner={"recompute": True}, router=V2_LOSSES),
    Case("context-shard", "tiny-v2", 4, mesh=HALVES, algorithm={**KL, "ratio": "sequence"}),
    Case("context-experts", "tiny-v3", 4, mesh={"context": 2, "expert": 4}, algorithm=KL),
    Case("context-4", "tiny-v3", 4, mesh={"context": 4}, algorithm=KL, router=GAMMA),
]


def run_case(case: Case, folder: Path, rank: int = 0, *, oracle: bool = False) -> Outcome:
    """Two updates of the case; the oracle is one rank that works on the ranks' micro-batches one after another."""
    sections: dict[str, Any] = {
        "policy": PolicyConfig(**{"model": str(folder), "compute_dtype": "float32", **case.policy}),
        "optimizer": OptimizerConfig(lr=1e-3, grad_clip=0.1, weight_decay=0.1),
        "learner": LearnerConfig(
            **{
                "logit_chunk_tokens": 16,
                **case.learner,
                "ranks": 1 if oracle else case.ranks,
                "mesh": MeshConfig() if oracle else MeshConfig(**case.mesh),
            }
        ),
        "router": RouterConfig(**case.router),
        "model_path": folder,
        "total_steps": 8,
        "rank": rank,
        "seed": 1,
    }
    if case.objective:
        return _supervised(case, sections, oracle)
    return _rl(case, sections, oracle)


def _rl(case: Case, sections: dict[str, Any], oracle: bool) -> Outcome:
    learner = Learner(
        mtp=case.mtp, algorithm=AlgorithmConfig(**{"kl_coef": 0.0, **case.algorithm}), **sections
    )
    budget = sections["learner"].tokens_per_micro_batch
    if oracle:

        def shares(groups: Sequence[TrainGroup]) -> Iterator[list[TrainGroup]]:
            for share in split_by_rank(groups, case.data):
                yield from micro_batches(share, budget)

        learner._shares = shares  # type: ignore[method-assign,assignment]
    outcome = Outcome()
    _spy(learner.trained, outcome)
    for step in range(2):
        groups = make_groups(step, groups=4)
        first = learner.begin_phase(groups, step, 0.8)
        outcome.metrics.append(first | _timeless(learner.update(groups, step, 16).metrics))
        outcome.canary.append(learner.canary_logprobs(CANARY))
    outcome.weights = {name: t.clone() for name, t in learner.named_tensors()}
    return outcome


def _supervised(case: Case, sections: dict[str, Any], oracle: bool) -> Outcome:
    learner = SupervisedLearner(objective=OBJECTIVES[case.objective], **sections)
    budget = sections["learner"].tokens_per_micro_batch
    if oracle:

        def packs(items: Sequence[object]) -> Iterator[list[object]]:
            sizes = [learner.objective.tokens(item) for item in items]
            for share in balance(sizes, case.data):
                for chosen in best_fit([sizes[i] for i in share], budget):
                    yield [items[share[i]] for i in chosen]

        learner._packs = packs  # type: ignore[method-assign,assignment]
    outcome = Outcome()
    _spy(learner.trained, outcome)
    for step in range(2):
        items = _examples(step, 5) if case.objective == "sft-mtp" else _pairs(step, 5)
        outcome.metrics.append(_timeless(learner.update(items, step)))
        outcome.metrics.append(learner.evaluate(items[:1]))
    outcome.weights = {name: t.clone() for name, t in learner.trained.named_tensors()}
    return outcome


def _sft_with_mtp(policy: torch.nn.Module, learner: LearnerConfig, seed: int) -> SftObjective:
    return SftObjective(policy, learner, seed, MtpConfig(weight=0.3))


OBJECTIVES: dict[str, Any] = {"sft-mtp": _sft_with_mtp, "pairs": PairwiseObjective}


def _spy(trained: TrainedPolicy, outcome: Outcome) -> None:
    """Record the whole gradients that the optimizer is given."""
    step = trained.optimizer.step

    def spy(lr: float, gradient_scale: float) -> None:
        outcome.gradients.append(
            {
                name: whole(p.grad.detach()).clone()
                for name, p in trained.parameters.items()
                if p.grad is not None
            }
        )
        step(lr, gradient_scale)

    trained.optimizer.step = spy  # type: ignore[method-assign]


def _timeless(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "tokens_per_s"))}


def _ids(rng: np.random.Generator, low: int, high: int) -> np.ndarray:
    return rng.integers(0, VOCAB, rng.integers(low, high)).astype(np.int32)


def _examples(seed: int, count: int) -> list[Example]:
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        ids = _ids(rng, 6, 20)
        made.append(Example(str(number), ids, np.arange(len(ids)) >= 3))
    return made


def _pairs(seed: int, count: int) -> list[Pair]:
    rng = np.random.default_rng(seed)
    return [Pair(str(n), _ids(rng, 4, 16), _ids(rng, 4, 16)) for n in range(count)]
