"""A run's log holds what reached the screen: messages, tables, warnings, the error that ended the work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from grpo.common import console
from grpo.common.console import counted, run_log, say, set_quiet, show, starting


def lines(path: Path) -> list[str]:
    """The log without the times."""
    found = path.read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(  |$)", line) for line in found)
    return [line[21:] for line in found]


@pytest.fixture(autouse=True)
def _loud() -> None:
    set_quiet(False)


def test_messages_stand_in_the_log_without_markup_and_colour(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    with run_log(log):
        say("[bold]1/2[/]  reward [green]0.5[/]\nsecond line")
        starting("starting Ray")
        table = Table(title="result")
        table.add_row("pass@1", "[bold]0.25[/]")
        show(table)
    say("after the run")
    text = lines(log)
    assert text[0].startswith("$ ")
    assert text[1:3] == ["1/2  reward 0.5", "second line"]
    assert re.fullmatch(r" +\d+:\d\d  starting Ray", text[3])
    assert any("pass@1" in line and "0.25" in line for line in text[4:])
    assert "after the run" not in log.read_text()


WARNS = """
import logging, sys, warnings
from pathlib import Path
from grpo.common.console import run_log

with run_log(Path(sys.argv[1])):
    print("written ", end="", file=sys.stderr)
    print("in two parts", file=sys.stderr)
    print("10%\\r\\x1b[31m100%\\x1b[0m\\r", file=sys.stderr)
    logging.getLogger("grpo.x").warning("left out 3 bad rows")
    warnings.warn("old key", UserWarning)
"""


def test_warnings_and_log_records_reach_screen_and_log(tmp_path: Path) -> None:
    # In a process of its own: pytest takes warnings and log records before they reach the screen.
    log = tmp_path / "run.log"
    done = subprocess.run(
        [sys.executable, "-c", WARNS, str(log)], capture_output=True, text=True, timeout=60, check=True
    )
    for expected in ("written in two parts", "left out 3 bad rows", "UserWarning: old key"):
        assert expected in done.stderr
        assert any(expected in line for line in lines(log))
    assert "100%" in lines(log)
    assert "10%\r" not in log.read_text(encoding="utf-8")
    assert "\x1b" not in log.read_text(encoding="utf-8")


def test_stderr_is_its_own_again_after_the_log(tmp_path: Path) -> None:
    before = sys.stderr
    with run_log(tmp_path / "run.log"):
        assert sys.stderr is not before
    assert sys.stderr is before


def test_the_error_that_ends_the_work_stands_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    with pytest.raises(ValueError, match="bad row"), run_log(log):
        raise ValueError("bad row 7")
    assert "ValueError: bad row 7" in lines(log)
    assert any("test_run_log.py" in line for line in lines(log))


def test_a_second_start_is_appended(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with run_log(tmp_path / "run.log"):
            say(text)
    assert [line for line in lines(tmp_path / "run.log") if not line.startswith("$")] == ["first", "second"]


def test_quiet_silences_the_screen_and_not_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_quiet(True)
    try:
        with run_log(tmp_path / "run.log"):
            say("progress")
            show("table")
            print("warning", file=sys.stderr)
    finally:
        set_quiet(False)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "warning\n")
    assert lines(tmp_path / "run.log")[1:] == ["progress", "table", "warning"]


def test_a_log_inside_another_takes_what_is_said(tmp_path: Path) -> None:
    with run_log(tmp_path / "outer.log"):
        with run_log(tmp_path / "inner.log"):
            say("inside")
        say("outside")
    assert "inside" in lines(tmp_path / "inner.log")
    assert lines(tmp_path / "outer.log")[-1] == "outside"
    assert not console._logs


@pytest.mark.parametrize(("number", "text"), [(1, "1 engine"), (2, "2 engines"), (1200, "1,200 engines")])
def test_counted(number: int, text: str) -> None:
    assert counted(number, "engine") == text
