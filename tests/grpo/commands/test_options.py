"""--version, shell completion, -q and -v, and the notes of an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from grpo.cli import _guarded
from grpo.commands.options import set_verbosity, shipped_names
from grpo.common.shadows import _ROOT as ROOT
from grpo.common.shadows import HiddenPackage
from grpo.tools.version import version

BOOT = "import sys; sys.argv[0] = 'grpo'; from grpo.cli import main; main()"


def grpo(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", BOOT, *arguments]
    here = {"PYTHONPATH": ROOT, "COLUMNS": "200"}
    return subprocess.run(words, env=os.environ | here | env, capture_output=True, text=True, timeout=120)


def complete(line: str) -> list[str]:
    words = line.split(" ")
    found = grpo(_GRPO_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    return found.stdout.split()


def test_the_version_names_package_and_commit() -> None:
    done = grpo("--version")
    assert done.returncode == 0
    assert done.stdout.strip() == f"grpo {version()}"
    assert version()[0].isdigit() or version().startswith("not installed")


def test_commands_stages_options_and_recipes_are_completed() -> None:
    assert {"rl", "reward-model", "recipes", "run"} <= set(complete("grpo r"))
    assert "--dry-run" in complete("grpo rl --d")
    assert complete("grpo rl r1-zero") == ["r1-zero-tiny", "r1-zero-tiny-long"]
    assert shipped_names("smollm2-g") == ["smollm2-gsm8k", "smollm2-gsm8k-sft", "smollm2-gsm8k-sft-lora"]


def test_verbose_shows_the_traceback_that_an_error_hides() -> None:
    plain, verbose = grpo("rl", "no-such"), grpo("rl", "no-such", "-v")
    assert plain.returncode == verbose.returncode == 1
    assert plain.stderr.startswith("error no recipe 'no-such'")
    assert "Traceback" in verbose.stderr
    assert "no recipe 'no-such'" in verbose.stderr


def test_quiet_and_verbose_together_are_refused() -> None:
    with pytest.raises(typer.BadParameter):
        set_verbosity(quiet=True, verbose=True)


def test_an_error_is_printed_with_its_notes(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(standalone_mode: bool) -> None:
        error = RuntimeError("the worker died")
        error.add_note("logs of the actors: /tmp/[x]/logs")
        raise error

    assert _guarded(fail) == 1
    assert capsys.readouterr().err == "error the worker died\nlogs of the actors: /tmp/[x]/logs\n"


def test_a_hidden_package_is_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(standalone_mode: bool) -> None:
        raise HiddenPackage("rewards.py hides")

    assert _guarded(fail) == 1
    assert capsys.readouterr().err == "error rewards.py hides\n"


def test_the_logs_of_actors_are_named_newest_last(tmp_path: Path) -> None:
    from grpo.cluster.ray_session import actor_logs

    for age, name in enumerate(
        ["worker-c-01-1.err", "worker-a-01-2.out", "worker-b-01-3.err", "worker-d-01-4.err"]
    ):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    (tmp_path / "worker-e-01-5.err").touch()
    (tmp_path / "raylet.err").write_text("x")
    assert actor_logs(tmp_path) == (
        f"logs of the actors: {tmp_path} (written last: worker-a-01-2.out, worker-b-01-3.err, worker-d-01-4.err)"
    )
    assert "ray logs" in actor_logs(None)


def test_an_option_with_a_path_of_nothing_is_refused() -> None:
    """`--out "$OUT"` without OUT would write into the directory that the command runs in."""
    done = grpo("eval", "r1-zero-tiny", "--out", "")
    assert done.returncode == 1
    assert "run_dir = '': expected a file" in done.stderr
