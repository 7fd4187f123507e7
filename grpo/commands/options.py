"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[str, typer.Argument(help="TOML file or shipped recipe name (`grpo recipes` lists them).")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a config key, e.g. `--set optimizer.lr=1e-6`. Repeatable.",
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
