"""The wheel: what is in it, and that it works where no checkout is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from grpo.common.config_io import RENAMED_KEYS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("grpo", "rewards", "rollout", "policies", "data_recipes")
SHIPPED = {".py", ".toml", ".j2", ".html", ".css", ".js", ".svg"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the committed and new files of the checkout as pip builds it, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT)
    for name in listed.split("\0"):
        source, target = ROOT / name, folder / "source" / name
        if name and source.is_file() and name.split("/")[0] in {*PACKAGES, "tests", *PROJECT_FILES}:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet",
        "--wheel-dir", str(folder), str(folder / "source"), cwd=folder,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


PROJECT_FILES = {"pyproject.toml", "README.md", "LICENSE"}


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env={**clean_environment(), **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def clean_environment() -> dict[str, str]:
    """Without what would let a child find the checkout."""
    return {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """`bin` of a fresh environment with the wheel alone installed; the locked packages are on its path."""
    environment = wheel.parent / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", str(environment), cwd=wheel.parent)
    python = environment / "bin" / "python"
    run(
        sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet",
        str(wheel), cwd=wheel.parent,
    )  # fmt: skip
    site = run(
        str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=wheel.parent
    ).strip()
    # .pth files of the added folder are not read, so the checkout's editable install does not come along.
    (Path(site) / "locked.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def test_the_wheel_holds_every_shipped_file_and_no_test(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *PACKAGES, cwd=ROOT)
    expected = {
        name for name in listed.split("\0") if Path(name).suffix in SHIPPED and (ROOT / name).is_file()
    }
    assert held - expected == set()
    assert expected - held == set()
    assert {name.split("/")[0] for name in held} == set(PACKAGES)


def test_no_file_of_a_kind_that_is_not_shipped_is_needed(wheel: Path) -> None:
    """A new kind of data file must be added to pyproject's package-data and to SHIPPED."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *PACKAGES, cwd=ROOT)
    others = {name for name in listed.split("\0") if name and Path(name).suffix not in SHIPPED}
    assert {Path(name).suffix for name in others} <= {".md"}


def test_grpo_runs_from_the_wheel_and_finds_its_recipes(installed: Path, tmp_path: Path) -> None:
    where = run(str(installed / "python"), "-c", "import grpo; print(grpo.__path__[0])", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    recipes = run(str(installed / "grpo"), "recipes", cwd=tmp_path)
    shipped = sorted(path.stem for path in (ROOT / "data_recipes/recipes").glob("*.toml"))
    assert [name for name in shipped if name not in recipes] == []
    assert "grpo doctor" in run(str(installed / "grpo"), "--help", cwd=tmp_path, COLUMNS="120")


def test_the_wheel_has_the_version_of_the_newest_entry_of_the_changelog(wheel: Path) -> None:
    version = PROJECT["version"]
    assert wheel.name.startswith(f"r1_workbench-{version}-")
    entries = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## [")]
    released = [entry for entry in entries if entry != "## [Unreleased]"]
    assert released[0].startswith(f"## [{version}] - ")


def test_the_changelog_names_every_renamed_key() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert [old for old, new in RENAMED_KEYS.items() if f"| `{old}` | `{new}` |" not in text] == []


def test_the_dependencies_of_the_wheel_are_those_that_the_lock_starts_from() -> None:
    def names(lines: list[str]) -> set[str]:
        return {match[0].lower() for line in lines if (match := re.match(r"[A-Za-z0-9._-]+", line))}

    assert names(PROJECT["dependencies"]) == names(
        (ROOT / "requirements/runtime.in").read_text().splitlines()
    )
