"""Commands about recipes beside each other."""

from __future__ import annotations

from typing import Annotated

import typer

config_app = typer.Typer(help="Recipes beside each other.", no_args_is_help=True)


@config_app.callback()
def _group() -> None:
    """Keep `diff` a command of its own: typer would make the only one the group itself."""


@config_app.command(epilog="Example: `grpo config diff r1-tiny r1`")
def diff(
    first: Annotated[str, typer.Argument(help="A recipe: TOML file, shipped name, or folder of a run.")],
    second: Annotated[str, typer.Argument(help="The recipe to compare it with.")],
) -> None:
    """The keys in which two recipes differ, with bases, overrides and defaults filled in."""
    from grpo.common.console import console
    from grpo.tools.recipe_diff import compare, tables

    found = tables(compare(first, second))
    for table in found:
        console.print(table)
    if not found:
        typer.echo("no key differs")
