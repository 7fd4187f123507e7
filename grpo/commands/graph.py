"""`grpo run` and `grpo plan`: a graph of stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grpo.commands.options import (
    Address,
    AllowChange,
    DryRun,
    Env,
    Exclude,
    PyModules,
    Quiet,
    Set,
    Verbose,
    WorkingDir,
    set_verbosity,
)

GraphName = Annotated[str, typer.Argument(help="Graph recipe: TOML file or shipped name, e.g. r1-tiny.")]


def run_graph(
    recipe: GraphName,
    set_: Set = None,
    until: Annotated[str | None, typer.Option(help="Run this stage and what it needs only.")] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Run this stage and all that need it again, whatever is there."),
    ] = None,
    address: Address = None,
    env: Env = None,
    working_dir: WorkingDir = None,
    py_modules: PyModules = None,
    exclude: Exclude = None,
    allow_change: AllowChange = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """All stages of a recipe, e.g. DeepSeek-R1's. Run it again: what is up to date is kept, what was cut goes on."""
    from grpo.common import stopping
    from grpo.common.shadows import first_on_the_path_of_workers, refuse_shadows_in
    from grpo.graph.parse import load_graph

    stopping.listen()
    set_verbosity(quiet=quiet, verbose=verbose)
    refuse_shadows_in(first_on_the_path_of_workers())
    graph = load_graph(recipe, set_ or [])
    from rich.markup import escape

    from grpo.common.console import say
    from grpo.graph.checks import check_inputs
    from grpo.graph.contamination import uncompared

    check_inputs(graph, planned=dry_run)
    for line in uncompared(graph):
        say(f"[yellow]note[/] {escape(line)}")
    if dry_run:
        from grpo.graph.preview import preview
        from grpo.plan.plan import run as show_plan

        preview(graph)
        show_plan(graph, None)
        typer.echo("dry run: nothing was started, nothing was written")
        return
    from grpo.common.runtime_env import hand_over, runtime_env
    from grpo.graph.run import run

    hand_over(runtime_env(env or [], working_dir, py_modules or [], exclude or []))
    from grpo.cluster.address import probe_chosen

    probe_chosen(address)
    run(graph, address, until, from_, allow_change)


def plan(
    recipe: Annotated[str, typer.Argument(help="Recipe of a graph or stage: TOML file or shipped name.")],
    set_: Set = None,
    rates: Annotated[
        Path | None,
        typer.Option(help="Run directory of a graph that this machine has run: its rates are used."),
    ] = None,
) -> None:
    """What a graph or stage will take before it is run: sizes, steps, tokens, memory, GPU-hours or minutes."""
    from grpo.common.config_io import find_recipe, read_toml
    from grpo.graph.parse import load_graph
    from grpo.graph.single import single

    if "stages" in read_toml(*find_recipe(recipe)):
        graph, note = load_graph(recipe, set_ or []), ""
    else:
        graph, note = single(recipe, set_ or [])
    from grpo.plan.plan import run

    run(graph, rates)
    if note:
        typer.echo(note)
