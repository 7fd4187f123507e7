"""A user's file with the name of a package of the toolkit is named, with a fix, before it is imported in its place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from grpo.common.shadows import _ROOT as ROOT
from grpo.common.shadows import PACKAGES, HiddenPackage, refuse_shadows_in

HIDDEN = ("data_recipes", "rewards", "rollout", "policies")
"""All but grpo: one that is hidden itself cannot say so in a script."""


def put(folder: Path, name: str, kind: str) -> Path:
    if kind == "file":
        path = folder / f"{name}.py"
        path.write_text("def exact(completions, **_):\n    return [1.0 for _ in completions]\n")
        return path
    package = folder / name
    package.mkdir()
    if kind == "package":
        (package / "__init__.py").touch()
    return package


@pytest.mark.parametrize("kind", ["file", "package"])
@pytest.mark.parametrize("name", PACKAGES)
def test_a_file_or_package_of_a_toolkit_name_is_found(name: str, kind: str, tmp_path: Path) -> None:
    path = put(tmp_path, name, kind)
    with pytest.raises(HiddenPackage) as raised:
        refuse_shadows_in([str(tmp_path)])
    message = str(raised.value)
    assert message.startswith(
        f"{path}{'' if kind == 'file' else os.sep} hides the toolkit's package {name!r}"
    )
    assert f"rename yours, e.g. my_{name}{'.py' if kind == 'file' else os.sep}" in message


def test_a_plain_folder_hides_only_a_package_that_is_on_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "policies", "folder")
    monkeypatch.setattr(sys, "path", [str(tmp_path), ROOT])
    refuse_shadows_in([str(tmp_path)])
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(HiddenPackage, match="policies/ hides"):
        refuse_shadows_in([str(tmp_path)])


def test_other_names_and_the_toolkit_itself_are_no_shadow(tmp_path: Path) -> None:
    for name in ("my_rewards.py", "rewards.toml", "reward.py"):
        (tmp_path / name).touch()
    (tmp_path / "copy").mkdir()
    for name in PACKAGES:
        put(tmp_path / "copy", name, "package")
    refuse_shadows_in([str(tmp_path), ROOT, str(tmp_path / "copy"), str(tmp_path / "missing")])


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": ROOT}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("kind", ["file", "package"])
@pytest.mark.parametrize("name", HIDDEN)
def test_a_script_beside_it_gets_the_hint(name: str, kind: str, tmp_path: Path) -> None:
    put(tmp_path, name, kind)
    (tmp_path / "train.py").write_text("import grpo.stages.registry\n")
    done = run(["train.py"], tmp_path)
    assert done.returncode == 1
    assert f"hides the toolkit's package {name!r}" in done.stderr.splitlines()[-1]


def test_a_script_that_has_imported_its_own_gets_the_hint(tmp_path: Path) -> None:
    own = tmp_path / "lib"
    own.mkdir()
    put(own, "rewards", "file")
    text = f"import sys\nsys.path.insert(0, {str(own)!r})\nimport rewards\nsys.path.pop(0)\nimport grpo.cli\n"
    (tmp_path / "train.py").write_text(text)
    done = run(["train.py"], tmp_path)
    assert "rewards.py hides the toolkit's package 'rewards'" in done.stderr.splitlines()[-1]


def test_the_command_refuses_before_it_makes_a_folder(tmp_path: Path) -> None:
    # `grpo` itself does not have the working directory on its path; the actors that it starts have.
    put(tmp_path, "rollout", "file")
    boot = "import sys; sys.path = [p for p in sys.path if p]; from grpo.cli import main; main()"
    done = run(["-c", boot, "rl", "r1-zero-tiny", "--set", "run_dir=out"], tmp_path)
    assert done.returncode == 1
    assert "rollout.py hides the toolkit's package 'rollout'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_name_of_a_reward_says_which_of_the_two_it_found(tmp_path: Path) -> None:
    put(tmp_path, "rewards", "file")
    (tmp_path / "cases.jsonl").write_text('{"prompt": "1 + 1?", "answer": "2"}\n')
    boot = "import sys; sys.path = [p for p in sys.path if p]; from grpo.cli import main; main()"
    arguments = ["-c", boot, "reward", "try", "--data", "cases.jsonl"]
    package = run([*arguments, "rewards:exact"], tmp_path).stdout
    assert f"{ROOT}{os.sep}rewards{os.sep}__init__.py has no 'exact'" in package
    assert "the file rewards.py here is ./rewards.py:" in package
    assert "pass  loads" in run([*arguments, "./rewards.py:exact"], tmp_path).stdout
