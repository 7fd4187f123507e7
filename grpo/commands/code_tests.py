"""`grpo tests`: tests for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

tests_app = typer.Typer(no_args_is_help=True, help="Tests that programs are rewarded by.")


@tests_app.callback()
def _group() -> None:
    """Keep `build` a command of its own."""


@tests_app.command("build", epilog="Example: `grpo tests build problems.jsonl --out train.jsonl --mutants 8`")
def build(
    data: Annotated[
        Path, typer.Argument(help="Problems with `tests` (candidates), `correct` and `wrong` programs.")
    ],
    out: Annotated[
        Path, typer.Option(help="JSONL of the rows with the tests kept; counts beside it, in OUT.json.")
    ],
    mutants: Annotated[int, typer.Option(help="Wrong programs to make of each correct one (Python).")] = 0,
    most: Annotated[int | None, typer.Option(min=1, help="Tests to keep of a problem at most.")] = None,
    test_s: Annotated[float, typer.Option(help="Wall time of one test, in seconds.")] = 4.0,
    seed: Annotated[int, typer.Option(help="Of the mutants.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Problems at one time.")] = 2,
) -> None:
    """Drop candidate tests that correct programs fail; keep those that break wrong ones."""
    from data_recipes.code_tests.build import BuildCounts, build_tests
    from data_recipes.config import DatasetConfig
    from data_recipes.errors import DataError
    from data_recipes.prompts.rows import read_rows
    from policies.files import write_atomic
    from rewards.code.judge import Bounds, Judge, NoVerdict
    from rewards.sandbox.shared import shared_sandbox

    counts = BuildCounts()
    judge = Judge(shared_sandbox(), Bounds(test_s=test_s, total_s=3600.0, wait_s=3600.0))
    rows = read_rows(DatasetConfig(source=str(data)))
    try:
        built = [
            json.dumps(row) + "\n" for row in build_tests(rows, judge, counts, mutants, most, seed, threads)
        ]
    except NoVerdict as error:
        raise DataError(f"{data}: {error}") from error
    write_atomic(out, "".join(built))
    write_atomic(out.with_name(f"{out.name}.json"), json.dumps(counts.row(), indent=2) + "\n")
    typer.echo(
        f"{counts.kept_problems} of {counts.problems} problems, {counts.kept} of {counts.tests} tests "
        f"({counts.unfilled + counts.unfit} unfit, {counts.idle} idle, {counts.spare} spare), "
        f"{counts.survivors} of {counts.wrong_programs} wrong programs pass: {out}"
    )
