"""A checkpoint of two ranks with divided tensors, gone on from by one: the same weights, moments and reference."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from grpo.config.algorithm import AlgorithmConfig
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.training.checkpoint import find_error, save_checkpoint
from grpo.training.learner import Learner
from policies.load import load_policy
from tests.grpo.tiny_phase import make_groups, make_policy
from tests.processes import run_in_ranks
from tests.tiny import free_port


def learner(folder: Path, rank: int, ranks: int) -> Learner:
    return Learner(
        policy=PolicyConfig(model=str(folder), compute_dtype="float32"),
        algorithm=AlgorithmConfig(group_size=4, questions_per_step=3, kl_coef=0.1),
        optimizer=OptimizerConfig(lr=1e-2),
        learner=LearnerConfig(ranks=ranks),
        model_path=folder,
        total_steps=8,
        rank=rank,
    )


def state(one: Learner) -> dict[str, Tensor]:
    """Everything that a checkpoint must bring back, whole."""
    assert one._reference is not None
    found = dict(one.model.state_dict())
    found |= {shard.name: shard.part for shard in one.trained.optimizer.state()}
    return found | {f"reference/{n}": t for n, t in one._reference.tensors.items()}


def save_and_load(rank: int, folder: Path, port: int) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    own = learner(folder / "policy", rank, 2)
    groups = make_groups(0)
    own.begin_phase(groups, 0, 1.0)
    own.update(groups, 0, 12)
    team = own.trained.team
    save_checkpoint(folder / "two", 1, {}, own.save, 2, team=team)
    own.export(folder / "export")
    # Back and forth: what one rank wrote from it is read by two.
    again = learner(folder / "policy", rank, 2)
    again.load(folder / "two" / "step-000001")
    save_checkpoint(folder / "again", 1, {}, again.save, 2, team=team)
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resharding")
    make_policy(folder / "policy")
    run_in_ranks(save_and_load, folder, free_port(), ranks=2)
    return folder


def test_one_rank_goes_on_from_two(folder: Path, tmp_path: Path) -> None:
    step = folder / "two" / "step-000001"
    assert find_error(step) is None
    assert {p.name for p in step.glob("optimizer*")} == {
        f"optimizer-0000{i}-of-00002.safetensors" for i in (1, 2)
    }
    one = learner(folder / "policy", 0, 1)
    one.load(step)
    exported = load_policy(folder / "export").state_dict()
    assert all(torch.equal(t, exported[n]) for n, t in one.model.state_dict().items())
    assert one.trained.optimizer.steps == 1
    assert any(shard.part.abs().max() > 0 for shard in one.trained.optimizer.state())
    other = learner(folder / "policy", 0, 1)
    other.load(folder / "again" / "step-000001")
    first, second = state(one), state(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[n], second[n]) for n in first)
