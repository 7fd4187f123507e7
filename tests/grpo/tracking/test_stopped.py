"""Why a run ended early: stopped.json, the banner of its report, and what must never be hidden by them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grpo.common.errors import BrokenRun, ConfigError, GuardTripped
from grpo.tracking import stopped as module
from grpo.tracking.activity import ActivityLog
from grpo.tracking.report.page import collect
from grpo.tracking.report.show import show_stop
from grpo.tracking.run_once import Summary, run_once
from grpo.tracking.stopped import FILE, read_stopped
from policies.settings import Settings


class Config(Settings):
    steps: int = 5


def attempt(run_dir: Path, error: BaseException | None, manifest: bool = True, rows: int = 2) -> None:
    """One call of a run that gets past its inputs (or not), trains `rows` updates and ends with `error`."""

    def work() -> Summary:
        assert not (run_dir / FILE).exists()
        if manifest:
            (run_dir / "manifest.json").write_text("{}")
            lines = [json.dumps({"step": step, "loss": 0.5}) for step in range(1, rows + 1)]
            (run_dir / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
        if error is not None:
            raise error
        return {"steps": rows}

    run_once(Config(), run_dir, work, lambda _: None, on_stop=lambda: show_stop(run_dir))


@pytest.mark.parametrize(
    ("error", "kind", "title"),
    [
        (GuardTripped("all rewards are equal; lower <b>x</b>"), "guard", "stopped by a guard"),
        (RuntimeError("engine lost"), "error", "stopped by an error"),
        (ZeroDivisionError("a bug"), "error", "stopped by an error"),
        (KeyboardInterrupt(), "interrupt", "interrupted"),
        (SystemExit(75), "interrupt", "interrupted"),
    ],
)
def test_a_run_that_stops_says_why_in_file_and_report(
    tmp_path: Path, error: BaseException, kind: str, title: str
) -> None:
    with pytest.raises(type(error)):
        attempt(tmp_path, error)
    found = read_stopped(tmp_path)
    assert found is not None
    said = "Ctrl-C; the same command goes on from the last checkpoint"
    message = said if isinstance(error, KeyboardInterrupt) else str(error)
    assert (found.kind, found.error, found.message, found.step) == (kind, type(error).__name__, message, 2)
    shown = collect(tmp_path)["stopped"]
    assert shown["title"].startswith(f"{title} after update 2")
    assert shown["message"] == message
    assert ("in work" in shown["traceback"]) == (kind == "error")
    page = (tmp_path / "report.html").read_text()
    assert title in page
    assert "<b>x</b>" not in page


def test_a_run_that_goes_on_is_no_longer_stopped(tmp_path: Path) -> None:
    with pytest.raises(GuardTripped):
        attempt(tmp_path, GuardTripped("dead"))
    attempt(tmp_path, None)
    assert read_stopped(tmp_path) is None
    assert collect(tmp_path)["stopped"] is None


def test_inputs_that_fail_leave_no_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        attempt(tmp_path / "run", ValueError("no such file"), manifest=False)
    assert not (tmp_path / "run").exists()


def test_a_run_that_failed_before_its_first_update_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="engine"):
        attempt(tmp_path, OSError("engine did not start"), rows=0)
    assert "engine did not start" in (tmp_path / "report.html").read_text()
    found = read_stopped(tmp_path)
    assert found is not None
    assert found.step == 0


def test_a_report_that_fails_does_not_hide_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "step-000001.parquet").write_bytes(b"no parquet")
    with pytest.raises(GuardTripped, match="dead"):
        attempt(tmp_path, GuardTripped("dead"))
    assert "no report of the stop" in capsys.readouterr().out
    assert read_stopped(tmp_path) is not None


def test_a_damaged_file_names_itself(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"kind": "guard"')
    with pytest.raises(BrokenRun, match=r"stopped\.json is damaged"):
        read_stopped(tmp_path)


def test_a_long_traceback_keeps_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TRACEBACK", 60)
    with pytest.raises(RuntimeError):
        attempt(tmp_path, RuntimeError("the very end"))
    found = read_stopped(tmp_path)
    assert found is not None
    assert len(found.traceback) == 60
    assert found.traceback.endswith("the very end\n")


def test_the_activity_of_every_start_is_appended(tmp_path: Path) -> None:
    clock = iter([100.0004, 101.5, 109.25])
    for part, step in (("rollout", 0), ("", 0)):
        ActivityLog(tmp_path, lambda: next(clock)).begin(part, step)
    ActivityLog(tmp_path, lambda: next(clock)).begin("learn", 1)
    lines = [json.loads(line) for line in (tmp_path / "activity.jsonl").read_text().splitlines()]
    assert [tuple(line.values()) for line in lines] == [
        (100.0, 0, "rollout"),
        (101.5, 0, ""),
        (109.25, 1, "learn"),
    ]


@pytest.mark.parametrize("first", [None, GuardTripped("entropy fell")])
def test_a_call_that_is_refused_changes_nothing_of_what_is_recorded(
    tmp_path: Path, first: BaseException | None
) -> None:
    """A run that is done, or that a guard stopped, is called with fewer steps than it has."""
    if first is None:
        attempt(tmp_path, None)
        (tmp_path / "summary.json").unlink()  # as for a run that is to be extended
    else:
        with pytest.raises(GuardTripped):
            attempt(tmp_path, first)
    before = read_stopped(tmp_path)
    with pytest.raises(ConfigError):
        attempt(tmp_path, ConfigError("steps now asks for 1"))
    assert read_stopped(tmp_path) == before
    assert (before is None) == (first is None)
