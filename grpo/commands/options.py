"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Recipe = Annotated[
    str,
    typer.Argument(
        help="TOML file, shipped recipe name (`grpo recipes` lists them), a run's `config.json`, or a run's folder to "
        "go on with it."
    ),
]
AllowChange = Annotated[
    bool,
    typer.Option(
        "--allow-change",
        help="Go on with a run although keys have changed that decide what it learns; `manifest.json` records them.",
    ),
]
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
