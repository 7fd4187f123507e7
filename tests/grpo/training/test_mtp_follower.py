"""Layers of multi-token prediction in RL: trained alone beside the policy, dropped, or declared stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from grpo.config.algorithm import AlgorithmConfig
from grpo.config.mtp import MtpConfig
from grpo.config.rl import RlConfig
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.memory.model import rank_memory
from grpo.memory.shape import run_shape
from grpo.tracking.model_card import loading
from grpo.training.learner import Learner
from grpo.training.sft_objective import SftObjective
from grpo.training.supervised_learner import SupervisedLearner
from policies.export import save_policy
from policies.facts import read_facts
from policies.load import load_policy
from policies.mtp import is_mtp_tensor, mtp_layers
from policies.presets import new_policy, tiny_config
from tests.grpo.stages.test_sft import make_examples
from tests.grpo.tiny_phase import VOCAB, make_groups
from tests.oracles.mtp_oracle import mtp_logprobs_of_sequence


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tiny_config("tiny-v3", VOCAB, eos_token_id=1, num_nextn_predict_layers=2)
    return save_policy(new_policy(config, 0, 0.08), tmp_path_factory.mktemp("policy") / "v3", None)


def rl(folder: Path, mtp: Any, budget: int = 4096, grad_clip: float = 0.05) -> Learner:
    return Learner(
        policy=PolicyConfig(model=str(folder), compute_dtype="float32"),
        algorithm=AlgorithmConfig(kl_coef=0.1),
        optimizer=OptimizerConfig(lr=1e-2, grad_clip=grad_clip),
        learner=LearnerConfig(tokens_per_micro_batch=budget, logit_chunk_tokens=16),
        model_path=folder,
        total_steps=8,
        mtp=mtp,
    )


def update(learner: Learner, step: int = 0) -> dict[str, float]:
    groups = make_groups(0)
    learner.begin_phase(groups, step, 0.7)
    return learner.update(groups, step, 16).metrics


def gradients(learner: Learner) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    learner.trained.optimizer.step = lambda lr, scale: seen.update(  # type: ignore[method-assign]
        {n: p.grad.clone() for n, p in learner.trained.parameters.items() if p.grad is not None}
    )
    update(learner)
    return seen


@pytest.mark.parametrize("budget", [30, 4096])
def test_the_gradient_is_eq_24_on_the_completions_for_the_layers_alone(folder: Path, budget: int) -> None:
    """float64, sample by sample; the policy's own gradient keeps its bits."""
    ours = gradients(rl(folder, "train", budget, grad_clip=1e9))
    plain = gradients(rl(folder, "stale", budget, grad_clip=1e9))
    model: Any = load_policy(folder).double()
    groups = make_groups(0)
    total = sum(len(s.token_ids) for g in groups for s in g.samples)
    loss = torch.zeros((), dtype=torch.float64)
    for group in groups:
        for sample in group.samples:
            ids, first = [*group.prompt_ids.tolist(), *sample.token_ids.tolist()], len(group.prompt_ids)
            for k, logprobs in enumerate(mtp_logprobs_of_sequence(model, ids), 1):
                # logprobs[n] is of token n + k + 1 (counted from 0).
                loss = loss - sum(logprobs[j - k - 1] for j in range(max(first, k + 1), len(ids))) / (
                    2 * total
                )
    loss.backward()
    layers = {n: p.grad for n, p in model.named_parameters() if is_mtp_tensor(n, 3) and p.grad is not None}
    size = sum(g.square().sum() for g in layers.values()).sqrt().item()
    assert size > 1e-3
    assert ours.keys() == plain.keys() | layers.keys()
    for name, gradient in ours.items():
        if name in layers:
            torch.testing.assert_close(gradient.double(), layers[name], rtol=0, atol=2e-5 * size, msg=name)
        else:
            assert torch.equal(gradient, plain[name]), name


def test_the_policy_learns_the_same_bits_and_the_layers_learn(folder: Path) -> None:
    """With a gradient that is clipped: the layers' norm is none of the policy's."""
    alone, beside = rl(folder, "stale"), rl(folder, "train")
    losses = []
    for step in range(3):
        plain, both = update(alone, step), update(beside, step)
        losses.append(both.pop("loss/mtp"))
        same = plain.keys() - {"time/update_s", "tokens_per_s"}
        assert {n: plain[n] for n in same} == {n: both[n] for n in same}
        assert plain["grad_norm"] > 0.05
    published = dict(beside.named_tensors())
    assert all(torch.equal(published[name], tensor) for name, tensor in alone.named_tensors())
    assert losses[2] < losses[0]


def test_it_goes_on_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    straight, again = rl(folder, "train"), rl(folder, "train")
    update(straight, 0)
    straight.save(tmp_path)
    update(straight, 1)
    again.load(tmp_path)
    update(again, 1)
    state = again.trained.model.state_dict()
    assert all(torch.equal(state[n], t) for n, t in straight.trained.model.state_dict().items())


@pytest.mark.parametrize("mtp", ["stale", "train", "drop"])
def test_an_export_says_what_its_layers_are(folder: Path, tmp_path: Path, mtp: Any) -> None:
    learner = rl(folder, mtp)
    update(learner)
    learner.export(tmp_path / "policy")
    config = json.loads((tmp_path / "policy" / "config.json").read_text())
    facts = read_facts(tmp_path / "policy", need_tokenizer=False)
    layers = {n: t for n, t in load_policy(tmp_path / "policy").state_dict().items() if is_mtp_tensor(n, 3)}
    before = load_policy(folder).state_dict()
    assert config.get("mtp_state") == ("stale" if mtp == "stale" else None)
    assert config["num_nextn_predict_layers"] == facts.mtp_layers == (0 if mtp == "drop" else 2)
    assert bool(layers) == (mtp != "drop")
    assert all(torch.equal(t, before[n]) for n, t in layers.items()) == (mtp != "train")
    notes = loading(tmp_path / "policy", facts)
    assert ("These layers are stale" in notes) == (mtp == "stale")
    assert ("multi-token prediction" in notes) == (mtp != "drop")


def test_sft_trains_stale_layers_and_takes_the_word_back(folder: Path, tmp_path: Path) -> None:
    learner = rl(folder, "stale")
    update(learner)
    learner.export(tmp_path / "rl")
    for weight, state in ((0.3, None), (0.0, "stale")):

        def objective(policy: Any, config: LearnerConfig, seed: int, weight: float = weight) -> SftObjective:
            return SftObjective(policy, config, seed, MtpConfig(weight=weight))

        supervised = SupervisedLearner(
            policy=PolicyConfig(model=str(tmp_path / "rl"), compute_dtype="float32"),
            optimizer=OptimizerConfig(lr=1e-3),
            learner=LearnerConfig(),
            objective=objective,
            model_path=tmp_path / "rl",
            total_steps=2,
        )
        supervised.update(make_examples(4), 0)
        out = tmp_path / f"sft-{weight}"
        supervised.export(out)
        assert json.loads((out / "config.json").read_text()).get("mtp_state") == state
        assert len(mtp_layers(load_policy(out))) == 2


def test_lambda_follows_its_schedule(folder: Path) -> None:
    """L = L_next + λ L_mtp, with the λ of the step."""
    schedule = MtpConfig(weight=0.3, final_weight=0.1, final_share=0.25)

    def objective(policy: Any, config: LearnerConfig, seed: int) -> SftObjective:
        return SftObjective(policy, config, seed, schedule)

    for step, weight in ((0, 0.3), (5, 0.3), (6, 0.1), (7, 0.1)):
        supervised = SupervisedLearner(
            policy=PolicyConfig(model=str(folder), compute_dtype="float32"),
            optimizer=OptimizerConfig(lr=1e-3),
            learner=LearnerConfig(),
            objective=objective,
            model_path=folder,
            total_steps=8,
        )
        row = supervised.update(make_examples(4), step)
        assert row["loss"] == pytest.approx(row["loss/next"] + weight * row["loss/mtp"], rel=1e-6)


@pytest.mark.parametrize("mtp", ["stale", "train", "drop"])
def test_the_memory_plan_counts_what_the_learner_holds(folder: Path, mtp: Any) -> None:
    recipe = {"policy": {"model": str(folder)}, "run_dir": "x", "data": {"source": "chain"}, "mtp": mtp}
    config = RlConfig.model_validate(recipe | {"rewards": [{"name": "accuracy"}], "steps": 2})
    policy = json.loads((folder / "config.json").read_text())
    shape = run_shape(config, policy, dtype="float32", device="cuda", prompt_tokens=10)
    assert shape is not None
    assert shape.rank is not None
    kinds = rank_memory(shape.rank).kinds
    learner = rl(folder, mtp)
    trained = sum(p.numel() for p in learner.trained.parameters.values())
    held = {id(t): t.numel() for t in learner.model.state_dict(keep_vars=True).values()}
    assert kinds["update"]["weights"] == 4 * sum(held.values())
    assert kinds["update"]["gradients"] == 4 * trained
    assert kinds["update"]["moments"] == 8 * trained
    assert shape.rank.trains_mtp == (mtp == "train")
