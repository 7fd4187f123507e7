"""ledger.jsonl against a model of it: whatever the attempts do between writes, the file tells their last state."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.common.errors import BrokenRun
from grpo.tracking.ledger_file import FILE, LedgerWriter, read_ledger
from rollout.ledger import Ledger

CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["open", "deliver", "repeat", "settle", "write"]),
        st.integers(0, 5),
        st.sampled_from(["done", "lost", "abandoned"]),
    ),
    max_size=40,
)


def lines(folder: Path) -> list[str]:
    return (folder / FILE).read_text().splitlines()


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in lines(folder)]


@given(CHANGES)
def test_the_reader_gives_the_last_state_of_every_attempt(changes: list[tuple[str, int, str]]) -> None:
    with TemporaryDirectory() as name:
        folder, ledger, step = Path(name), Ledger(), 0
        writer = LedgerWriter(folder, resume_step=-1)
        for what, which, state in changes:
            open_rows = [row for row in ledger.rows() if not row.is_settled]
            if what == "open":
                ledger.open(f"c{which}", worker=0)
            elif what == "write":
                step += 1
                writer.write(step, ledger.rows())
                assert read_ledger(folder / FILE) == ledger.rows()
            elif open_rows:
                row = open_rows[which % len(open_rows)]
                if what == "deliver":
                    row.groups += 1
                elif what == "repeat":
                    row.repeated += 1
                else:
                    row.state = state  # type: ignore[assignment]


def test_a_settled_attempt_is_written_once(tmp_path: Path) -> None:
    ledger = Ledger()
    writer = LedgerWriter(tmp_path, resume_step=-1)
    for step in range(1, 6):
        ledger.open(f"train/{step}", worker=0).state = "done"
        writer.write(step, ledger.rows())
        assert len(lines(tmp_path)) == step
    inode = os.stat(tmp_path / FILE).st_ino
    writer.write(6, ledger.rows())
    assert len(lines(tmp_path)) == 5
    ledger.open("train/6", worker=0)
    writer.write(7, ledger.rows())
    assert os.stat(tmp_path / FILE).st_ino == inode, "the file was replaced, not appended to"
    assert steps(tmp_path) == [1, 2, 3, 4, 5, 7]


def test_a_resumed_run_drops_what_it_does_again_and_keeps_the_rest(tmp_path: Path) -> None:
    """Updates 1 and 2 stand; update 3 and a late change of update 2's attempt fell behind the checkpoint."""
    ledger = Ledger()
    writer = LedgerWriter(tmp_path, resume_step=-1)
    for step in (1, 2):
        ledger.open(f"train/{step}", worker=0)
        writer.write(step, ledger.rows())
    for row in ledger.rows():
        row.state = "done"
    ledger.open("train/3", worker=0)
    writer.write(3, ledger.rows())
    assert [row.state for row in read_ledger(tmp_path / FILE)] == ["done", "done", "running"]

    resumed, again = LedgerWriter(tmp_path, resume_step=2), Ledger()
    assert [(r.chunk, r.state) for r in read_ledger(tmp_path / FILE)] == [
        ("train/1", "running"),
        ("train/2", "running"),
    ]
    again.open("train/3", worker=1).state = "done"
    resumed.write(3, again.rows())
    assert [(r.chunk, r.attempt, r.worker) for r in read_ledger(tmp_path / FILE)] == [
        ("train/1", 1, 0),
        ("train/2", 1, 0),
        ("train/3", 1, 1),
    ]


@pytest.mark.parametrize("kept", range(0, 90, 7))
def test_a_line_cut_by_a_crash_is_no_row_and_does_not_glue_to_the_next(kept: int, tmp_path: Path) -> None:
    ledger = Ledger()
    writer = LedgerWriter(tmp_path, resume_step=-1)
    ledger.open("train/1", worker=0).state = "done"
    writer.write(1, ledger.rows())
    (whole,) = lines(tmp_path)
    assert len(whole) > 90
    with (tmp_path / FILE).open("a") as file:
        file.write(whole.replace("train/1", "train/2")[:kept])
    assert [row.chunk for row in read_ledger(tmp_path / FILE)] == ["train/1"]
    resumed, again = LedgerWriter(tmp_path, resume_step=1), Ledger()
    again.open("train/2", worker=0).state = "done"
    resumed.write(2, again.rows())
    assert [json.loads(line)["chunk"] for line in lines(tmp_path)] == ["train/1", "train/2"]


def test_a_damaged_line_in_the_middle_is_an_error_with_its_place(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"step": 1, "chunk": "a", "attempt": 1}\n{"step"\n{"step": 2}\n')
    with pytest.raises(BrokenRun, match=r"ledger\.jsonl, line 2"):
        read_ledger(tmp_path / FILE)
    (tmp_path / FILE).write_text('{"step": 1, "chunk": "a", "worker": 0, "attempt": 1, "colour": "red"}\n')
    with pytest.raises(BrokenRun, match=r"line 1: not a row of the ledger .*colour"):
        read_ledger(tmp_path / FILE)


def test_every_row_is_on_disk_when_write_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    ledger = Ledger()
    writer = LedgerWriter(tmp_path, resume_step=-1)
    ledger.open("train/1", worker=0)
    writer.write(1, ledger.rows())
    assert synced == [(tmp_path / FILE).stat().st_size]
