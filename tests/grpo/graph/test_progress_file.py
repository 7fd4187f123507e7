"""graph.json: what `grpo view` shows of a graph, written as stages change and not oftener."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grpo.graph.progress_file import ProgressFile
from grpo.graph.runner import Progress, View
from grpo.view.folders import find_folders
from grpo.view.stage_graph import stage_graph
from tests.grpo.view.world import make_run


@dataclass
class Shown:
    """A screen that remembers."""

    views: list[tuple[str, View]] = field(default_factory=list)

    def show(self, name: str, view: View) -> None:
        self.views.append((name, view))


def graph(run_dir: Path) -> Any:
    """A graph of two stages, as far as the file reads it."""
    base = SimpleNamespace(name="base", command="pretrain", parents=(), folder=run_dir / "base")
    zero = SimpleNamespace(name="zero", command="rl", parents=("base",), folder=run_dir / "zero")
    return SimpleNamespace(name="tiny", seed=3, run_dir=run_dir, nodes={"base": base, "zero": zero})


@pytest.fixture
def progress() -> Progress:
    return Progress({"base": View(), "zero": View()})


def test_each_change_of_a_status_is_written_and_every_view_is_shown(
    tmp_path: Path, progress: Progress
) -> None:
    screen = Shown()
    file = ProgressFile(graph(tmp_path), progress, screen)
    assert not (tmp_path / "graph.json").exists()
    file.show("base", View("running"))
    written = (tmp_path / "graph.json").stat().st_mtime_ns
    file.show("base", View("running", 5.0, "a line"))
    assert (tmp_path / "graph.json").stat().st_mtime_ns == written
    file.show("base", View("done", 9.0, "loss 0.5", 100.0))
    progress.held["base"] = "loss 0.5 is above 0.4"
    file.write()
    assert [view.status for _, view in screen.views] == ["running", "running", "done"]
    content = json.loads((tmp_path / "graph.json").read_text())
    assert (content["name"], content["seed"]) == ("tiny", 3)
    base, zero = content["stages"]
    assert (base["status"], base["seconds"], base["figure"], base["peak_mib"]) == (
        "done",
        9.0,
        "loss 0.5",
        100.0,
    )
    assert base["held"] == "loss 0.5 is above 0.4"
    assert (zero["status"], zero["parents"], zero["command"]) == ("waiting", ["base"], "rl")


def test_the_page_places_the_stages_and_finds_their_runs(tmp_path: Path, progress: Progress) -> None:
    make_run(tmp_path / "zero", 1)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "zero.log").write_text("first\nlast\n")
    file = ProgressFile(graph(tmp_path), progress, Shown())
    file.show("zero", View("running"))
    folders = find_folders([tmp_path])
    assert [(f.kind, f.graph) for f in folders] == [("graph", None), ("run", folders[0].id)]
    plan = stage_graph(folders[0], folders)
    base, zero = plan["stages"]
    assert zero["y"] > base["y"]
    assert (base["run"], base["log"]) == (None, "")
    assert zero["run"] == folders[1].id
    assert zero["log"].splitlines()[-1] == "last"
    ((start, *_, end),) = plan["edges"]
    assert start[1] == base["y"] + plan["box"][1]
    assert end[1] == zero["y"]


def test_a_graph_file_that_is_damaged_is_an_empty_graph(tmp_path: Path) -> None:
    (tmp_path / "graph.json").write_text(
        '{"stages": [3, {"name": "a", "parents": ["gone"], "status": "done", "comm'
    )
    (folder,) = find_folders([tmp_path])
    assert stage_graph(folder, [folder])["stages"] == []
