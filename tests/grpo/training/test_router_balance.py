"""Balance losses, dropping and the bias in the learners' updates, against float64 loops over single sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from grpo.config.algorithm import AlgorithmConfig
from grpo.config.router import OFF, RouterConfig
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.training.learner import Learner
from grpo.training.router_balance import never_dropped
from grpo.training.sft_objective import SftObjective
from grpo.training.supervised_learner import SupervisedLearner
from policies.load import load_policy
from policies.router import routers
from tests.grpo.stages.test_sft import make_examples
from tests.grpo.tiny_phase import make_groups, make_policy

GROUPS = {"n_routed_experts": 8, "n_group": 4, "topk_group": 3, "topk_method": "group_limited_greedy"}
V3 = RouterConfig(sequence_loss=0.7)
V2 = RouterConfig(expert_loss=0.5, device_loss=0.3, communication_loss=0.2)
CASES = pytest.mark.parametrize("family", ["v3", "v2"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("policies")
    return {"v3": make_policy(root / "v3"), "v2": make_policy(root / "v2", "tiny-v2", **GROUPS)}


def sections(folder: Path, router: RouterConfig, budget: int) -> dict[str, Any]:
    return {
        "policy": PolicyConfig(model=str(folder), compute_dtype="float32"),
        "optimizer": OptimizerConfig(lr=1e-3, grad_clip=1e9),
        "learner": LearnerConfig(tokens_per_micro_batch=budget, logit_chunk_tokens=16),
        "model_path": folder,
        "total_steps": 8,
        "router": router,
    }


def rl(folder: Path, router: RouterConfig = OFF, budget: int = 4096) -> Learner:
    return Learner(algorithm=AlgorithmConfig(kl_coef=0.0), **sections(folder, router, budget))


def sft(folder: Path, router: RouterConfig = OFF, budget: int = 4096) -> SupervisedLearner:
    return SupervisedLearner(objective=SftObjective, **sections(folder, router, budget))


def update(learner: Any, step: int = 0) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Gradients and metrics of one update."""
    seen: dict[str, Tensor] = {}

    def spy(lr: float, gradient_scale: float) -> None:
        found = learner.trained.parameters.items()
        seen.update({n: p.grad.clone() for n, p in found if p.grad is not None})

    learner.trained.optimizer.step = spy
    if isinstance(learner, Learner):
        groups = make_groups(step)
        learner.begin_phase(groups, step, 1.0)
        return seen, learner.update(groups, step, 16).metrics
    return seen, learner.update(make_examples(6), step)


def sequences(learner: Any) -> list[tuple[list[int], int]]:
    """Tokens of each sequence, and the first that counts."""
    if isinstance(learner, Learner):
        return [
            ([*g.prompt_ids.tolist(), *s.token_ids.tolist()], len(g.prompt_ids))
            for g in make_groups(0)
            for s in g.samples
        ]
    return [(e.token_ids.tolist(), 0) for e in make_examples(6)]


def printed_loss(model: Any, ids: list[int], first: int, router: RouterConfig) -> Tensor:
    """Σ over layers of one sequence's losses: V3 eq. 17-20, V2 eq. 23-31, expert by expert."""
    seen: list[tuple[Tensor, Tensor]] = []
    hooks = [
        gate.register_forward_hook(lambda _m, _i, output: seen.append((output[0], output[2])))
        for _, gate in routers(model)
    ]
    model(input_ids=torch.tensor([ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    total = torch.zeros((), dtype=torch.float64)
    for logits, picked in seen:
        logits, picked = logits[first:].double(), picked[first:]
        tokens, experts = logits.shape
        if router.sequence_loss:
            s = 1 / (1 + (-logits).exp())
            picked = s.topk(picked.shape[1]).indices
        else:
            s = logits.exp()
        p = [(s[:, i] / s.sum(1)).mean() for i in range(experts)]
        f = [experts / (picked.shape[1] * tokens) * int((picked == i).sum()) for i in range(experts)]
        both = sum(f[i] * p[i] for i in range(experts))
        total = total + (router.sequence_loss + router.expert_loss) * both
        for d in range(4 if router.device_loss else 0):
            on = [2 * d, 2 * d + 1]
            sent = sum(any(int(i) in on for i in row) for row in picked)
            mass = p[on[0]] + p[on[1]]
            total = total + router.device_loss * (f[on[0]] + f[on[1]]) / 2 * mass
            total = total + router.communication_loss * 4 / (3 * tokens) * sent * mass
    return total


@CASES
@pytest.mark.parametrize("make", [rl, sft])
@pytest.mark.parametrize("budget", [40, 4096])
def test_the_gradient_is_the_task_s_and_the_losses_(
    folders: dict[str, Path], family: str, make: Any, budget: int
) -> None:
    """RL counts completions, once each behind their prompt; SFT whole examples. Packing changes nothing."""
    router = V3 if family == "v3" else V2
    plain, _ = update(make(folders[family]))
    learner = make(folders[family], router, budget)
    found, metrics = update(learner)

    model: Any = load_policy(folders[family]).double()
    model.set_attn_implementation("eager")
    batch = sequences(learner)
    loss = torch.stack([printed_loss(model, ids, first, router) for ids, first in batch]).sum() / len(batch)
    loss.backward()
    assert metrics["loss/balance"] == pytest.approx(loss.item(), rel=1e-4)
    extra = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert sum(float(g.norm()) for n, g in extra.items() if n.endswith("gate.weight")) > 1e-3
    size = sum(float(g.square().sum()) for g in plain.values()) ** 0.5
    for name, gradient in found.items():
        wanted = plain[name].double() + extra.get(name, torch.zeros_like(plain[name], dtype=torch.float64))
        torch.testing.assert_close(gradient.double(), wanted, rtol=0, atol=3e-5 * size, msg=name)


@CASES
@pytest.mark.parametrize("make", [rl, sft])
def test_without_options_nothing_but_a_figure_is_added(
    folders: dict[str, Path], family: str, make: Any
) -> None:
    gradients, metrics = update(make(folders[family]))
    again, _ = update(make(folders[family], RouterConfig(never_dropped=0.5, bias_still_share=0.5)))
    assert all(torch.equal(again[n], g) for n, g in gradients.items())
    assert {n for n in metrics if n.startswith("router/") or n == "loss/balance"} == {"router/max_violation"}


@pytest.mark.parametrize("make", [rl, sft])
def test_the_figure_is_the_load_of_the_tokens_that_train(folders: dict[str, Path], make: Any) -> None:
    learner = make(folders["v3"], budget=40)
    _, metrics = update(learner)
    model: Any = load_policy(folders["v3"])
    model.set_attn_implementation("eager")
    counts = {name: np.zeros(4) for name, _ in routers(model)}
    for ids, first in sequences(learner):
        for name, gate in routers(model):

            def count(_m: Any, _i: Any, output: Any, name: str = name, first: int = first) -> None:
                counts[name] += np.bincount(output[2][first:].flatten().numpy(), minlength=4)

            gate.register_forward_hook(count)
        with torch.no_grad():
            model(input_ids=torch.tensor([ids]), use_cache=False)
        for _, gate in routers(model):
            gate._forward_hooks.clear()
    wanted = np.mean([c.max() / c.mean() - 1 for c in counts.values()])
    assert metrics["router/max_violation"] == pytest.approx(wanted)


@pytest.mark.parametrize("make", [rl, sft])
def test_the_bias_moves_until_the_last_share(folders: dict[str, Path], make: Any) -> None:
    learner = make(folders["v3"], RouterConfig(bias_rate=0.01, bias_still_share=0.25))
    model = learner.trained.model
    moved = []
    for step in (5, 6):
        before = [gate.e_score_correction_bias.clone() for _, gate in routers(model)]
        update(learner, step)
        after = [gate.e_score_correction_bias for _, gate in routers(model)]
        moved.append(max(float((b - a).abs().max()) for a, b in zip(before, after, strict=True)))
    assert moved == [pytest.approx(0.01), 0.0]


@pytest.mark.parametrize("make", [rl, sft])
def test_dropping_is_counted_and_a_share_of_one_drops_nothing(folders: dict[str, Path], make: Any) -> None:
    plain, _ = update(make(folders["v2"]))
    dropping, dropped = update(make(folders["v2"], RouterConfig(capacity=0.7, never_dropped=0.0)))
    some, fewer = update(make(folders["v2"], RouterConfig(capacity=0.7, never_dropped=0.5)))
    none, nothing = update(make(folders["v2"], RouterConfig(capacity=0.7, never_dropped=1.0)))
    assert 0.2 < dropped["router/dropped_share"] < 0.6
    assert 0 < fewer["router/dropped_share"] < 0.6
    assert nothing["router/dropped_share"] == 0.0
    assert any(not torch.equal(dropping[n], g) for n, g in plain.items())
    assert any(not torch.equal(some[n], g) for n, g in dropping.items())
    assert all(torch.equal(none[n], g) for n, g in plain.items())


def test_about_the_share_asked_for_is_never_dropped() -> None:
    keys = [f"data/train.jsonl:{n}".encode() for n in range(5000)]
    for share in (0.0, 0.1, 1.0):
        assert sum(never_dropped(key, share) for key in keys) / len(keys) == pytest.approx(share, abs=0.02)
