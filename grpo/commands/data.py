"""`grpo data`: data files of the recipes from public data sets."""

from __future__ import annotations

from typing import Annotated

import typer

from grpo.commands.options import DryRun, Quiet, Set, Verbose, set_verbosity

data_app = typer.Typer(no_args_is_help=True, help="Data files of the recipes, from public data sets.")


@data_app.command(epilog="Example: `grpo data build r1-reasoning --sources mine.toml --set held_out=0.02`")
def build(
    name: Annotated[
        str, typer.Argument(help="A builder: r1-reasoning, cold-start, open, general, non-reasoning, code.")
    ],
    sources: Annotated[
        str | None, typer.Option(help="TOML with [[sources]] and other keys, instead of the builder's own.")
    ] = None,
    set_: Set = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Convert, check, decontaminate and split public data sets into one Parquet file with a manifest."""
    from grpo.tools.build_data import run

    set_verbosity(quiet=quiet, verbose=verbose)
    run(name, sources, set_ or [], dry_run)


@data_app.command("list", epilog="Example: `grpo data list`")
def list_() -> None:
    """List the builders with their public sources, and the formats that sources may have."""
    from grpo.tools.build_data import builders, formats

    for name, what, sources in builders():
        typer.echo(f"{name}\n  {what}\n  sources: {sources}")
    typer.echo("\nformats:")
    for name, kinds, what in formats():
        typer.echo(f"{name:14} {kinds}\n  {' '.join(what.split())}")
