"""The command `grpo convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    source: Annotated[Path, typer.Argument(help="Model folder, e.g. the released DeepSeek-V3.")],
    out: Annotated[Path, typer.Argument(help="New folder; the same command goes on after an interruption.")],
    to: Annotated[
        str,
        typer.Option(help="`bfloat16`: from FP8 blocks. `fp8`: FP8 blocks of 128x128, as V3 is released."),
    ] = "bfloat16",
) -> None:
    """Turn released FP8 weights into bfloat16 ones, which can be trained, or back; a tensor at a time, verified."""
    if to not in ("bfloat16", "fp8"):
        raise typer.BadParameter("there are bfloat16, fp8", param_hint="--to")
    from policies.convert import convert as run

    done = run(source, out, to="fp8" if to == "fp8" else "bfloat16", report=typer.echo)
    typer.echo(
        f"{done.folder}: {done.tensors:,} tensors in {done.files} file(s), {done.converted:,} converted; "
        f"{done.kept_files} file(s) were there already"
    )
