"""stdout and stderr that take no more: closed pipes, terminals that hung up, encodings without the characters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BODY = """
import logging, os, sys, time
from pathlib import Path
{steady}
from grpo.common.console import console, run_log, say, show
folder = Path({folder!r})
with run_log(folder / "run.log"):
    say("first")
    while not (folder / "gone").exists():
        time.sleep(0.01)
    for number in range(3):
        say(f"line {{number}} → ▸ 模型")
        print(f"print {{number}}", flush=True)
        logging.warning("warning %d", number)
        print(f"error {{number}}", file=sys.stderr, flush=True)
(folder / "done").write_text("trained")
"""


def started(folder: Path, **streams: Any) -> subprocess.Popen[bytes]:
    """Start a "run", which goes on when the file `gone` is there."""
    code = BODY.format(steady="from grpo.common.streams import steady\nsteady()", folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", code], **streams)


def test_a_run_outlives_the_reader_of_its_output(tmp_path: Path) -> None:
    """`grpo rl … 2>&1 | tee log`, and tee ends first, as it does at Ctrl-C."""
    run = started(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert run.stdout is not None
    assert run.stdout.readline() == b"first\n"
    run.stdout.close()
    (tmp_path / "gone").touch()
    assert run.wait(60) == 0
    assert (tmp_path / "done").read_text() == "trained"
    log = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert "line 2 → ▸ 模型" in log
    assert "error 2" in log


def test_a_run_outlives_its_terminal(tmp_path: Path) -> None:
    master, slave = os.openpty()
    run = started(tmp_path, stdout=slave, stderr=slave)
    os.close(slave)
    assert os.read(master, 100).startswith(b"first")
    os.close(master)
    (tmp_path / "gone").touch()
    assert run.wait(60) == 0
    assert (tmp_path / "done").read_text() == "trained"


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "utf-8"])
def test_what_an_encoding_lacks_is_printed_as_escapes(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    run = started(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 0
    line = "line 0 → ▸ 模型"
    assert line.encode(encoding, "backslashreplace") in output
    assert line in (tmp_path / "run.log").read_text(encoding="utf-8")


def test_a_full_disk_under_the_output_is_still_an_error(tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    with open("/dev/full", "wb") as full:
        run = started(tmp_path, stdout=full, stderr=subprocess.PIPE)
        _, error = run.communicate(timeout=60)
    assert run.returncode == 1
    assert b"No space left on device" in error
    assert not (tmp_path / "done").exists()
