"""Options that several commands share, and how they become config overrides."""

from __future__ import annotations

import json
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


def overrides(pairs: list[str] | None, **named: str | Path | None) -> list[str]:
    """`--set` pairs, followed by dedicated options under their config keys (these win)."""
    keys = {"model": "policy.model", "run_dir": "run_dir", "out": "out"}
    # JSON's quotes and escapes are TOML's, so that a path with a quote or a backslash stays what it is.
    quoted = {k: json.dumps(str(v), ensure_ascii=False) for k, v in named.items() if v is not None}
    return [*(pairs or []), *(f"{keys[k]}={v}" for k, v in quoted.items())]
