"""`grpo convert`: FP8 blocks to bfloat16 and back, in little memory, across interruptions."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from grpo.cli import app
from policies import convert as module
from policies.convert import convert
from policies.errors import BrokenCheckpoint, PolicyError, UnsupportedArchitecture
from policies.facts import read_facts
from policies.hf_names import named_tensors
from policies.load import load_policy
from policies.tensor_files import MAPPED_BYTES
from tests.policies.released_folders import LITE, V3, Tensors, in_fp8, random_tensors, write


def silent(_: str) -> None:
    pass


def stored(folder: Path) -> Tensors:
    return {n: t for file in sorted(folder.glob("*.safetensors")) for n, t in load_file(file).items()}


def dequantised(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """In float64, block by block of the paper's 128 × 128."""
    result = values.to(torch.float64)
    for row in range(scales.shape[0]):
        for column in range(scales.shape[1]):
            block = slice(128 * row, 128 * (row + 1)), slice(128 * column, 128 * (column + 1))
            result[block] *= float(scales[row, column])
    return result


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("v3") / "DeepSeek-V3", V3, in_fp8(random_tensors(V3)))


@pytest.fixture(scope="module")
def plain(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bf16") / "out"
    convert(released, out, report=silent)
    return out


def test_every_weight_is_values_times_scale_of_its_block(released: Path, plain: Path) -> None:
    before, after = stored(released), stored(plain)
    assert after.keys() == {name for name in before if not name.endswith("_scale_inv")}
    sizes = set()
    for name, tensor in after.items():
        if before[name].dtype != torch.float8_e4m3fn:
            assert tensor.dtype == before[name].dtype
            assert torch.equal(tensor, before[name])
            continue
        expected = dequantised(before[name], before[f"{name}_scale_inv"])
        assert tensor.dtype == torch.bfloat16
        # One rounding to float32 and one to bfloat16, whose numbers have 8 bits.
        assert ((tensor.double() - expected).abs() <= 2**-8 * expected.abs() * 1.0001).all()
        sizes.add(before[f"{name}_scale_inv"].shape)
    assert {(2, 1), (1, 2), (1, 1)} <= {tuple(size) for size in sizes}, "blocks at the edge are not tested"


def test_files_and_index_keep_their_names_and_the_code_is_left_behind(released: Path, plain: Path) -> None:
    assert {p.name for p in released.glob("*.safetensors")} == {p.name for p in plain.glob("*.safetensors")}
    before, after = (
        json.loads((f / "model.safetensors.index.json").read_text())["weight_map"] for f in (released, plain)
    )
    assert after == {name: file for name, file in before.items() if not name.endswith("_scale_inv")}
    config = json.loads((plain / "config.json").read_text())
    assert not {"quantization_config", "auto_map"} & config.keys()
    assert {key: V3[key] for key in V3 if key != "auto_map"} == config
    assert not list(plain.glob("*.py"))
    assert not (released / "ran").exists()


def test_the_result_loads_with_its_layer_of_multi_token_prediction(released: Path, plain: Path) -> None:
    with pytest.raises(UnsupportedArchitecture, match=r"FP8.*grpo convert"):
        read_facts(released, need_tokenizer=False)
    assert read_facts(plain, need_tokenizer=False).mtp_layers == 1
    held = stored(plain)
    for name, tensor in named_tensors(load_policy(plain)):
        assert torch.equal(tensor, held[name].float()), name


def test_an_interrupted_conversion_goes_on_and_keeps_what_is_whole(
    released: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file, calls = module._write, []

    def killed(target: Path, jobs: Any) -> str:
        calls.append(target.name)
        if len(calls) == 2:
            target.with_name(f".{target.name}.tmp").write_bytes(b"half")
            raise KeyboardInterrupt
        return write_file(target, jobs)

    monkeypatch.setattr(module, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        convert(released, tmp_path / "out", report=silent)
    assert not (tmp_path / "out").exists()
    done = convert(released, tmp_path / "out", report=silent)
    assert (done.kept_files, done.files) == (1, 2)
    assert calls == [*(sorted(p.name for p in released.glob("*.safetensors"))), calls[1]]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in plain.iterdir())
    for name in ("model-00001-of-000002.safetensors", "model-00002-of-000002.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (plain / name).read_bytes()


def test_a_kept_file_that_was_damaged_is_written_again(
    released: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "_write_small_files", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            convert(released, tmp_path / "out", report=silent)
    name = "model-00002-of-000002.safetensors"
    file = tmp_path / ".out.converting" / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert convert(released, tmp_path / "out", report=silent).kept_files == 1
    assert (tmp_path / "out" / name).read_bytes() == (plain / name).read_bytes()


def test_a_finished_conversion_is_verified_again_and_damage_is_named(released: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(released, out, report=silent)
    assert convert(released, out, report=silent).kept_files == 2
    file = out / "model-00001-of-000002.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 4
    file.write_bytes(content)
    with pytest.raises(BrokenCheckpoint, match=r"00001-of-000002.*not what was converted"):
        convert(released, out, report=silent)


def test_another_folder_is_never_replaced(released: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(PolicyError, match="exists and is no conversion"):
        convert(released, tmp_path / "mine", report=silent)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_a_disk_that_lies_is_found(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_digest", lambda *_: "0" * 32)
    with pytest.raises(BrokenCheckpoint, match="does not hold what was written"):
        convert(released, tmp_path / "out", report=silent)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, n: t.pop(f"{n}_scale_inv"), r"o_proj\.weight_scale_inv is missing"),
        (lambda t, n: t.update({f"{n}_scale_inv": torch.ones(2, 2)}), r"another number of blocks"),
        (
            lambda t, n: t.update({"stray_scale_inv": torch.ones(1, 1)}),
            r"stray_scale_inv belongs to no weight",
        ),
        (lambda t, n: t.update({f"{n}_scale_inv": torch.full((2, 1), math.inf)}), r"not finite"),
        (lambda t, n: t[n].view(torch.uint8)[0, 0].fill_(127), r"not finite"),
    ],
)
def test_broken_scales_are_named(tmp_path: Path, change: Any, message: str) -> None:
    tensors = in_fp8(random_tensors(V3))
    change(tensors, "model.layers.1.self_attn.o_proj.weight")
    folder = write(tmp_path / "v3", V3, tensors, files=1)
    with pytest.raises(BrokenCheckpoint, match=message):
        convert(folder, tmp_path / "out", report=silent)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_block_size": None}, "weight_block_size = None"),
        ({"fmt": "e5m2"}, "fmt = 'e5m2'"),
        ({"quant_method": "gptq"}, "quant_method = 'gptq'"),
    ],
)
def test_other_formats_are_refused(
    released: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = write(tmp_path / "v3", V3, in_fp8(random_tensors(V3)), files=1)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= changes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PolicyError, match=message):
        convert(folder, tmp_path / "out", report=silent)


def test_weights_that_are_not_quantised_need_no_conversion(tmp_path: Path) -> None:
    folder = write(tmp_path / "lite", LITE, random_tensors(LITE))
    with pytest.raises(PolicyError, match="not quantised"):
        convert(folder, tmp_path / "out", report=silent)


def test_back_to_the_released_layout(released: Path, plain: Path, tmp_path: Path) -> None:
    again = tmp_path / "fp8"
    convert(plain, again, to="fp8", report=silent)
    before, after, between = stored(released), stored(again), stored(plain)
    assert {name: t.dtype for name, t in after.items()} == {name: t.dtype for name, t in before.items()}
    assert {name: t.shape for name, t in after.items()} == {name: t.shape for name, t in before.items()}
    released_config = json.loads((released / "config.json").read_text())
    del released_config["auto_map"]
    assert json.loads((again / "config.json").read_text()) == released_config
    for name, tensor in after.items():
        if tensor.dtype == torch.float8_e4m3fn:
            back = dequantised(tensor, after[f"{name}_scale_inv"])
            error = (back - between[name].double()).abs()
            # e4m3 has 3 bits after the first; below its least normal number steps are 2^-9 of the block's scale.
            assert (
                error <= between[name].double().abs() * 2**-4 + 2**-10 * after[f"{name}_scale_inv"].max()
            ).all()
    convert(again, tmp_path / "twice", report=silent)
    convert(tmp_path / "twice", tmp_path / "fp8-twice", to="fp8", report=silent)
    twice = stored(tmp_path / "fp8-twice")
    assert all(torch.equal(tensor.float(), twice[name].float()) for name, tensor in after.items())


def test_weights_that_are_not_finite_are_not_quantised(tmp_path: Path) -> None:
    tensors = random_tensors(LITE)
    tensors["model.layers.1.self_attn.o_proj.weight"][3, 4] = math.inf
    folder = write(tmp_path / "lite", LITE, tensors)
    with pytest.raises(BrokenCheckpoint, match=r"layers\.1\.self_attn\.o_proj\.weight has numbers"):
        convert(folder, tmp_path / "out", to="fp8", report=silent)


@pytest.mark.slow
def test_memory_is_that_of_two_tensors(tmp_path: Path) -> None:
    """Peak resident memory of a process, beside that of one that converts next to nothing."""

    def peak(rows: int, count: int) -> int:
        folder = tmp_path / f"{rows}"
        folder.mkdir()
        tensors = {}
        for i in range(count):
            name = f"model.layers.0.mlp.experts.{i}.up_proj.weight"
            tensors[name] = torch.zeros(rows, 4096, dtype=torch.float8_e4m3fn)
            tensors[f"{name}_scale_inv"] = torch.ones(math.ceil(rows / 128), 32)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        config = V3 | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
        (folder / "config.json").write_text(json.dumps(config))
        code = (
            "import resource, sys; from policies.convert import convert;"
            "convert(sys.argv[1], sys.argv[2], report=lambda _: None);"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        words = [sys.executable, "-c", code, str(folder), str(tmp_path / f"{rows}.out")]
        return 1024 * int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    small = peak(128, 1)
    rows, count = 4096, 10
    one = 2 * rows * 4096  # bytes of a weight in bfloat16: 34 MB; all of them: 336 MB
    # Two tensors, and what a read holds: pages of the mapped file (policies/tensor_files.py), a band and its scales.
    assert peak(rows, count) - small < 2 * one + MAPPED_BYTES + 30_000_000 < count * one / 2


def test_command(released: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["convert", str(released), str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "1/2  model-00001-of-000002.safetensors  written, verified" in done.output
    assert "converted" in done.output
    assert CliRunner().invoke(app, ["convert", str(released), "x", "--to", "int4"]).exit_code == 2
