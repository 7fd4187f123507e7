"""A stage that mixes numbers, in place of stages that train: what graph tests run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from grpo.graph.launch import Ended
from grpo.graph.parse import Node
from grpo.graph.runner import View
from grpo.stages.stage import Stage
from policies.settings import Identity, Length, Operational, Settings


class MixConfig(Settings):
    stage: Identity[Literal["mix"]] = "mix"
    seed: Identity[int] = 0
    run_dir: Operational[Path]
    inputs: Identity[tuple[str, ...]] = ()
    value: Identity[int] = 0
    modulus: Identity[int] = 100
    """A change of `value` that is 0 modulo this does not change the output."""
    file: Identity[str | None] = None
    score: Identity[float] = 0.5
    steps: Length[int | None] = 4


def never(config: MixConfig, address: str | None) -> dict[str, float]:
    raise AssertionError("a launcher takes its place")


MIX = Stage(
    name="mix",
    help="Mix numbers.",
    example="grpo mix mix.toml",
    config=MixConfig,
    run=never,
    outputs={"out": "out.txt", "summary": "summary.json"},
    key_figure=lambda figures: f"score {figures.get('score')}",
    inputs=("file", "inputs.*"),
    main_output="out",
    is_evaluation=True,
)


def mixed(value: int, modulus: int, inputs: list[str]) -> str:
    """What a stage makes."""
    return hashlib.sha256(repr((value % modulus, inputs)).encode()).hexdigest()


def recipe(run_dir: Path, nodes: Mapping[str, tuple[int, int, list[str]]], more: str = "") -> str:
    """TOML of a graph of (value, modulus, parents) by name."""
    text = f'[graph]\nrun_dir = "{run_dir}"\n'
    for name, (value, modulus, parents) in nodes.items():
        inputs = ", ".join(f'"{{{p}.out}}"' for p in parents)
        text += f'[stages.{name}]\ncommand = "mix"\n'
        text += f"set = {{ value = {value}, modulus = {modulus}, inputs = [{inputs}] }}\n"
    return text + more


class Launcher:
    """Runs mix stages in this process and notes which ones."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.before: Callable[[], None] = lambda: None

    def __call__(self, node: Node, log: Path, on_tick: Callable[[str], None]) -> Ended:
        config = node.config
        assert isinstance(config, MixConfig)
        self.ran.append(node.name)
        self.before()
        half = node.folder / "half"
        half.write_text("begun")
        self.before()
        inputs = [Path(p).read_text() for p in config.inputs]
        (node.folder / "out.txt").write_text(
            mixed(config.value, config.modulus, inputs if config.steps == 4 else [*inputs, str(config.steps)])
        )
        self.before()
        (node.folder / "summary.json").write_text(f'{{"score": {config.score}, "minutes": {len(self.ran)}}}')
        self.before()
        on_tick("mixing")
        return Ended(0, 1.0)


class Silent:
    """A screen that keeps the last view of each stage."""

    def __init__(self) -> None:
        self.views: dict[str, View] = {}

    def show(self, name: str, view: View) -> None:
        self.views[name] = view
