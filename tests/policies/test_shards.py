"""A gathered tensor is proven to be made of every rank's part. Two gloo ranks start once, for all cases."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from policies import shards
from policies.errors import GatherError
from policies.shards import DividedRows, proven_whole
from tests.processes import meet, run_in_ranks

CASES = {"rows": Shard(0), "columns": Shard(1), "copies": Replicate()}


def damaged(rank: int, folder: Path) -> dict[str, str]:
    """What rank 0 says of tensors that are whole, and of tensors damaged on the way."""
    full_tensor = DTensor.full_tensor
    mesh = init_device_mesh("cpu", (2,))
    tensor = torch.arange(15.0).reshape(5, 3)
    found = {}
    for name, placement in CASES.items():
        divided = distribute_tensor(tensor, mesh, [placement])
        found[f"{name}_whole"] = str(torch.equal(proven_whole(name, divided), tensor))

        def one_element(self: DTensor, **settings: object) -> torch.Tensor:
            full = full_tensor(self, **settings)
            full[4, 2] += 1
            return full

        def exchanged(self: DTensor, **settings: object) -> torch.Tensor:
            full = full_tensor(self, **settings)
            return full.flip(0).flip(1)

        for damage in (one_element, exchanged):
            with mock.patch.object(DTensor, "full_tensor", damage):
                found[f"{name}_{damage.__name__}"] = refusal(name, divided)
    for name, placement in CASES.items():
        for dtype in (torch.float32, torch.bfloat16):
            odd = tensor.clone().to(dtype)
            odd[0, 1], odd[4, 0] = -0.0, torch.nan
            rows = DividedRows(name, distribute_tensor(odd, mesh, [placement]))
            # A block of two rows, then of all.
            for size, to in ((2 * 3 * dtype.itemsize, 0), (2 * 3 * dtype.itemsize, 1), (1 << 20, 0)):
                with mock.patch.object(shards, "ROW_BYTES", size):
                    taken = torch.cat(list(rows.blocks(to)))
                same = taken.view(torch.uint8).equal(odd.view(torch.uint8))
                found[f"{name}_{dtype}_{size}_{to}"] = str(same if rank == to else "other rank")
        rows = DividedRows(name, distribute_tensor(tensor, mesh, [placement]))
        found[f"{name}_flipped_rows"] = rows_refusal(rows)
    copies = distribute_tensor(tensor, mesh, [Replicate()])
    if rank == 1:
        copies.to_local()[0, 0] = 7.0
    found["different_copies"] = refusal("norm", copies)
    found["different_rows"] = rows_refusal(DividedRows("norm", copies), flip=False)
    return found


def refusal(name: str, tensor: DTensor) -> str:
    try:
        proven_whole(name, tensor)
    except GatherError as error:
        return str(error)
    return ""


def rows_refusal(rows: DividedRows, flip: bool = True) -> str:
    """What rank 0 says of rows of which one bit was flipped on the way."""
    reduce = dist.reduce

    def flipping(block: torch.Tensor, dst: int) -> None:
        reduce(block, dst=dst)
        block[-1] ^= 1 if flip else 0

    try:
        with mock.patch.object(dist, "reduce", flipping), mock.patch.object(shards, "ROW_BYTES", 24):
            list(rows.blocks(0))
    except GatherError as error:
        return str(error)
    return ""


def work(rank: int, folder: Path) -> None:
    meet(rank, 2, folder / "store")
    found = damaged(rank, folder)
    dist.destroy_process_group()
    (folder / f"{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("ranks")
    run_in_ranks(work, folder, ranks=2)
    other = json.loads((folder / "1.json").read_text())
    assert other["rows_whole"] == "True"
    assert {value for key, value in other.items() if "torch." in key and key.endswith("_1")} == {"True"}
    result: dict[str, str] = json.loads((folder / "0.json").read_text())
    return result


@pytest.mark.parametrize("name", CASES)
def test_parts_of_every_cut_are_put_together(found: dict[str, str], name: str) -> None:
    assert found[f"{name}_whole"] == "True"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("damage", ["one_element", "exchanged"])
def test_damage_on_the_way_names_the_tensor(found: dict[str, str], name: str, damage: str) -> None:
    assert found[f"{name}_{damage}"].startswith(f"{name}: the gathered tensor differs from what rank ")


def test_copies_that_differ_between_ranks_are_noticed(found: dict[str, str]) -> None:
    assert found["different_copies"].startswith("norm: the gathered tensor differs from what rank 1 holds")


def test_rows_arrive_bit_for_bit_on_the_rank_that_takes_them(found: dict[str, str]) -> None:
    taken = {key: value for key, value in found.items() if "torch." in key}
    assert len(taken) == 2 * 3 * len(CASES)
    assert {value for key, value in taken.items() if key.endswith("_0")} == {"True"}


@pytest.mark.parametrize("name", CASES)
def test_a_bit_flipped_in_rows_names_the_tensor(found: dict[str, str], name: str) -> None:
    assert found[f"{name}_flipped_rows"].startswith(f"{name}: the gathered tensor differs from what rank ")
    assert found["different_rows"] == (
        "norm: the gathered tensor differs from what rank 1 holds of it, from row 0"
    )


def test_a_plain_tensor_is_its_own_whole() -> None:
    tensor = torch.ones(3)
    assert proven_whole("x", tensor) is tensor
