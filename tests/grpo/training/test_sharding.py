"""Ranks that each hold a part of the policy compute what one rank computes. All ranks start once, for all cases."""

from __future__ import annotations

import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from grpo.algorithm.batching import phase_mini_batches
from grpo.config.algorithm import AlgorithmConfig
from grpo.config.mesh import MeshConfig
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.training.learner import Learner
from policies import limits
from tests.grpo.tiny_phase import make_groups, make_policy
from tests.grpo.training.sharded_cases import FOUR, SHAPES, TWO, Case, Outcome, run_case
from tests.processes import meet, run_in_ranks
from tests.tiny import slow_tests_run

ROUNDING = 1e-6
TIMEOUT_S = 60.0
PRESETS = sorted({case.preset for case in (*TWO, *FOUR)})
EVERYDAY = {
    "v3", "llama-tied", "lora-recompute", "v3-balance", "reward-model", "context-v3", "copies-2x2", "experts-lora",
    "experts-balance", "experts-mtp-rl", "context-experts",
}  # fmt: skip
"""Every dimension of the mesh and every part of the learner once or twice; all pairs of them are slow tests."""
CASES = [
    case if case.name in EVERYDAY else pytest.param(case, marks=pytest.mark.slow) for case in (*TWO, *FOUR)
]
NAMES = [case.name for case in (*TWO, *FOUR)]


def _work(rank: int, folder: Path, chosen: set[str]) -> None:
    """Run the chosen cases of four ranks, then, in pairs of ranks, every second one of two."""
    limits.GATHERED_ELEMENTS = 1  # heads take turns, as those of a long row do
    pair, place = divmod(rank, 2)
    meet(rank, 4, folder / "four", TIMEOUT_S)
    for case in (case for case in FOUR if case.name in chosen):
        _keep(case, folder, rank)
    torch.save(resumed(folder, rank), folder / f"resumed-{rank}.pt")
    torch.save(uneven(folder / "tiny-v3", rank, 4), folder / f"uneven-{rank}.pt")
    torch.save(uneven(folder / "tiny-v3", rank, 4, context=2), folder / f"uneven-context-{rank}.pt")
    dist.destroy_process_group()
    meet(place, 2, folder / f"pair-{pair}", TIMEOUT_S)
    for case in [case for case in TWO if case.name in chosen][pair::2]:
        _keep(case, folder, place)
    dist.destroy_process_group()


def uneven(folder: Path, rank: int, ranks: int, context: int = 1) -> list[float]:
    """Return the gradient norms of phases of random size, many with less work than ranks."""
    learner = Learner(
        policy=PolicyConfig(model=str(folder), compute_dtype="float32"),
        algorithm=AlgorithmConfig(kl_coef=0.1, mini_batches=2),
        optimizer=OptimizerConfig(lr=1e-9),
        learner=LearnerConfig(
            ranks=ranks, tokens_per_micro_batch=25, logit_chunk_tokens=16, mesh=MeshConfig(context=context)
        ),
        model_path=folder,
        total_steps=99,
        rank=rank,
    )
    norms = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        groups = make_groups(seed, groups=int(random.integers(1, 4)), samples=int(random.integers(1, 6)))
        learner.begin_phase(groups, 0, 1.0)
        for batch in phase_mini_batches(groups, 2, (seed,)):
            norms.append(learner.update(batch, 0, 16).metrics["grad_norm"])
    return norms


def resumed(folder: Path, rank: int) -> bool:
    """Tell if a learner that loads what another saved has its weights, moments and reference, bit for bit."""

    def make() -> Learner:
        return Learner(
            policy=PolicyConfig(model=str(folder / "tiny-v3"), compute_dtype="float32"),
            algorithm=AlgorithmConfig(kl_coef=0.1),
            optimizer=OptimizerConfig(lr=1e-3),
            learner=LearnerConfig(ranks=4, mesh=MeshConfig(expert=2)),
            model_path=folder / "tiny-v3",
            total_steps=99,
            rank=rank,
        )

    def state(learner: Learner) -> dict[str, torch.Tensor]:
        moments = {shard.name: shard.part for shard in learner.trained.optimizer.state()}
        assert learner._reference is not None
        return dict(learner.named_tensors()) | moments | learner._reference.tensors

    learner, out = make(), folder / "saved"
    if rank == 0:
        out.mkdir()
    dist.barrier()
    learner.begin_phase(make_groups(), 0, 1.0)
    learner.update(make_groups(), 0, 16)
    learner.save(out)
    dist.barrier()
    again = make()
    fresh = state(again)
    again.load(out)
    before, after = state(learner), state(again)
    assert any(not torch.equal(before[name], fresh[name]) for name in before)
    return before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)


def _keep(case: Case, folder: Path, rank: int) -> None:
    try:
        result: Outcome | str = run_case(case, folder / case.preset, rank)
    except Exception:
        result = traceback.format_exc()
    torch.save(result, folder / f"{case.name}-{rank}.pt")


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    for preset in PRESETS:
        name, fields = SHAPES.get(preset, (preset, {}))
        make_policy(folder / preset, name, **fields)
    chosen = set(NAMES) if slow_tests_run(request) else EVERYDAY
    run_in_ranks(_work, folder, chosen, ranks=4)
    return folder


def outcomes(folder: Path, case: Case) -> list[Outcome]:
    found = [torch.load(folder / f"{case.name}-{r}.pt", weights_only=False) for r in range(case.ranks)]
    for result in found:
        assert not isinstance(result, str), result
    return found


@pytest.fixture(scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_ranks_compute_what_one_computes(folder: Path, case: Case, one_thread: None) -> None:
    expected = run_case(case, folder / case.preset, oracle=True)
    for found in outcomes(folder, case):
        assert len(found.gradients) == len(expected.gradients) >= 2
        # The first gradient; a later one follows weights that rounding has already moved.
        norm = sum(g.double().square().sum() for g in expected.gradients[0].values()).sqrt().item()
        assert norm > 1e-3
        assert found.gradients[0].keys() >= expected.gradients[0].keys()
        error = 0.0
        for name, gradient in found.gradients[0].items():
            wanted = expected.gradients[0].get(name, torch.zeros_like(gradient))
            if case.same_bits:
                assert torch.equal(gradient, wanted), name
            error += (gradient.double() - wanted.double()).square().sum().item()
        assert error**0.5 <= ROUNDING * norm
        for ours, theirs in zip(found.metrics, expected.metrics, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
        if "kl_coef" in case.algorithm:
            assert found.metrics[1]["policy/kl"] > 1e-5
        if "capacity" in case.router:
            assert 0 < found.metrics[0]["router/dropped_share"] < 0.5
        for name, tensor in found.weights.items():
            # Adam divides by |g|: a gradient near zero may move a weight by up to lr either way.
            torch.testing.assert_close(tensor, expected.weights[name], rtol=0, atol=5e-3, msg=name)
            assert (tensor - expected.weights[name]).abs().mean() < 5e-5
        for ours, theirs in zip(found.canary, expected.canary, strict=True):
            assert ours == pytest.approx(theirs, abs=2e-3)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_all_ranks_see_the_same_policy_and_the_same_metrics(folder: Path, case: Case) -> None:
    first, *others = outcomes(folder, case)
    for other in others:
        assert other.metrics == first.metrics
        assert all(torch.equal(other.weights[name], tensor) for name, tensor in first.weights.items())


def test_uneven_work_neither_hangs_nor_changes_the_gradient(
    folder: Path, outcomes_of_one: list[float]
) -> None:
    """The deadline of every collective is a minute: ranks that disagree about their number fail."""
    for kind in ("uneven", "uneven-context"):
        for rank in range(4):
            assert torch.load(folder / f"{kind}-{rank}.pt") == pytest.approx(outcomes_of_one, rel=1e-4)


@pytest.fixture(scope="module")
def outcomes_of_one(folder: Path, one_thread: None) -> list[float]:
    return uneven(folder / "tiny-v3", 0, 1)


def test_a_checkpoint_of_many_ranks_is_loaded_bit_for_bit(folder: Path) -> None:
    assert all(torch.load(folder / f"resumed-{rank}.pt") for rank in range(4))
