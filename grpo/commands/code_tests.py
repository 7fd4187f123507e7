"""`grpo tests`: tests for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from policies.files import write_atomic
from policies.json_types import JsonMapping

tests_app = typer.Typer(no_args_is_help=True, help="Tests that programs are rewarded by.")


@tests_app.command(
    "generate", epilog="Example: `grpo tests generate problems.jsonl --out candidates.jsonl --seeds 8`"
)
def generate(
    data: Annotated[
        Path,
        typer.Argument(
            help="Problems: `question`, and `generators` (programs that print an input) or --llm."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="JSONL of the rows with candidates in `tests`; counts beside it, in OUT.json."),
    ],
    llm: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="TOML with the keys of a section `llm`: a model that writes generators."
        ),
    ] = None,
    answers: Annotated[int, typer.Option(min=1, help="Answers of the model to a problem.")] = 1,
    seeds: Annotated[
        int, typer.Option(min=1, help="Runs of a generator, each with another random seed.")
    ] = 4,
    run_s: Annotated[float, typer.Option(help="Wall time of a run, in seconds.")] = 10.0,
    threads: Annotated[int, typer.Option(min=1, help="Problems at one time.")] = 2,
) -> None:
    """Make candidate tests by programs that write inputs, run in the sandbox; `grpo tests build` filters them."""
    from contextlib import ExitStack

    from data_recipes.code_tests.generate import Effort, GenerateCounts, generate_tests
    from data_recipes.code_tests.prompts import model_writers
    from data_recipes.config import DatasetConfig
    from data_recipes.errors import DataError
    from data_recipes.prompts.rows import read_rows
    from grpo.common.config_io import check, read_recipe
    from grpo.common.served import served
    from rewards.code.judge import NoVerdict
    from rewards.llm.client import Llm
    from rewards.llm.config import LlmConfig
    from rewards.llm.errors import LlmError
    from rewards.sandbox.shared import shared_sandbox

    counts = GenerateCounts()
    rows = read_rows(DatasetConfig(source=str(data)))
    with ExitStack() as stack:
        writers = None
        if llm is not None:
            name, text, tree = read_recipe(str(llm))
            ready = stack.enter_context(served(check(LlmConfig, tree, name, text)))
            writers = model_writers(stack.enter_context(Llm(ready)), answers, seed=0)
        effort = Effort(seeds=seeds, run_s=run_s)
        made = generate_tests(rows, shared_sandbox(), counts, effort, writers, threads)
        try:
            lines = [json.dumps(row) + "\n" for row in made]
        except (NoVerdict, LlmError) as error:
            raise DataError(f"{data}: {error}") from error
    if not lines:
        raise DataError(
            f"{data}: no problem has a test: {counts.first_failure or 'no generators; add --llm FILE'}"
        )
    _write(out, lines, asdict(counts))
    typer.echo(
        f"{len(lines)} of {counts.problems} problems, {counts.generators} generators, {counts.added} inputs from "
        f"{counts.runs} runs ({counts.failed} failed, {counts.malformed} malformed, {counts.repeated} repeated): {out}"
    )
    if counts.first_failure:
        typer.echo(f"  first failure: {counts.first_failure}")


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
    _write(out, built, asdict(counts))
    typer.echo(
        f"{counts.kept_problems} of {counts.problems} problems, {counts.kept} of {counts.tests} tests "
        f"({counts.unfilled + counts.unfit} unfit, {counts.idle} idle, {counts.spare} spare), "
        f"{counts.survivors} of {counts.wrong_programs} wrong programs pass: {out}"
    )


def _write(out: Path, lines: Sequence[str], counts: JsonMapping) -> None:
    """Write the rows, then their counts into OUT.json."""
    write_atomic(out, "".join(lines))
    write_atomic(out.with_name(f"{out.name}.json"), json.dumps(counts, indent=2) + "\n")
