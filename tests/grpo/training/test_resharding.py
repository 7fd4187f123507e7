"""A checkpoint of four ranks, gone on from by one and by two: the same weights, moments and reference, bit for bit."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from grpo.config.algorithm import AlgorithmConfig
from grpo.config.mesh import MeshConfig
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.training.checkpoint import find_error, save_checkpoint
from grpo.training.learner import Learner
from policies import shards
from policies.load import load_policy, own_tensors
from policies.shards import local
from policies.tensor_files import own_region
from tests.grpo.tiny_phase import make_groups, make_policy
from tests.processes import meet, run_in_ranks

MESHES = {1: MeshConfig(), 2: MeshConfig(), 4: MeshConfig(expert=2)}


def learner(folder: Path, rank: int, ranks: int) -> Learner:
    return Learner(
        policy=PolicyConfig(model=str(folder), compute_dtype="float32"),
        algorithm=AlgorithmConfig(group_size=4, questions_per_step=3, kl_coef=0.1),
        optimizer=OptimizerConfig(lr=1e-2),
        learner=LearnerConfig(ranks=ranks, mesh=MESHES[ranks]),
        model_path=folder,
        total_steps=8,
        rank=rank,
    )


Part = tuple[tuple[int, ...], Tensor]
"""Where a rank's part begins in the whole tensor, and its values."""


def parts(one: Learner) -> dict[str, Part]:
    """Everything that a checkpoint must bring back: this rank's parts."""
    assert one._reference is not None
    weights = own_tensors(one.model)
    found = {name: (own_region(t).offset, local(t).clone()) for name, t in weights.items()}
    found |= {s.name: (s.region.offset, s.part.clone()) for s in one.trained.optimizer.state()}
    frozen = one._reference.tensors
    return found | {f"reference/{n}": (own_region(weights[n]).offset, t.clone()) for n, t in frozen.items()}


def save_by_four(rank: int, folder: Path) -> None:
    meet(rank, 4, folder / "store-of-four")
    shards.ROW_BYTES = 1000  # so that matrices are exported by rows
    own = learner(folder / "policy", rank, 4)
    groups = make_groups(0)
    own.begin_phase(groups, 0, 1.0)
    own.update(groups, 0, 12)
    save_checkpoint(folder / "four", 1, {}, own.save, 2, team=own.trained.team)
    own.export(folder / "export")
    torch.save(parts(own), folder / f"live-{rank}.pt")
    torch.distributed.destroy_process_group()


def resume_by_two(rank: int, folder: Path) -> None:
    meet(rank, 2, folder / "store-of-two")
    own = learner(folder / "policy", rank, 2)
    own.load(folder / "four" / "step-000001")
    torch.save(parts(own), folder / f"resumed-{rank}.pt")
    save_checkpoint(folder / "two", 1, {}, own.save, 2, team=own.trained.team)
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resharding")
    make_policy(folder / "policy")
    run_in_ranks(save_by_four, folder, ranks=4)
    run_in_ranks(resume_by_two, folder, ranks=2)
    return folder


def check_parts(whole: dict[str, Part], file: Path) -> None:
    """Compare a rank's parts with the whole tensors of one rank, bit for bit."""
    stored = torch.load(file, weights_only=True)
    assert stored.keys() == whole.keys()
    for name, (offset, part) in stored.items():
        rows = tuple(slice(o, o + size) for o, size in zip(offset, part.shape, strict=True))
        assert torch.equal(whole[name][1][rows], part), name


@pytest.fixture(scope="module")
def one(folder: Path) -> Learner:
    one = learner(folder / "policy", 0, 1)
    one.load(folder / "four" / "step-000001")
    return one


def test_one_rank_and_two_go_on_from_four_with_the_same_bits(folder: Path, one: Learner) -> None:
    whole = parts(one)
    assert one.trained.optimizer.steps == 1
    assert any(shard.part.abs().max() > 0 for shard in one.trained.optimizer.state())
    for rank in range(4):
        check_parts(whole, folder / f"live-{rank}.pt")
    for rank in range(2):
        check_parts(whole, folder / f"resumed-{rank}.pt")


def test_one_rank_goes_on_from_what_two_wrote_of_four(folder: Path, one: Learner) -> None:
    other = learner(folder / "policy", 0, 1)
    other.load(folder / "two" / "step-000001")
    first, second = parts(one), parts(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name][1], second[name][1]) for name in first)


def test_every_rank_writes_its_part_of_a_checkpoint(folder: Path) -> None:
    step = folder / "four" / "step-000001"
    assert find_error(step) is None
    for stem, ranks in itertools.product(("policy", "optimizer", "reference"), range(1, 5)):
        assert (step / f"{stem}-0000{ranks}-of-00004.safetensors").stat().st_size > 1000


def test_an_export_by_rows_has_the_bits_of_the_weights(folder: Path, one: Learner) -> None:
    exported = load_policy(folder / "export").state_dict()
    assert all(torch.equal(tensor, exported[name]) for name, tensor in one.model.state_dict().items())
