"""The frame of a run: done once, locked, its summary written before the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grpo.common.errors import BrokenRun, ConfigError
from grpo.tracking.run_once import Summary, run_once
from policies.settings import Content, Identity, Settings


class Config(Settings):
    size: Identity[int] = 1
    source: Content[str] = "a.jsonl"


class Work:
    """Counts its calls and looks at what is there when it is called."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.events: list[str] = []

    def work(self) -> Summary:
        self.events.append("work" if (self.run_dir / "config.json").exists() else "too early")
        return {"made": len(self.events)}

    def finish(self, summary: Summary) -> None:
        written = json.loads((self.run_dir / "summary.json").read_text())
        self.events.append("finish" if written == summary else "too early")

    def run(self, size: int = 1) -> Summary:
        return run_once(Config(size=size), self.run_dir, self.work, self.finish)


def test_a_run_is_done_once_and_another_config_is_refused(tmp_path: Path) -> None:
    run = Work(tmp_path / "run")
    assert run.run() == {"made": 1}
    assert run.run() == {"made": 1}
    assert run.events == ["work", "finish"]
    with pytest.raises(ConfigError, match="holds a run with another config"):
        run.run(size=2)
    assert run.events == ["work", "finish"]


def test_a_complete_run_says_that_its_data_now_has_another_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Work(tmp_path)
    run.run()
    (tmp_path / "manifest.json").write_text("{}")
    run.run()
    assert capsys.readouterr().out.rstrip().endswith("is complete; nothing to do")
    run_once(Config(source="[b].jsonl"), tmp_path, run.work, run.finish)
    assert "nothing to do (source: 'a.jsonl' there, '[b].jsonl' now; choose another run_dir" in (
        capsys.readouterr().out.replace("\n", " ")
    )
    assert run.events == ["work", "finish"]


def test_a_run_that_failed_is_taken_up_again(tmp_path: Path) -> None:
    run = Work(tmp_path)

    def fail() -> Summary:
        raise RuntimeError("at work")

    with pytest.raises(RuntimeError, match="at work"):
        run_once(Config(), tmp_path, fail, run.finish)
    assert not (tmp_path / "summary.json").exists()
    assert run.run() == {"made": 1}


def test_the_folder_is_held_while_the_work_lasts(tmp_path: Path) -> None:
    inner = Work(tmp_path)

    def work() -> Summary:
        with pytest.raises(BrokenRun, match="another driver is running here"):
            inner.run()
        return {"made": 5}

    def finish(summary: Summary) -> None:
        with pytest.raises(BrokenRun, match="another driver is running here"):
            inner.run()

    assert run_once(Config(), tmp_path, work, finish) == {"made": 5}
    assert inner.events == []
