"""The commands of the stages, `grpo rl`, `grpo sft`, …: one builder for all, from what the stage says of itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any  # Any: stages have configs of different classes

import typer
import typer.main
from typer.core import TyperCommand

from grpo.cluster.address import probe_chosen
from grpo.commands.options import (
    Address,
    AllowChange,
    DryRun,
    Env,
    Exclude,
    PyModules,
    Quiet,
    Recipe,
    Set,
    Verbose,
    WorkingDir,
    set_verbosity,
)
from grpo.common import stopping
from grpo.common.errors import ConfigError
from grpo.common.runtime_env import hand_over, runtime_env
from grpo.common.shadows import first_on_the_path_of_workers, refuse_shadows_in
from grpo.stages.registry import STAGES
from grpo.stages.stage import Option, Stage
from grpo.tracking.changes import allow_changes

PANEL = "One stage"


def stage_names() -> list[str]:
    """Return the names of all stages, in the order in which the help lists them."""
    return list(STAGES)


def stage_command(name: str) -> TyperCommand:
    """Return the command of a stage. One that cannot be loaded has a command too, which reports why.

    Raises:
        KeyError: there is no such stage.
    """
    try:
        stage = STAGES[name]
    except ConfigError as error:
        return _build(name, _refuse(error), help_=f"Cannot be loaded: {error}", example="")
    return _build(name, _runner(stage), help_=stage.help, example=f"Example: `{stage.example}`")


def _build(name: str, callback: Callable[..., None], help_: str, example: str) -> TyperCommand:
    alone = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
    alone.command(name=name, help=help_, epilog=example, rich_help_panel=PANEL)(callback)
    command = typer.main.get_command(alone)
    assert isinstance(command, TyperCommand)
    return command


def _refuse(error: ConfigError) -> Callable[[], None]:
    def refuse() -> None:
        raise error

    return refuse


def _runner(stage: Stage[Any]) -> Callable[..., None]:
    """Return the function that typer reads the command line for: its signature is the stage's options."""
    options = {_parameter(option): option for option in stage.options}

    def command(
        recipe: str,
        set_: list[str] | None,
        address: str | None = None,
        env: list[str] | None = None,
        working_dir: Path | None = None,
        py_modules: list[Path] | None = None,
        exclude: list[str] | None = None,
        allow_change: bool = False,
        dry_run: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        **values: str | int | float | None,
    ) -> None:
        stopping.listen()
        set_verbosity(quiet=quiet, verbose=verbose)
        if stage.takes_address:
            refuse_shadows_in(first_on_the_path_of_workers())
        named = [options[name].override(value) for name, value in values.items() if value is not None]
        config = stage.load(recipe, [*(set_ or []), *named])
        hand_over(runtime_env(env or [], working_dir, py_modules or [], exclude or []))
        if dry_run:
            stage.preview(config)
            return
        if stage.takes_address:
            probe_chosen(address)
        with allow_changes(allow_change):
            stage.run(config, address)

    command.__signature__ = inspect.Signature(list(_parameters(stage, options)))  # type: ignore[attr-defined]
    return command


def _parameters(stage: Stage[Any], options: dict[str, Option]) -> Iterator[inspect.Parameter]:
    def parameter(name: str, annotation: object, default: object = None) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    yield parameter("recipe", Recipe, inspect.Parameter.empty)
    yield parameter("set_", Set)
    for name, option in options.items():
        # As text: an empty path, of a shell variable that is not set, would be "." as a Path.
        is_path = option.kind is Path
        kind: Any = (str if is_path else option.kind) | None
        metavar = "PATH" if is_path else None
        yield parameter(name, Annotated[kind, typer.Option(option.flag, help=option.help, metavar=metavar)])
    if stage.takes_address:
        yield parameter("address", Address)
        yield parameter("env", Env)
        yield parameter("working_dir", WorkingDir)
        yield parameter("py_modules", PyModules)
        yield parameter("exclude", Exclude)
    if stage.output_key == "run_dir":
        yield parameter("allow_change", AllowChange, False)
    yield parameter("dry_run", DryRun, False)
    yield parameter("quiet", Quiet, False)
    yield parameter("verbose", Verbose, False)


def _parameter(option: Option) -> str:
    """Return the name of an option's parameter: "--max-samples" → "max_samples"."""
    return option.flag.lstrip("-").replace("-", "_")
