"""Policies of which only a part is trained: LoRA adapters, layers of multi-token prediction; SFT and RL."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from data_recipes.sft.examples import Example
from grpo.common.errors import BrokenRun
from grpo.config.adapter import check_start
from grpo.config.algorithm import AlgorithmConfig
from grpo.config.mtp import MtpConfig
from grpo.config.router import RouterConfig
from grpo.config.sections import LearnerConfig, LoraConfig, OptimizerConfig, PolicyConfig
from grpo.config.supervised import SupervisedConfig
from grpo.training.learner import Learner
from grpo.training.sft_objective import SftObjective
from grpo.training.supervised_learner import SupervisedLearner
from policies.export import save_policy
from policies.load import load_policy
from policies.logprobs import sequence_logprobs
from policies.lora import plain_state
from policies.mtp import is_mtp_tensor, mtp_layers
from policies.presets import new_policy, tiny_config
from tests.grpo.stages.test_sft import make_examples
from tests.grpo.tiny_phase import VOCAB, make_groups, make_policy
from tests.oracles.mtp_oracle import mtp_logprobs_of_sequence
from tests.processes import run_in_new_process

LORA = LoraConfig(rank=4, alpha=8.0, targets=("q_proj", "kv_b_proj", "o_proj"))
TOKENS = [5, 9, 3, 7, 7, 2, 11]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_policy(tmp_path_factory.mktemp("policy") / "v3")


@pytest.fixture(scope="module")
def with_mtp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tiny_config("tiny-v3", VOCAB, eos_token_id=1, num_nextn_predict_layers=2)
    return save_policy(new_policy(config, 0, 0.08), tmp_path_factory.mktemp("policy") / "v3", None)


def sft(
    folder: Path, lora: LoraConfig | None = None, mtp_weight: float = 0.0, seed: int = 1, budget: int = 4096
) -> SupervisedLearner:
    return SupervisedLearner(
        policy=PolicyConfig(model=str(folder), compute_dtype="float32", lora=lora),
        optimizer=OptimizerConfig(lr=1e-2, grad_clip=1e9),
        learner=LearnerConfig(tokens_per_micro_batch=budget, logit_chunk_tokens=16),
        objective=functools.partial(SftObjective, mtp=MtpConfig(weight=mtp_weight)),
        model_path=folder,
        total_steps=8,
        seed=seed,
    )


def rl(folder: Path, lora: LoraConfig | None = None, seed: int = 1, **options: Any) -> Learner:
    return Learner(
        policy=PolicyConfig(model=str(folder), compute_dtype="float32", lora=lora),
        algorithm=AlgorithmConfig(**{"group_size": 4, "questions_per_step": 3, "kl_coef": 0.1, **options}),
        optimizer=OptimizerConfig(lr=1e-2, grad_clip=1e9),
        learner=LearnerConfig(),
        model_path=folder,
        total_steps=8,
        seed=seed,
    )


def rl_step(learner: Learner, step: int) -> dict[str, float]:
    groups = make_groups(step)
    learner.begin_phase(groups, step, 1.0)
    return learner.update(groups, step, 12).metrics


def weights(learner: Any) -> dict[str, Tensor]:
    trained = getattr(learner, "trained", learner)
    return {n: t.clone() for n, t in trained.model.state_dict().items()}


# ---------------------------------------------------------------- LoRA


def test_adapters_alone_are_trained_and_the_export_is_their_sum(base: Path, tmp_path: Path) -> None:
    learner = sft(base, LORA)
    assert all("lora_" in name for name in learner.trained.parameters)
    before, loss = weights(learner), learner.evaluate(make_examples(6))["loss"]
    for step in range(4):
        learner.update(make_examples(6), step)
    assert learner.evaluate(make_examples(6))["loss"] < loss - 0.1
    moved = {n for n, t in weights(learner).items() if not torch.equal(t, before[n])}
    assert moved == set(learner.trained.parameters)
    learner.export(tmp_path / "policy")
    exported = load_policy(tmp_path / "policy")
    own = sequence_logprobs(learner.trained.model, TOKENS)
    torch.testing.assert_close(sequence_logprobs(exported, TOKENS), own, rtol=0, atol=2e-5)
    published = dict(learner.trained.named_tensors())
    torch.testing.assert_close(
        published["model.layers.1.self_attn.o_proj.weight"],
        exported.get_parameter("model.layers.1.self_attn.o_proj.weight").detach(),
        rtol=0,
        atol=0,
    )
    assert (tmp_path / "policy" / "adapter" / "adapter_model.safetensors").is_file()


def go_on(base: Path, checkpoint: Path, out: Path, kind: str) -> None:
    learner: Any = (sft if kind == "sft" else rl)(base, LORA)
    learner.load(checkpoint)
    for step in (2, 3):
        learner.update(make_examples(5, step), step) if kind == "sft" else rl_step(learner, step)
    torch.save(weights(learner), out)


@pytest.mark.parametrize("kind", ["sft", "rl"])
def test_continuation_in_a_new_process_is_bit_identical(base: Path, tmp_path: Path, kind: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        learner: Any = (sft if kind == "sft" else rl)(base, LORA)
        for step in range(4):
            if kind == "sft":
                learner.update(make_examples(5, step), step)
            else:
                rl_step(learner, step)
            if step == 1:
                learner.save(tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert not (tmp_path / "policy").exists()
    out = tmp_path / "out.pt"
    run_in_new_process(go_on, base, tmp_path, out, kind)
    found, expected = torch.load(out), weights(learner)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[n], expected[n]) for n in expected)


def test_a_checkpoint_with_other_adapters_is_refused(base: Path, tmp_path: Path) -> None:
    sft(base, LORA).save(tmp_path)
    with pytest.raises(BrokenRun, match="adapter does not fit"):
        sft(base, LORA.model_copy(update={"rank": 8})).load(tmp_path)
    shutil.rmtree(tmp_path / "adapter")
    with pytest.raises(BrokenRun, match="adapter_model"):
        sft(base, LORA).load(tmp_path)


def test_the_reference_of_rl_is_the_policy_without_adapters(base: Path) -> None:
    """Their KL is that of two whole policies, at the start and after updates."""
    learner, whole = rl(base, LORA), rl(base)
    for step in range(3):
        rl_step(learner, step)
    whole.model.load_state_dict(dict(plain_state(learner.model)))
    found, expected = rl_step(learner, 3), rl_step(whole, 3)
    assert found["policy/kl"] == pytest.approx(expected["policy/kl"], rel=1e-3)
    assert found["policy/kl"] > 1e-4
    assert len(learner._reference.tensors) < len(whole._reference.tensors)  # type: ignore[union-attr]


@pytest.mark.parametrize("targets", [LORA.targets, ("experts", "q_proj")])
def test_rl_goes_on_from_the_adapter_of_sft_and_the_reference_is_that_policy(
    base: Path, tmp_path: Path, targets: tuple[str, ...]
) -> None:
    lora = LORA.model_copy(update={"targets": targets})
    before = sft(base, lora)
    for step in range(3):
        before.update(make_examples(6), step)
    before.export(tmp_path / "policy")
    start = lora.model_copy(update={"adapter": str(tmp_path / "policy" / "adapter")})
    check_start(PolicyConfig(model="base", lora=start), base)
    learner = rl(base, start, seed=5)
    expected = sequence_logprobs(before.trained.model, TOKENS)
    assert torch.equal(sequence_logprobs(learner.trained.model, TOKENS), expected)
    assert rl_step(learner, 0)["policy/kl"] == 0.0
    rl_step(learner, 1)
    moved = rl_step(learner, 2)["policy/kl"]
    assert moved > 1e-6
    # The oracle: two whole policies, the reference being the merged export of SFT.
    whole = rl(tmp_path / "policy", None)
    whole.model.load_state_dict(dict(plain_state(learner.model)))
    assert rl_step(learner, 3)["policy/kl"] == pytest.approx(rl_step(whole, 3)["policy/kl"], rel=1e-3)


def test_a_refreshed_reference_has_the_adapters_as_they_are(base: Path) -> None:
    learner = rl(base, LORA, reference_refresh_steps=2)
    assert rl_step(learner, 0)["policy/kl"] == pytest.approx(0.0, abs=1e-7)
    assert rl_step(learner, 1)["policy/kl"] > 1e-6
    assert rl_step(learner, 2)["policy/kl"] == pytest.approx(0.0, abs=1e-7)


def test_lora_moves_no_router_bias() -> None:
    with pytest.raises(ValidationError, match="nothing but the adapters moves"):
        SupervisedConfig(
            run_dir=Path("r"), policy=PolicyConfig(model="m", lora=LORA), router=RouterConfig(bias_rate=0.001)
        )


# ---------------------------------------------------------------- multi-token prediction


@pytest.mark.parametrize("budget", [40, 4096])
def test_the_loss_is_eq_24_and_25_over_the_reply_tokens(with_mtp: Path, budget: int) -> None:
    """float64, one example at a time: L + λ/D Σ_k Lᵏ, each over the reply tokens of the whole batch."""
    batch, weight = make_examples(6), 0.3
    learner = sft(with_mtp, mtp_weight=weight, budget=budget)
    seen: dict[str, Tensor] = {}

    def spy(lr: float, gradient_scale: float) -> None:
        seen.update({n: p.grad.clone() for n, p in learner.trained.parameters.items() if p.grad is not None})

    learner.trained.optimizer.step = spy  # type: ignore[method-assign]
    row = learner.update(batch, 0)

    model: Any = load_policy(with_mtp).double()
    depths = len(mtp_layers(model))
    total = sum(e.target_count for e in batch)
    following, ahead = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for example in batch:
        ids, targets = example.token_ids.tolist(), np.flatnonzero(example.is_target)
        for k, logprobs in enumerate(mtp_logprobs_of_sequence(model, ids), 1):
            # logprobs[n] is of token n + k + 1 (counted from 0).
            ahead = ahead - sum(logprobs[j - k - 1] for j in targets if j > k) / (total * depths)
        model.set_attn_implementation("eager")
        log_probs = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
        following = following - sum(log_probs[j - 1, ids[j]] for j in targets) / total
    (following + weight * ahead).backward()
    assert row["loss/next"] == pytest.approx(following.item(), rel=1e-5)
    assert row["loss/mtp"] == pytest.approx(ahead.item(), rel=1e-5)
    assert row["loss"] == pytest.approx((following + weight * ahead).item(), rel=1e-5)
    expected = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    norm = sum(g.square().sum() for g in expected.values()).sqrt().item()
    assert seen.keys() == expected.keys()
    assert any(is_mtp_tensor(name, 3) for name in seen)
    for name, gradient in expected.items():
        torch.testing.assert_close(seen[name].double(), gradient, rtol=0, atol=2e-5 * norm, msg=name)


def test_neighbours_in_a_pack_do_not_matter(with_mtp: Path) -> None:
    learner = sft(with_mtp, mtp_weight=0.3)
    a, b, c = make_examples(3)
    with torch.no_grad():
        alone = [learner.objective.loss([e])[1]["loss/mtp"].item() for e in (a, b, c)]
        together = learner.objective.loss([a, b, c])[1]["loss/mtp"].item()
    assert together == pytest.approx(sum(alone), rel=1e-5)


def test_the_layers_learn_go_out_and_come_back(with_mtp: Path, tmp_path: Path) -> None:
    learner = sft(with_mtp, mtp_weight=0.3)
    batch = make_examples(6)
    before = learner.evaluate(batch)
    learner.update(batch, 0)
    (tmp_path / "checkpoint").mkdir()
    learner.save(tmp_path / "checkpoint")
    again = sft(with_mtp, mtp_weight=0.3)
    again.load(tmp_path / "checkpoint")
    for step in (1, 2):
        learner.update(batch, step)
        again.update(batch, step)
    after = learner.evaluate(batch)
    assert after["loss/mtp"] < before["loss/mtp"]
    assert after["loss/next"] < before["loss/next"]
    expected = weights(learner)
    assert all(torch.equal(t, expected[n]) for n, t in weights(again).items())
    learner.export(tmp_path / "policy")
    exported = load_policy(tmp_path / "policy").state_dict()
    assert all(torch.equal(exported[n], t) for n, t in expected.items())


@pytest.mark.parametrize("kind", ["sft", "lora", "rl"])
def test_without_a_weight_they_go_through_unchanged(with_mtp: Path, tmp_path: Path, kind: str) -> None:
    """Nor does an engine get them."""
    learner: Any = rl(with_mtp) if kind == "rl" else sft(with_mtp, LORA if kind == "lora" else None)
    assert not any(is_mtp_tensor(name, 3) for name in learner.trained.parameters)
    assert not any(is_mtp_tensor(name, 3) for name, _ in learner.trained.named_tensors())
    rl_step(learner, 0) if kind == "rl" else learner.update([*make_examples(4)], 0)
    learner.export(tmp_path / "policy")
    before, after = (load_policy(f).state_dict() for f in (with_mtp, tmp_path / "policy"))
    same = {n for n, t in before.items() if torch.equal(t, after[n])}
    assert {n for n in before if is_mtp_tensor(n, 3)} <= same
    assert len(same) < len(before)


def test_a_policy_without_such_layers_has_no_such_loss(base: Path) -> None:
    learner = sft(base, mtp_weight=0.3)
    assert learner.objective.names == ("loss",)
    example = Example("a", np.array([1, 2, 3], np.int32), np.array([False, True, True]))
    assert learner.evaluate([example]).keys() == {"loss"}
