"""Caching, cut-off, interruption: random graphs against an oracle that computes every stage's output directly."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import grpo.graph.runner as runner_module
from grpo.common.errors import BrokenRun, ConfigError, RunError
from grpo.graph.launch import Ended
from grpo.graph.parse import Node, load_graph
from grpo.graph.runner import Progress, View, run_nodes
from grpo.stages.registry import STAGES
from tests.grpo.graph.graph_world import MIX, Launcher, Silent, mixed, recipe

Nodes = dict[str, tuple[int, int, list[str]]]


@pytest.fixture(autouse=True)
def _mix() -> Iterator[None]:
    STAGES["mix"] = MIX
    yield
    del STAGES["mix"]


def run(
    root: Path, nodes: Nodes, launcher: Launcher | None = None, more: str = "", **options: Any
) -> Progress:
    """Run the graph in root/run; the stages that ran are in the launcher."""
    file = root / "graph.toml"
    file.write_text(recipe(root / "run", nodes, more))
    graph = load_graph(str(file))
    progress = Progress({name: View() for name in graph.nodes})
    run_nodes(graph, progress, launcher or Launcher(), Silent(), **options)
    return progress


def outputs(nodes: Nodes) -> dict[str, str]:
    """The oracle: what every stage makes."""
    made: dict[str, str] = {}
    while len(made) < len(nodes):
        for name, (value, modulus, parents) in nodes.items():
            if name not in made and all(p in made for p in parents):
                made[name] = mixed(value, modulus, [made[p] for p in parents])
    return made


def on_disk(root: Path, nodes: Nodes) -> dict[str, str]:
    return {name: (root / "run" / name / "out.txt").read_text() for name in nodes}


@st.composite
def graphs(draw: st.DrawFn) -> Nodes:
    """Up to seven stages; parents among those before, written in any order."""
    count = draw(st.integers(1, 7))
    nodes = {}
    for i in range(count):
        parents = draw(st.lists(st.sampled_from([f"n{j}" for j in range(i)]), unique=True)) if i else []
        nodes[f"n{i}"] = (draw(st.integers(0, 9)), draw(st.sampled_from([2, 100])), parents)
    return dict(draw(st.permutations(list(nodes.items()))))


@given(graphs(), st.data())
@settings(max_examples=40, deadline=None)
def test_one_changed_key_reruns_exactly_what_reads_something_new(nodes: Nodes, data: st.DataObject) -> None:
    changed = data.draw(st.sampled_from(sorted(nodes)))
    value, modulus, parents = nodes[changed]
    after = nodes | {changed: (value + data.draw(st.integers(1, 4)), modulus, parents)}
    with tempfile.TemporaryDirectory() as folder:
        root, first, second, third = Path(folder), Launcher(), Launcher(), Launcher()
        run(root, nodes, first)
        assert sorted(first.ran) == sorted(nodes)
        assert on_disk(root, nodes) == outputs(nodes)
        run(root, nodes, third)
        assert third.ran == []
        run(root, after, second)
        old, new = outputs(nodes), outputs(after)
        expected = {
            name for name, (_, _, on) in nodes.items() if name == changed or any(old[p] != new[p] for p in on)
        }
        assert set(second.ran) == expected
        assert len(second.ran) == len(expected)
        assert on_disk(root, nodes) == new


class Killed(BaseException):
    """The process is gone: nothing after this line happens."""


@given(graphs(), st.lists(st.integers(0, 25), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_killed_anywhere_it_ends_as_if_it_had_not_been(nodes: Nodes, deaths: list[int]) -> None:
    """Dies before the n-th change on disk, by a stage or by the graph, several times; then runs to the end."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = Path(folder)
        left = [0]

        def tick() -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        def mortal(name: str) -> None:
            original = getattr(runner_module, name)

            def wrapped(*args: Any) -> Any:
                tick()
                return original(*args)

            patch.setattr(runner_module, name, wrapped)

        mortal("write_state")
        mortal("set_aside")
        # Something else first, so that there is something to set aside.
        left[0] = 10**9
        run(root, {name: (value + 1, modulus, on) for name, (value, modulus, on) in nodes.items()})
        for death in deaths:
            left[0] = death
            launcher = Launcher()
            launcher.before = tick
            try:
                run(root, nodes, launcher)
            except Killed:
                continue
        left[0] = 10**9
        last, again = Launcher(), Launcher()
        disturbed = run(root, nodes, last)
        assert on_disk(root, nodes) == outputs(nodes)
        run(root, nodes, again)
        assert again.ran == []
        shutil.rmtree(root / "run")
        assert run(root, nodes).hashes == disturbed.hashes


CHAIN: Nodes = {"a": (1, 100, []), "b": (2, 100, ["a"]), "c": (3, 100, ["b"]), "d": (4, 100, ["a"])}


def test_until_runs_what_a_stage_needs_and_from_what_needs_it(tmp_path: Path) -> None:
    first, second, third = Launcher(), Launcher(), Launcher()
    views = run(tmp_path, CHAIN, first, until="b").views
    assert first.ran == ["a", "b"]
    assert (views["c"].status, views["d"].status) == ("left out", "left out")
    run(tmp_path, CHAIN, second)
    assert second.ran == ["c", "d"]
    run(tmp_path, CHAIN, third, from_="b")
    assert third.ran == ["b", "c"], "from: also where the artefact comes out as before"
    later = Launcher()
    assert run(tmp_path, CHAIN, later, until="a").views["c"].status == "kept"
    assert later.ran == []
    with pytest.raises(ConfigError, match="no stage 'x'"):
        run(tmp_path, CHAIN, until="x")
    with pytest.raises(ConfigError, match="nothing would run"):
        run(tmp_path, CHAIN, from_="c", until="d")


def test_a_from_that_was_cut_short_goes_on_without_it(tmp_path: Path) -> None:
    run(tmp_path, CHAIN)
    dies = Launcher()

    def die() -> None:
        raise Killed

    dies.before = die
    with pytest.raises(Killed):
        run(tmp_path, CHAIN, dies, from_="b")
    last = Launcher()
    run(tmp_path, CHAIN, last)
    assert last.ran == ["b", "c"]


@pytest.mark.parametrize(("at_least", "ran"), [(0.5, ["a", "b", "c", "d"]), (0.51, ["a", "b", "d"])])
def test_a_gate_holds_what_needs_the_stage_and_nothing_else(
    at_least: float, ran: list[str], tmp_path: Path
) -> None:
    more = f'[stages.b.gate]\nmetric = "score"\nat_least = {at_least}\n'
    launcher = Launcher()
    progress = run(tmp_path, CHAIN, launcher, more)
    assert launcher.ran == ran
    if "c" not in ran:
        assert progress.views["c"].status == "held"
        assert progress.held == {"b": "score = 0.5, wanted at least 0.51"}
        opened = Launcher()
        run(tmp_path, CHAIN, opened, more.replace("0.51", "0.4"))
        assert opened.ran == ["c"], "a gate is no part of what a stage makes"


def test_a_gate_on_no_figure_is_an_error_that_lists_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="numbers there are score"):
        run(tmp_path, CHAIN, more='[stages.a.gate]\nmetric = "pass2"\nat_most = 1\n')


def test_a_failed_stage_stops_the_graph_with_its_last_words(tmp_path: Path) -> None:
    class Fails(Launcher):
        def __call__(self, node: Any, log: Path, on_tick: Any) -> Ended:
            if node.name == "b":
                log.parent.mkdir(exist_ok=True)
                with log.open("a") as file:
                    file.write("loss is not finite\n")
                return Ended(1, None)
            return super().__call__(node, log, on_tick)

    with pytest.raises(RunError, match=r"stage b .*exit code 1(.|\n)*loss is not finite"):
        run(tmp_path, CHAIN, Fails())
    with pytest.raises(RunError) as again:
        run(tmp_path, CHAIN, Fails())
    assert str(again.value).count("loss is not finite") == 1, (
        "what an earlier call said is not this one's error"
    )
    after = Launcher()
    run(tmp_path, CHAIN, after)
    assert after.ran == ["b", "c", "d"]


@pytest.mark.parametrize("harm", ["delete", "change"])
def test_a_harmed_artefact_is_made_anew(harm: str, tmp_path: Path) -> None:
    run(tmp_path, CHAIN)
    out = tmp_path / "run" / "b" / "out.txt"
    out.unlink() if harm == "delete" else out.write_text("something else")
    launcher = Launcher()
    run(tmp_path, CHAIN, launcher)
    assert launcher.ran == ["b"]


def test_a_touched_artefact_is_not(tmp_path: Path) -> None:
    run(tmp_path, CHAIN)
    out = tmp_path / "run" / "b" / "out.txt"
    out.write_text(out.read_text())
    launcher = Launcher()
    run(tmp_path, CHAIN, launcher)
    assert launcher.ran == []


def test_folders_that_the_graph_did_not_make_are_left_alone(tmp_path: Path) -> None:
    own = tmp_path / "run" / "c"
    own.mkdir(parents=True)
    (own / "mine.txt").write_text("mine")
    launcher = Launcher()
    with pytest.raises(BrokenRun, match="not made by this graph"):
        run(tmp_path, CHAIN, launcher)
    assert launcher.ran == []
    assert (own / "mine.txt").read_text() == "mine"


def test_an_unfinished_stage_of_another_run_dir_is_begun_anew(tmp_path: Path) -> None:
    dies = Launcher()

    def die() -> None:
        if dies.ran == ["a", "b"]:
            raise Killed

    dies.before = die
    with pytest.raises(Killed):
        run(tmp_path, CHAIN, dies)
    (tmp_path / "other").mkdir()
    shutil.move(tmp_path / "run", tmp_path / "other" / "run")
    launcher = Launcher()
    run(tmp_path / "other", CHAIN, launcher)
    assert launcher.ran == ["b", "c", "d"]
    assert (tmp_path / "other" / "run" / ".old" / "b").exists()


def test_an_unfinished_stage_whose_inputs_have_changed_is_begun_anew(tmp_path: Path) -> None:
    dies = Launcher()

    def die() -> None:
        if dies.ran == ["a", "b"] and (tmp_path / "run" / "b" / "half").exists():
            raise Killed

    dies.before = die
    with pytest.raises(Killed):
        run(tmp_path, CHAIN, dies)
    run(tmp_path, CHAIN | {"a": (9, 100, [])})
    assert (tmp_path / "run" / ".old" / "b" / "half").exists()


def again(
    tmp_path: Path, *overrides: str, before: Callable[[], None] | None = None, **options: Any
) -> list[str]:
    """Run CHAIN with these overrides; returns the stages that ran, "b+" for one that found its folder as it was."""

    class Looks(Launcher):
        def __call__(self, node: Node, log: Path, on_tick: Callable[[str], None]) -> Ended:
            there = (node.folder / "half").exists()
            self.before = before or (lambda: None)
            ended = super().__call__(node, log, on_tick)
            if there:
                self.ran[-1] += "+"
            return ended

    (tmp_path / "graph.toml").write_text(recipe(tmp_path / "run", CHAIN))
    graph, launcher = load_graph(str(tmp_path / "graph.toml"), list(overrides)), Looks()
    try:
        run_nodes(graph, Progress({n: View() for n in graph.nodes}), launcher, Silent(), **options)
    except Killed:
        launcher.ran.append("killed")
    return launcher.ran


def test_a_stage_whose_length_alone_is_raised_goes_on_in_its_folder(tmp_path: Path) -> None:
    run(tmp_path, CHAIN)
    assert again(tmp_path, "b.steps=5") == ["b+", "c"]
    assert again(tmp_path, "b.steps=5") == []
    assert again(tmp_path, "b.steps=false") == ["b+", "c"], "without a limit"
    assert again(tmp_path, "b.steps=6") == ["b", "c"], "a shorter one is another"
    assert again(tmp_path, "b.steps=7", "b.value=0") == ["b", "c"], "and so is one of other values"
    assert again(tmp_path, "a.value=9", "b.steps=8", "b.value=0") == ["a", "b", "c", "d"], (
        "or of other inputs"
    )


def test_identity_keys_change_in_a_stage_that_has_not_ended_where_it_is_allowed(tmp_path: Path) -> None:
    def die() -> None:
        if (tmp_path / "run/b/half").exists():
            raise Killed

    assert again(tmp_path, before=die) == ["a", "b", "killed"]
    assert again(tmp_path, "b.value=7", allow_change=True) == ["b+", "c", "d"]
    assert again(tmp_path, "b.value=8", allow_change=True) == ["b", "c"], (
        "one that has ended would not be up to date"
    )
    assert again(tmp_path, "b.value=9", "b.steps=5", allow_change=True) == ["b+", "c"]
    shutil.rmtree(tmp_path / "run")
    assert again(tmp_path, before=die) == ["a", "b", "killed"]
    assert again(tmp_path, "b.value=7") == ["b", "c", "d"]


def test_two_graphs_in_one_place_are_refused(tmp_path: Path) -> None:
    class Nested(Launcher):
        def __call__(self, node: Any, log: Path, on_tick: Any) -> Ended:
            with pytest.raises(BrokenRun, match="another graph"):
                run(tmp_path, CHAIN)
            return super().__call__(node, log, on_tick)

    run(tmp_path, CHAIN, Nested())


def test_a_missing_file_stops_the_graph_before_anything_is_run_or_set_aside(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("{}\n")
    text = recipe(tmp_path / "run", CHAIN).replace("{ value = 3", f'{{ file = "{data}", value = 3')
    assert str(data) in text
    file = tmp_path / "graph.toml"
    file.write_text(text)

    def again(until: str | None = None) -> list[str]:
        launcher, graph = Launcher(), load_graph(str(file))
        run_nodes(graph, Progress({n: View() for n in graph.nodes}), launcher, Silent(), until)
        return launcher.ran

    assert again() == ["a", "b", "c", "d"]
    data.unlink()
    with pytest.raises(ConfigError, match=r"stage c: file = .*data.jsonl': no such file"):
        again()
    assert again(until="b") == []
    data.write_text("{}\n")
    assert again() == [], "what was done is still there"


def test_a_figure_that_is_no_number_opens_no_gate(tmp_path: Path) -> None:
    class Diverged(Launcher):
        def __call__(self, node: Node, log: Path, on_tick: Callable[[str], None]) -> Ended:
            ended = super().__call__(node, log, on_tick)
            (node.folder / "summary.json").write_text('{"score": NaN}')
            return ended

    for bound in ("at_least", "at_most"):
        launcher = Diverged()
        progress = run(tmp_path, CHAIN, launcher, f'[stages.a.gate]\nmetric = "score"\n{bound} = 0.1\n')
        assert progress.views["b"].status == "held"
        assert "score = nan" in progress.held["a"]
