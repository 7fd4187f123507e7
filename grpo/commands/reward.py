"""`grpo reward`: rewards without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

reward_app = typer.Typer(no_args_is_help=True, help="Rewards: list them, score a file with one.")


@reward_app.command(
    "score", epilog="Example: `grpo reward score accuracy --data cases.jsonl --out scores.jsonl`"
)
def reward_score(
    name: Annotated[
        str, typer.Argument(help="Built-in, entry point, `package.module:function` or `path.py:function`.")
    ],
    data: Annotated[
        Path, typer.Option(help="JSONL with `completion`, optionally `prompt`, `answer` and more columns.")
    ],
    out: Annotated[
        Path, typer.Option(help="JSONL with `score`, `verdict`, `reason`, `seconds`, in the same order.")
    ],
    param: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Parameter of the reward. Repeatable.")
    ] = None,
) -> None:
    """Score the rows of a file with one reward. A bad row gets its own verdict; the others are scored."""
    from grpo.config_io import parse_override
    from rewards.score_file import score_file

    params = {".".join(key): value for key, value in map(parse_override, param or [])}
    done = score_file(name, data, out, params)
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in done.verdicts.items() if count)
    mean = "-" if done.mean is None else f"{done.mean:.4f}"
    typer.echo(f"{done.rows:,} rows ({verdicts or 'none'}), mean score {mean}, {done.seconds:.1f} s: {out}")


@reward_app.command("list")
def reward_list() -> None:
    """Built-in rewards and installed plug-ins."""
    from rewards.registry import BUILTINS, entry_points

    for name, builtin in BUILTINS.items():
        typer.echo(f"{name:22} {builtin.summary}")
    for name, point in sorted(entry_points().items()):
        typer.echo(f"{name:22} plug-in {point.value}")
