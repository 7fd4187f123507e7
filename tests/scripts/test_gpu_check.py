"""scripts/gpu_check.py: the checks on a CPU, and what becomes of one that is wrong, crashes or hangs."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from tests.scripts.load import ROOT, load

sys.path.insert(0, str(ROOT / "scripts"))
gpu_check = load("gpu_check")


def checks(folder: Path, **bodies: str) -> None:
    """Write a stand-in of gpu_learner.py with one function per check."""
    lines = ["import os, subprocess, sys, time", "from gpu_result import Check"]
    for name, body in bodies.items():
        lines += [f"def {name}(device, shape):", f"    {body}"]
    (folder / "gpu_learner.py").write_text("\n".join(lines) + "\n")
    for name in ("gpu_check.py", "gpu_result.py"):
        (folder / name).write_bytes((ROOT / "scripts" / name).read_bytes())


def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **limits: float
) -> tuple[int, list[dict[str, object]]]:
    """Run the stand-ins by the copied script, and return the exit code and what it wrote."""
    names = tuple(limits)
    monkeypatch.setattr(gpu_check, "PARTS", {"learner": names})
    monkeypatch.setattr(gpu_check, "LIMIT_S", limits)
    monkeypatch.setattr(gpu_check, "__file__", str(folder / "gpu_check.py"))
    (folder / "gpu_check.py").write_text(
        (folder / "gpu_check.py")
        .read_text()
        .replace('"attention", "update", "moments", "speed"', ", ".join(map(repr, names)) + ",")
    )
    out = folder / "out" / "result.json"
    code = gpu_check.main(["--part", "learner", "--device", "cpu", "--shape", "tiny", "--out", str(out)])
    return code, json.loads(out.read_text())["checks"]


def test_a_check_that_fails_crashes_or_hangs_does_not_take_the_others_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = tmp_path / "pid"
    checks(
        tmp_path,
        wrong="return Check('wrong', False, 'off by 3')",
        crashes="os.abort()",
        raises="raise ValueError('no such kernel')",
        hangs=f"open({str(pid)!r}, 'w').write(str(subprocess.Popen(['sleep', '600']).pid)); time.sleep(600)",
        right="return Check('right', True, 'as it should be', {'error': 0.5})",
    )
    start = time.monotonic()
    code, found = run(tmp_path, monkeypatch, wrong=60, crashes=60, raises=60, hangs=8, right=60)
    assert code == 1
    assert time.monotonic() - start < 60
    assert [(c["name"], c["ok"]) for c in found] == [
        ("wrong", False), ("crashes", False), ("raises", False), ("hangs", False), ("right", True),
    ]  # fmt: skip
    texts = {str(c["name"]): str(c["text"]) for c in found}
    assert texts["raises"].endswith("ValueError: no such kernel")
    assert texts["hangs"] == "not done after 8 s"
    assert found[-1]["figures"] == {"error": 0.5}
    gone = time.monotonic() + 10
    while psutil.pid_exists(int(pid.read_text())) and time.monotonic() < gone:
        time.sleep(0.1)
    assert not psutil.pid_exists(int(pid.read_text())), "what a hanging check had started still runs"
    assert "1 of 5 checks pass" in capsys.readouterr().out


def test_without_a_gpu_one_sentence_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    assert gpu_check.main([]) == 1
    assert "torch sees no GPU" in capsys.readouterr().out


def test_every_check_exists_has_a_limit_and_all_fit_into_eight_minutes() -> None:
    names = [name for checks in gpu_check.PARTS.values() for name in checks]
    assert set(gpu_check.LIMIT_S) == set(names)
    assert gpu_check.BUDGET_S <= 480
    for part, wanted in gpu_check.PARTS.items():
        text = (ROOT / "scripts" / f"gpu_{part}.py").read_text()
        assert [name for name in wanted if f"def {name}(device: str, shape: str) -> Check:" not in text] == []


@pytest.mark.slow
@pytest.mark.engine
def test_all_checks_pass_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "result.json"
    assert gpu_check.main(["--device", "cpu", "--shape", "tiny", "--out", str(out)]) == 0
    assert len(json.loads(out.read_text())["checks"]) == len(gpu_check.LIMIT_S)
