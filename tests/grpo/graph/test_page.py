"""The picture, the tables and the page of a graph."""

from __future__ import annotations

import io
import json
import re
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from grpo.graph.drawing import GAP_X, HEIGHT, LANE, WIDTH, draw, layout
from grpo.graph.page import write_page
from grpo.graph.parse import load_graph
from grpo.graph.run import leave
from grpo.graph.runner import Progress, View, run_nodes
from grpo.graph.screen import GraphScreen
from grpo.graph.tables import cell, head, rows, shown_columns
from grpo.stages.registry import STAGES
from tests.grpo.graph.graph_world import MIX, Launcher, Silent, recipe


@st.composite
def parents(draw: st.DrawFn) -> dict[str, list[str]]:
    count = draw(st.integers(1, 12))
    return {
        f"n{i}": draw(st.lists(st.sampled_from([f"n{j}" for j in range(i)]), unique=True, max_size=4))
        if i
        else []
        for i in range(count)
    }


@given(parents())
@settings(max_examples=60, deadline=None)
def test_boxes_do_not_touch_and_lines_pass_them_by(graph: dict[str, list[str]]) -> None:
    plan = layout(graph)
    assert set(plan.boxes) == set(graph)
    for (_, (ax, ay)), (_, (bx, by)) in combinations(plan.boxes.items(), 2):
        assert ay != by or abs(ax - bx) >= WIDTH + GAP_X - 1e-6
    for x, y in plan.boxes.values():
        assert -1e-6 <= x <= plan.width - WIDTH + 1e-6
        assert 0 <= y <= plan.height - HEIGHT
    assert set(plan.edges) == {(p, name) for name, on in graph.items() for p in on}
    for (parent, child), points in plan.edges.items():
        (px, py), (cx, cy) = plan.boxes[parent], plan.boxes[child]
        assert cy > py, "below what it needs"
        assert points[0] == pytest.approx((px + WIDTH / 2, py + HEIGHT))
        assert points[-1] == pytest.approx((cx + WIDTH / 2, cy))
        for (x0, y0), (x1, y1) in pairwise(points):
            if y1 - y0 == HEIGHT:  # it passes a row
                assert x0 == x1
                passed = [x for x, y in plan.boxes.values() if y == y0]
                assert all(
                    x0 + LANE / 2 <= x - GAP_X + 1e-6 or x0 - LANE / 2 >= x + WIDTH + GAP_X - 1e-6
                    for x in passed
                )


def test_a_chain_is_drawn_straight() -> None:
    plan = layout({"a": [], "b": ["a"], "c": ["b"]})
    assert len({x for x, _ in plan.boxes.values()}) == 1


def test_names_in_the_picture_are_text() -> None:
    picture = draw({"a": []}, {"a": ("done", "<b>&", "x")})
    assert "<b>" not in picture
    assert "&lt;b&gt;&amp;" in picture


FIGURES = {
    "pass1": 0.61, "ci_low": 0.55, "ci_high": 0.67, "consk": 0.7, "passk": 0.9, "format": 1.0, "length": 21.25, "k": 8,
    "n_problems": 40, "components": {"language_consistency": 0.8}, "by_kind": {"general": {"judge": 0.4}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, "mix", MIX)


class Measures(Launcher):
    """Writes an evaluation's summary."""

    def __call__(self, node: Any, log: Path, on_tick: Any) -> Any:
        ended = super().__call__(node, log, on_tick)
        (node.folder / "summary.json").write_text(json.dumps(FIGURES | {"pass1": node.config.score}))
        return ended


def graph_of(tmp_path: Path) -> tuple[Any, Progress]:
    more = """
[graph.columns]
general = "by_kind.general.judge"
[stages.a.row]
table = "stages"
name = "R1-Zero"
[stages.b.row]
table = "stages"
name = "</script> Dev1"
"""
    file = tmp_path / "g.toml"
    file.write_text(recipe(tmp_path / "run", {"a": (1, 100, []), "b": (2, 100, ["a"])}, more))
    graph = load_graph(str(file), ["a.score=0.25", "b.score=0.75"])
    progress = Progress({name: View() for name in graph.nodes})
    run_nodes(graph, progress, Measures(), Silent())
    return graph, progress


def test_rows_of_the_tables(tmp_path: Path) -> None:
    graph, progress = graph_of(tmp_path)
    found = rows(graph, progress)
    assert found["students"] == []
    first = found["stages"][0]
    assert first == {
        "stage": "R1-Zero", "pass1": 0.25, "ci_low": 0.55, "ci_high": 0.67, "consk": 0.7, "passk": 0.9, "format": 1.0,
        "language": 0.8, "length": 21.25, "k": 8, "problems": 40, "general": 0.4,
    }  # fmt: skip
    names = shown_columns(found["stages"])
    assert names == ["pass1", "consk", "passk", "format", "language", "length", "general"]
    assert [head(n, found["stages"]) for n in names[:3]] == ["pass@1", "cons@8", "pass@8"]
    assert cell(first, "pass1") == "0.250 ±0.060"
    assert cell(first, "length") == "21.2"
    assert cell({}, "general") == "–"


def test_evaluations_of_a_name_share_a_row_and_unfinished_ones_have_none(tmp_path: Path) -> None:
    graph, progress = graph_of(tmp_path)
    from grpo.graph.config import Row

    object.__setattr__(graph.nodes["b"].settings, "row", Row(table="stages", name="R1-Zero", prefix="AIME"))
    (row,) = rows(graph, progress)["stages"]
    assert (row["pass1"], row["AIME.pass1"]) == (0.25, 0.75)
    assert head("AIME.pass1", [row]) == "AIME pass@1"
    assert head("AIME.consk", [row]) == "AIME cons@8"
    progress.views["b"] = View("held")
    assert "AIME.pass1" not in rows(graph, progress)["stages"][0]


def test_page_is_one_file_that_loads_nothing_and_runs_no_model_text(tmp_path: Path) -> None:
    graph, progress = graph_of(tmp_path)
    page = write_page(graph, progress, tmp_path / "report.html").read_text("utf-8")
    assert not re.search(
        r"""(?:src|href)\s*=|@import|url\(|fetch\(|https?://(?!www\.w3\.org/2000/svg)""", page
    )
    assert page.count("</script>") == 2
    assert "innerHTML" not in page
    assert "0.250 ±0.060" in page
    assert "&lt;/script&gt; Dev1" in page
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    stages = json.loads(embedded[1])["stages"]
    assert [s["name"] for s in stages] == ["a", "b"]
    assert "needs a" in stages[1]["about"]


def test_summary_and_page_are_written_when_there_is_news_only(tmp_path: Path) -> None:
    graph, progress = graph_of(tmp_path)
    found, page = leave(graph, progress)
    assert found["finished"]
    assert found["nodes"]["a"]["artefacts"].keys() == {"out", "summary"}
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == found
    before = page.stat().st_mtime_ns
    progress.views["a"] = View("kept", progress.views["a"].seconds, progress.views["a"].figure, 1.0)
    leave(graph, progress)
    assert page.stat().st_mtime_ns == before
    progress.views["b"] = View("held")
    assert not leave(graph, progress)[0]["finished"]
    assert page.stat().st_mtime_ns > before


def test_a_small_terminal_shows_the_stage_at_work(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    names = [f"s{i}" for i in range(20)]
    file.write_text(recipe(tmp_path / "run", {n: (1, 100, []) for n in names}))
    out = io.StringIO()
    screen = GraphScreen(load_graph(str(file)), Console(file=out, width=60, height=10, force_terminal=True))
    assert screen.window() == names[:8]
    for name in names[:12]:
        screen.show(name, View("kept", 3661.0))
    screen.show("s12", View("running", 2.0, "step 3"))
    assert screen.window() == names[8:16]
    with screen.open():
        for name in names[12:]:
            screen.show(
                name, View("done", 61.0, "a figure that is much too long for the width of this terminal")
            )
        assert screen.window() == names[12:]
    lines = out.getvalue().splitlines()
    last = [line for line in lines if "s19" in line][-1]
    assert "done" in last
    assert "1:01" in last
    assert any("s0 " in line and "1:01:01" in line for line in lines[-21:]), "in the end all of them"
