"""`grpo reward`: rewards without a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from policies.json_types import JsonDict

if TYPE_CHECKING:
    from rewards.config import RewardConfig

reward_app = typer.Typer(no_args_is_help=True, help="Rewards: list them, try one, score a file with one.")


@reward_app.command(
    "score", epilog="Example: `grpo reward score accuracy --data cases.jsonl --out scores.jsonl`"
)
def reward_score(
    name: Annotated[
        str, typer.Argument(help="Built-in, entry point, `package.module:function` or `path.py:function`.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="JSONL or Parquet with `completion`, optionally `prompt`, `answer` and more columns."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="JSONL with `score`, `verdict`, `reason`, `seconds`, in the same order.")
    ],
    param: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Parameter of the reward, or `llm.KEY=VALUE` of its language model. Repeatable.",
        ),
    ] = None,
) -> None:
    """Score the rows of a file with one reward. A bad row gets its own verdict; the others are scored."""
    from grpo.common.served import served
    from rewards.scoring.score_file import score_file

    with served(reward_config(name, param or [])) as reward:
        done = score_file(reward.name, data, out, reward.params, llm=reward.llm)
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in done.verdicts.items() if count)
    mean = "-" if done.mean is None else f"{done.mean:.4f}"
    typer.echo(f"{done.rows:,} rows ({verdicts or 'none'}), mean score {mean}, {done.seconds:.1f} s: {out}")
    for verdict, reason in done.reasons.items():
        typer.echo(f"  first {verdict}: {reason}")
    if done.is_failure:
        typer.echo("error: no row could be scored", err=True)
        raise typer.Exit(1)


@reward_app.command("try", epilog="Example: `grpo reward try my_rewards.py:exact --data cases.jsonl`")
def reward_try(
    name: Annotated[
        str, typer.Argument(help="Built-in, entry point, `package.module:function` or `path.py:function`.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="JSONL or Parquet with `prompt` and `answer`, or a right completion (`gold`, `solution`); or a "
            "`completion` with its `expected` score."
        ),
    ],
    param: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Parameter of the reward. Repeatable.")
    ] = None,
    judges: Annotated[
        str | None,
        typer.Option(
            help="What it judges: `answer` (plug-ins), `format` or `value` (graded: stability alone)."
        ),
    ] = None,
    template: Annotated[
        str,
        typer.Option(help="How a right completion is written: a name, or a text with `{answer}`."),
    ] = "auto",
    timeout: Annotated[
        float, typer.Option(help="Deadline of a row, or of a list-wise call, in seconds.")
    ] = 10.0,
    rows: Annotated[int, typer.Option(help="Rows of the file to use at most.")] = 32,
    right: Annotated[float, typer.Option(help="Score of a right answer.")] = 1.0,
    wrong: Annotated[float, typer.Option(help="Score of a wrong one.")] = 0.0,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Is a reward fit to train with? Right, wrong, broken and deceptive completions; exit code 1 if a check fails."""
    from typing import cast

    from rich.console import Console

    from rewards.lab.cases import Judges, Scores
    from rewards.lab.checks import all_pass
    from rewards.lab.lab import Options, try_reward
    from rewards.lab.report import lines

    if judges not in (None, "answer", "format", "value"):
        raise typer.BadParameter("answer, format or value", param_hint="--judges")
    if timeout <= 0 or rows < 1:
        raise typer.BadParameter("must be above 0", param_hint="--timeout, --rows")
    params = reward_config(name, param or []).arguments
    report = try_reward(
        name,
        data,
        Options(params, cast(Judges | None, judges), template, timeout, rows, Scores(right, wrong)),
    )
    if json_:
        typer.echo(json.dumps(report.as_json(), ensure_ascii=True, allow_nan=False))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for line in lines(report):
            console.print(line)
    raise typer.Exit(0 if all_pass(report.checks, strict) else 1)


def reward_config(name: str, params: Sequence[str]) -> RewardConfig:
    """Return the reward that a name and KEY=VALUE texts mean; the keys behind `llm.` are those of the section.

    Raises:
        ConfigError: a text is not KEY=VALUE, or a key of the section is wrong.
    """
    from grpo.common.config_io import check, parse_override
    from rewards.config import RewardConfig

    tree: JsonDict = {"name": name, "params": {}}
    for key, value in map(parse_override, params):
        if key[0] == "llm" and len(key) > 1:
            tree.setdefault("llm", {})[".".join(key[1:])] = value
        else:
            tree["params"][".".join(key)] = value
    return check(RewardConfig, tree, "--param")


@reward_app.command("list")
def reward_list() -> None:
    """Built-in rewards and installed plug-ins."""
    from rewards.registry import BUILTINS, entry_points

    for name, builtin in BUILTINS.items():
        typer.echo(f"{name:22} {builtin.summary}")
    for name, point in sorted(entry_points().items()):
        typer.echo(f"{name:22} plug-in {point.value}")
