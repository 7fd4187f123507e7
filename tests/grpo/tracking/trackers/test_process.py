"""A run and its trackers: what they get, how they end, and that nothing they do reaches the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from grpo.common.errors import ConfigError, RunError
from grpo.config.rl import RlConfig
from grpo.config.sections import TRACKERS as config_names
from grpo.tracking.metrics import MetricsWriter
from grpo.tracking.trackers.process import tracked
from grpo.tracking.trackers.registry import TENSORBOARD, TRACKERS, check_trackers, is_installed
from policies.settings import Settings

SCRIPTED = "tests.grpo.tracking.trackers.scripted"


class Config(Settings):
    seed: int = 7
    run_dir: str = "x"


def seen(run_dir: Path) -> list[dict[str, Any]]:
    path = run_dir / "seen.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(what: Any, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def write(run_dir: Path, *steps: int, resume_step: int = -1) -> MetricsWriter:
    writer = MetricsWriter(run_dir, resume_step, tensorboard=False)
    for step in steps:
        writer.write(step, {"loss": 1.0 / step, "reward/total": float("nan")})
    return writer


def test_a_tracker_gets_every_row_once_in_order_and_how_the_run_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracked([f"{SCRIPTED}:Seen"], tmp_path, Config(), -1):
        writer = write(tmp_path)
        writer.write_eval({"step": 0, "pass1": 0.25, "components": {"accuracy": 0.5}})
        for step in (1, 2, 3):
            writer.write(step, {"loss": 1.0 / step, "reward/total": float("nan")})
            if step == 2:
                writer.write_eval({"step": 2, "pass1": 0.75, "format": None})
    assert f"starting {SCRIPTED}:Seen" in capsys.readouterr().out, "what a run waits for stands on the screen"
    opened, *rows, closed = seen(tmp_path)
    assert opened == {"open": 1, "seed": 7, "name": tmp_path.name}
    assert closed == {"close": "finished"}
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    joined: dict[int, dict[str, float]] = {}
    for row in rows:
        assert not joined.setdefault(row.pop("step"), {}).keys() & row.keys()
    seen_again = {}
    for row in seen(tmp_path)[1:-1]:
        seen_again.setdefault(row.pop("step"), {}).update(row)
    assert seen_again == {
        0: {"eval/pass@1": 0.25, "eval/reward/accuracy": 0.5},
        1: {"loss": 1.0},
        2: {"loss": 0.5, "eval/pass@1": 0.75},
        3: {"loss": 1.0 / 3},
    }


def test_a_resumed_run_goes_on_in_the_same_one_without_doing_a_step_twice(tmp_path: Path) -> None:

    def fail_after_five() -> None:
        with tracked([f"{SCRIPTED}:Seen"], tmp_path, Config(), -1):
            write(tmp_path, 1, 2, 3, 4, 5)
            wait_for(lambda: len(seen(tmp_path)) == 6)
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        fail_after_five()
    with tracked([f"{SCRIPTED}:Seen"], tmp_path, Config(), 3):
        write(tmp_path, 4, 5, 6, 7, resume_step=3)
    rows = seen(tmp_path)
    assert [row["step"] for row in rows if "step" in row] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["close"] for row in rows if "close" in row] == ["failed", "finished"]
    assert [row["open"] for row in rows if "open" in row] == [1, 2]


def test_a_tracker_that_comes_later_gets_what_was_before_but_not_what_will_be_done_again(
    tmp_path: Path,
) -> None:
    write(tmp_path, 1, 2, 3, 4, 5)
    with tracked([f"{SCRIPTED}:Seen"], tmp_path, Config(), 2):
        wait_for(lambda: len(seen(tmp_path)) == 3)
        writer = MetricsWriter(tmp_path, 2, tensorboard=False)
        writer.write(3, {"loss": 30.0})
    assert [(r["step"], r["loss"]) for r in seen(tmp_path) if "step" in r] == [(1, 1.0), (2, 0.5), (3, 30.0)]


@pytest.mark.parametrize("name", ["Refuses", "NeverOpens"])
def test_a_new_tracker_that_cannot_be_opened_stops_the_run_before_it_begins(
    tmp_path: Path, name: str
) -> None:
    began = False
    with (
        pytest.raises(
            RunError, match=r"cannot be opened: (ValueError: no API key|no answer)[\s\S]*trackers=\[\]"
        ),
        tracked(
            [f"{SCRIPTED}:{name}"], tmp_path, Config(), -1, open_timeout_s=60.0 if name == "Refuses" else 5.0
        ),
    ):
        began = True
    assert not began


def test_one_that_was_open_before_only_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for resume_step in (-1, 1):
        with tracked([f"{SCRIPTED}:OpensOnce"], tmp_path, Config(), resume_step):
            write(tmp_path, resume_step + 2, resume_step=resume_step)
    assert "network is unreachable; the run goes on without it" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Raises", "network is unreachable"),
        ("Dies", "has ended; the run goes on without it"),
        ("Hangs", "did not take what was left in time"),
    ],
)
def test_a_tracker_that_fails_is_warned_about_and_never_reaches_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    with tracked([f"{SCRIPTED}:{name}"], tmp_path, Config(), -1, close_timeout_s=5.0):
        write(tmp_path, *range(1, 500))
    out = " ".join(capsys.readouterr().out.split())
    assert said in out
    assert out.count("the run goes on") <= 1
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 499


def test_what_was_refused_is_sent_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tracked([f"{SCRIPTED}:Stumbles"], tmp_path, Config(), -1):
        write(tmp_path, 1)
        wait_for(lambda: {"step": 1, "loss": 1.0} in seen(tmp_path))
    assert "busy" in capsys.readouterr().out


def test_a_run_that_is_killed_ends_as_killed_and_leaves_no_process(tmp_path: Path) -> None:
    code = (
        "import os, time, pathlib\n"
        "from grpo.tracking.trackers.process import tracked\n"
        "from tests.grpo.tracking.trackers.test_process import Config, write\n"
        f"run_dir = pathlib.Path({str(tmp_path)!r})\n"
        f"with tracked(['{SCRIPTED}:Seen'], run_dir, Config(), -1):\n"
        "    write(run_dir, 1, 2)\n"
        "    print('written', flush=True)\n"
        "    time.sleep(600)\n"
    )
    root = Path(__file__).resolve().parents[4]
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root)
    assert run.stdout is not None
    assert b"written\n" in (run.stdout.readline(), run.stdout.readline())
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    run.stdout.close()
    wait_for(lambda: {"close": "killed"} in seen(tmp_path))
    assert [row["step"] for row in seen(tmp_path) if "step" in row] == [1, 2]


def test_ctrl_c_is_how_the_run_ended(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), tracked([f"{SCRIPTED}:Seen"], tmp_path, Config(), -1):
        raise KeyboardInterrupt
    assert seen(tmp_path)[-1] == {"close": "interrupted"}


def test_without_a_tracker_no_process_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    with tracked(["tensorboard"], tmp_path, Config(), -1):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpo.tracking.trackers.registry.is_installed", lambda library: False)
    with pytest.raises(
        ConfigError, match=r"wandb needs the package wandb.*pip install 'r1-workbench\[wandb\]'"
    ):
        check_trackers(["tensorboard", "wandb"])


def test_a_class_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"'tests\.nowhere:Tracker' cannot be loaded"):
        check_trackers(["tests.nowhere:Tracker"])
    check_trackers([f"{SCRIPTED}:Seen", "tensorboard"])


def test_a_folder_named_like_a_library_is_not_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B leaves a folder `wandb` where it runs."""
    (tmp_path / "folder_of_runs").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not is_installed("folder_of_runs")
    assert is_installed("json")


def test_the_names_of_a_recipe_are_those_that_can_be_started() -> None:
    assert set(config_names) == {TENSORBOARD, *TRACKERS}
    with pytest.raises(ValidationError, match=r"'wanbd' is none of .*did you mean wandb"):
        RlConfig.model_validate({"trackers": ("wanbd",)})
