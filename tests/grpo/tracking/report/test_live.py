"""The report at every checkpoint: off the training's thread, coalesced, a failure is one warning."""

from __future__ import annotations

from pathlib import Path
from threading import Event, get_ident

import pytest

from grpo.tracking.report.live import LiveReport


class Page:
    """Writes nothing, slowly: each call waits until it may end."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.threads: list[int] = []
        self.begun, self.may_end = Event(), Event()

    def __call__(self, run_dir: Path, out: Path) -> None:
        assert out == run_dir / "report.html"
        self.threads.append(get_ident())
        self.begun.set()
        assert self.may_end.wait(30)
        if self.fails:
            raise ValueError("[disk] full")


def test_training_does_not_wait_and_checkpoints_meanwhile_are_one_more_page(tmp_path: Path) -> None:
    page = Page()
    report = LiveReport(tmp_path, page)
    report.update()
    assert page.begun.wait(30)
    for _ in range(5):
        report.update()  # would wait for ever if it waited
    assert len(page.threads) == 1
    page.begun.clear()
    page.may_end.set()
    assert page.begun.wait(30)
    report.close()
    assert len(page.threads) == 2
    assert get_ident() not in page.threads


def test_after_close_nothing_is_written(tmp_path: Path) -> None:
    page = Page()
    report = LiveReport(tmp_path, page)
    report.update()
    assert page.begun.wait(30)
    report.update()
    page.may_end.set()
    report.close()
    assert len(page.threads) <= 2
    count = len(page.threads)
    report.close()
    assert len(page.threads) == count


@pytest.mark.parametrize("updates", [1, 3])
def test_a_page_that_fails_is_one_warning(tmp_path: Path, updates: int) -> None:
    page, shown = Page(fails=True), []
    page.may_end.set()
    report = LiveReport(tmp_path, page, shown.append)
    for _ in range(updates):
        report.update()
        while report._thread is not None:  # until it has been written
            Event().wait(0.001)
    assert len(page.threads) == updates
    assert len(shown) == 1
    assert "full" in shown[0]
