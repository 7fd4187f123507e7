"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

AllowChange = Annotated[
    bool,
    typer.Option(
        "--allow-change",
        help="Go on with a run although keys have changed that decide what it learns; `manifest.json` records them.",
    ),
]


def shipped_names(incomplete: str) -> list[str]:
    """Return the shipped recipes that a shell may complete a word to; it adds the files itself."""
    from grpo.common.config_io import shipped_recipes

    return [name for name in shipped_recipes() if name.startswith(incomplete)]


Recipe = Annotated[
    str,
    typer.Argument(
        help="TOML file, shipped recipe name (`grpo recipes` lists them), a run's `config.json`, or a run's folder to "
        "go on with it.",
        autocompletion=shipped_names,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="[STAGE.]KEY=VALUE",
        help="Override a key of a recipe, `optimizer.lr=1e-6`; of a graph's stage, `zero.steps=20`; of the graph, "
        "`graph.seed=2`; for `grpo plan` also `plan.machine.gpus=64` and `plan.tokens=8000`. Repeatable.",
    ),
]
Model = Annotated[str | None, typer.Option(help="Hugging Face id or folder; same as `--set policy.model=…`.")]
Address = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster: `auto`, `host:port`, or `local` for an own one. Default: RAY_ADDRESS, else local."
    ),
]
WORKERS = "What workers on other machines get"
Env = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="NAME[=VALUE]",
        help="Environment variable for the workers; NAME alone takes its value here. Repeatable.",
        rich_help_panel=WORKERS,
    ),
]
WorkingDir = Annotated[
    Path | None,
    typer.Option(
        "--working-dir",
        help="Folder whose files the workers get, e.g. `.` with your rewards; runs, weights and .venv stay here.",
        rich_help_panel=WORKERS,
    ),
]
PyModules = Annotated[
    list[Path] | None,
    typer.Option(
        "--py-modules",
        metavar="PATH",
        help="Folder of a package, or a wheel, that the workers can import. Repeatable.",
        rich_help_panel=WORKERS,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="PATTERN",
        help="Leave these out of both, as in .gitignore. Repeatable.",
        rich_help_panel=WORKERS,
    ),
]

Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Print warnings and errors only; run.log has the rest.")
]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Print what the actors print, and tracebacks of errors, too.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Check everything, print the plan and examples; start nothing, write nothing."
    ),
]


def set_verbosity(*, quiet: bool, verbose: bool) -> None:
    """Apply -q and -v to this process and those that it starts; each of them once given stays.

    Raises:
        typer.BadParameter: both are given.
    """
    if quiet and verbose:
        raise typer.BadParameter("quiet or verbose?", param_hint="-q, -v")
    if quiet:
        from grpo.common.console import set_quiet

        set_quiet(True)
    if verbose:
        os.environ |= {"GRPO_TRACEBACK": "1", "GRPO_ACTOR_LOGS": "1"}
