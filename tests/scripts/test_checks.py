"""CI, hooks and the API reference run the same commands with the locked tools."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scripts.load import ROOT


def read_yaml(path: str) -> Any:  # a YAML tree
    return yaml.safe_load((ROOT / path).read_text())


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile, with its variables put in."""
    text = (ROOT / "Makefile").read_text()
    variables = dict(re.findall(r"^(\w+)\s*[:?]=[ \t]*(.*)$", text, re.MULTILINE))
    block = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert block is not None
    lines = [line.strip().removeprefix("@") for line in block[1].splitlines()]
    return [re.sub(r"\$\((\w+)\)", lambda m: variables[m[1]], line) for line in lines]


def test_hosted_ci_runs_what_ci_run_does_under_the_oldest_python() -> None:
    (job,) = read_yaml(".github/workflows/ci.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    (python,) = [
        step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")
    ]
    assert f'requires-python = ">={python}"' in (ROOT / "pyproject.toml").read_text()


def test_ci_runs_checks_reference_and_tests() -> None:
    lines = (ROOT / ".ci/run").read_text().splitlines()
    called = [line.split()[1] for line in lines if line.startswith("make ")]
    assert called == ["install", "docs", "check", "test"]


def test_the_hooks_are_the_commands_of_make_check_with_the_tools_of_the_lock() -> None:
    (repo,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    checks = [" ".join(word for word in line.split() if word != ".") for line in recipe("check")]
    for hook in repo["hooks"]:
        command = (
            hook["entry"]
            .replace(" --force-exclude", "")
            .replace(".venv/bin/ruff", ".venv/bin/python -m ruff")
        )
        assert command in checks, f"{hook['id']}: {command} is not in `make check`"
        tool = command.split()[2] if "-m" in command else Path(command.split()[0]).name
        assert re.search(rf"^{tool}==", (ROOT / "requirements/cpu.txt").read_text(), re.MULTILINE)
    assert {hook["id"] for hook in repo["hooks"]} == {"ruff", "ruff-format", "mypy", "typos"}


def build_reference(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    (folder / "documented.py").write_text(source)
    command = [sys.executable, str(ROOT / "scripts/api_reference.py"), str(folder / "api"), "documented"]
    return subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(x: 'NoSuchType') -> None:\n    'Takes x.'\n", "NoSuchType"),
        ("import warnings\nwarnings.warn('at import')\n", "at import"),
    ],
)
def test_a_warning_fails_the_api_reference(source: str, message: str, tmp_path: Path) -> None:
    done = build_reference(tmp_path, source)
    assert done.returncode != 0
    assert message in done.stderr


def test_a_module_that_cannot_be_imported_fails_the_api_reference(tmp_path: Path) -> None:
    assert build_reference(tmp_path, "import no_such_module\n").returncode != 0


def test_a_library_may_run_a_program_while_it_is_imported(tmp_path: Path) -> None:
    source = "import subprocess\nFOUND = subprocess.run(['/bin/echo', 'x'], capture_output=True, text=True).stdout\n"
    done = build_reference(tmp_path, f"{source}if FOUND.strip() != 'x':\n    raise RuntimeError(FOUND)\n")
    assert done.returncode == 0, done.stderr


def test_the_api_reference_has_the_docstrings_and_the_packages_of_the_wheel(tmp_path: Path) -> None:
    done = build_reference(tmp_path, "def area(width: int) -> int:\n    'Return the area in m².'\n")
    assert done.returncode == 0, done.stderr
    assert "Return the area in m²." in (tmp_path / "api/documented.html").read_text()
    included = re.search(r"^include = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert included is not None
    assert set(re.findall(r'"(\w+)\*"', included[1])) == set(recipe("docs")[0].split()[3:])
