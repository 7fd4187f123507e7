"""Run a graph: each stage once, in order, unless its outputs are up to date.

    for each stage, parents first:
        key = hash(config, artefacts it reads)          grpo/graph/keys.py
        done with this key, outputs intact              → kept
        begun with this key, or to be made longer       → goes on in its folder   grpo/graph/continuing.py
        anything else                                   → folder set aside, run from the start
        gate shut                                       → what needs it is held

A stage whose artefact has the same content as before does not make its readers run again. All state is on disk: a kill
between any two lines costs no more than what the stage itself redoes when it resumes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from grpo.common.errors import ConfigError, RunError
from grpo.common.key_hints import did_you_mean
from grpo.graph.continuing import goes_on
from grpo.graph.figures import key_figure, read_figures, why_held
from grpo.graph.keys import missing_inputs, node_key
from grpo.graph.launch import Ended, tail
from grpo.graph.parse import Graph, Node
from grpo.graph.state import (
    Artefact,
    NodeState,
    current_artefact,
    read_state,
    set_aside,
    take_artefacts,
    write_state,
)
from grpo.tracking.run_dir import exclusive_lock

Status = Literal["waiting", "running", "done", "kept", "held", "failed", "left out"]
Launch = Callable[[Node, Path, Callable[[str], None]], Ended]
"""(node, log, on_tick) → how it ended."""


@dataclass(frozen=True)
class View:
    """The state of a stage as the screen shows it."""

    status: Status = "waiting"
    seconds: float = 0.0
    figure: str = ""
    peak_mib: float | None = None


class Screen(Protocol):
    """Shows the state of the stages."""

    def show(self, name: str, view: View) -> None:
        """Show a stage whose view has changed."""


@dataclass
class Progress:
    """How far a run of the graph has come."""

    views: dict[str, View] = field(default_factory=dict)
    hashes: dict[tuple[str, str], str] = field(default_factory=dict)
    """(stage, output) → hash, of stages that are done."""
    held: dict[str, str] = field(default_factory=dict)
    """Stage whose gate is shut → why."""

    def is_open(self, name: str) -> bool:
        """Return True if the stages that need this one may run."""
        return self.views[name].status in ("done", "kept") and name not in self.held


def run_nodes(
    graph: Graph,
    progress: Progress,
    launch: Launch,
    screen: Screen,
    until: str | None = None,
    from_: str | None = None,
    allow_change: bool = False,
) -> None:
    """Bring every chosen stage up to date.

    Args:
        graph: what to run.
        progress: receives the state of each stage, also in a run that raises.
        launch: runs one stage.
        screen: shows each change.
        until: run only this stage and what it needs.
        from_: run this stage and all that need it again, up to date or not.
        allow_change: a stage whose identity keys have changed goes on in its folder, if it has not ended.

    Raises:
        ConfigError: no such stage.
        BrokenRun: the graph has not made a folder, or another graph is running here.
        RunError: a stage failed.
    """
    for name in (until, from_):
        if name is not None and name not in graph.nodes:
            hint = did_you_mean(name, list(graph.nodes)) or f"; there are {', '.join(graph.nodes)}"
            raise ConfigError(f"no stage {name!r} in {graph.name}{hint}")
    chosen = graph.ancestors(until) if until else set(graph.nodes)
    redo = graph.descendants(from_) & chosen if from_ else set()
    if from_ and not redo:
        raise ConfigError(f"--until {until} does not need --from {from_}; nothing would run")
    missing = [error for name in graph.nodes if name in chosen for error in missing_inputs(graph.nodes[name])]
    if missing:  # now, not at the stage's turn hours later, when its folder has been set aside
        raise ConfigError("\n".join(missing))
    busy = "another graph is running here; stop it or choose another (--set graph.run_dir=…)"
    with exclusive_lock(graph.run_dir, busy):
        for name in chosen:
            read_state(
                graph.nodes[name].folder
            )  # refuses folders of other programs before the first stage runs
        for name in redo:
            set_aside(graph.nodes[name].folder)
        for node in graph.nodes.values():
            if node.name not in chosen:
                view = _left_out(node, progress)
            elif not all(progress.is_open(p) for p in node.parents):
                view = View("held")
            else:
                view = _bring_up_to_date(node, progress, launch, screen, allow_change)
            progress.views[node.name] = view
            screen.show(node.name, view)
            if node.settings.gate is not None and view.status in ("done", "kept"):
                reason = why_held(node, node.settings.gate, read_figures(node))
                if reason is not None:
                    progress.held[node.name] = reason


def _left_out(node: Node, progress: Progress) -> View:
    """Return the view of a stage that does not run: "kept" if it is up to date, else "left out"."""
    if all((r.stage, r.output) in progress.hashes for r in node.needs):
        state = read_state(node.folder)
        kept = kept_artefacts(node, state, node_key(node, progress.hashes))
        if state is not None and kept is not None:
            return _finished(node, state, "kept", progress)
    return View("left out")


def _bring_up_to_date(
    node: Node, progress: Progress, launch: Launch, screen: Screen, allow_change: bool
) -> View:
    """Keep a stage, resume it or run it from the start; its hashes go into `progress`."""
    key = node_key(node, progress.hashes)
    state = read_state(node.folder)
    kept = kept_artefacts(node, state, key)
    if state is not None and kept is not None:
        if kept != state.outputs:  # touched or copied: the same content under other times
            write_state(node.folder, replace(state, outputs=kept))
    else:
        if state is not None and not goes_on(node, state, progress.hashes, allow_change):
            set_aside(node.folder)
            state = None
        state = _run(node, key, state, progress, launch, screen)
    return _finished(node, state, "kept" if kept is not None else "done", progress)


def _finished(node: Node, state: NodeState, status: Status, progress: Progress) -> View:
    progress.hashes |= {(node.name, name): h for name, h in state.hashes().items()}
    return View(status, state.seconds, key_figure(node, read_figures(node)), state.peak_mib)


def kept_artefacts(node: Node, state: NodeState | None, key: str) -> dict[str, Artefact] | None:
    """Return the artefacts of a stage that is done with this key and whose outputs are unchanged; else None."""
    if state is None or state.state != "done" or state.key != key:
        return None
    if state.outputs.keys() != node.stage.outputs.keys():
        return None
    found = {name: current_artefact(node.output(name), known) for name, known in state.outputs.items()}
    whole = {name: artefact for name, artefact in found.items() if artefact is not None}
    return whole if len(whole) == len(found) else None


def _run(
    node: Node, key: str, begun: NodeState | None, progress: Progress, launch: Launch, screen: Screen
) -> NodeState:
    """Run a stage to its end, from where an earlier call stopped."""
    before, peak = (begun.seconds, begun.peak_mib) if begun else (0.0, None)
    state = NodeState(key, "begun", node.config.model_dump(mode="json"), {}, before, peak)
    write_state(node.folder, state)
    started = time.monotonic()

    def view(status: Status, line: str) -> View:
        return View(status, before + time.monotonic() - started, line, peak)

    log = log_file(node)
    earlier = log.stat().st_size if log.exists() else 0
    screen.show(node.name, view("running", ""))
    try:
        ended = launch(node, log, lambda line: screen.show(node.name, view("running", line)))
    finally:
        state = replace(state, seconds=round(before + time.monotonic() - started, 3))
        write_state(node.folder, state)
    peaks = [p for p in (peak, ended.peak_mib) if p is not None]
    state = replace(state, peak_mib=round(max(peaks), 1) if peaks else None)
    if ended.code:
        progress.views[node.name] = view("failed", f"exit code {ended.code}")
        screen.show(node.name, progress.views[node.name])
        raise RunError(
            f"stage {node.name} (grpo {node.command}) failed with exit code {ended.code}; {log} ends:\n"
            f"{tail(log, earlier)}\nFix it and run the same command again: it goes on from here"
        )
    state = replace(state, state="done", outputs=take_artefacts(node))
    write_state(node.folder, state)
    return state


def log_file(node: Node) -> Path:
    """Return the log of a stage; it is beside the folders, so that it outlives a folder that is set aside."""
    return node.folder.parent / "logs" / f"{node.name}.log"
