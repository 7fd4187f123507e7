"""The command `grpo`. Parses, then imports: `grpo --help` loads neither torch nor Ray nor vLLM.

Exit codes: 0 done, 1 an error with a message, 2 wrong usage, 130 interrupted (resumable).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer
from rich.console import Console
from rich.markup import escape

from grpo.commands.code_tests import tests_app
from grpo.commands.curate import curate
from grpo.commands.graph import plan, run_graph
from grpo.commands.reward import reward_app
from grpo.commands.reward_model import pairs, reward_model
from grpo.commands.rl import evaluate, pretrain, rl
from grpo.commands.sample import sample
from grpo.commands.sandbox import sandbox_app
from grpo.commands.sft import distill, sft
from grpo.commands.tools import demo, doctor, import_gguf, recipes, report, submit

PIPELINE, STAGES, REWARDS, TOOLS = "The whole pipeline", "One stage", "Rewards", "Around it"
COMMANDS: tuple[tuple[str, str, Callable[..., None], str], ...] = (
    (PIPELINE, "demo", demo, "grpo demo --seed 2 --run-dir runs/demo"),
    (PIPELINE, "run", run_graph, "grpo run r1-tiny --set zero.steps=20 --until eval-zero"),
    (PIPELINE, "plan", plan, "grpo plan r1`, `grpo plan r1-tiny --rates runs/r1-tiny"),
    (STAGES, "pretrain", pretrain, "grpo pretrain tiny-base --set seed=1 --set run_dir=runs/base"),
    (STAGES, "rl", rl, "grpo rl r1-zero-tiny --model runs/base/policy --set steps=20"),
    (STAGES, "sample", sample, "grpo sample sample.toml --model runs/dev2/policy --set samples=8"),
    (STAGES, "curate", curate, "grpo curate curate.toml --set per_prompt=2"),
    (STAGES, "sft", sft, "grpo sft smollm2-gsm8k-sft --set epochs=1 --set run_dir=runs/try"),
    (STAGES, "pairs", pairs, "grpo pairs pairs.toml --set judge.votes=4"),
    (STAGES, "reward-model", reward_model, "grpo reward-model helpful.toml --set seed=2"),
    (STAGES, "distill", distill, "grpo distill r1-distill --model Qwen/Qwen2.5-Math-1.5B"),
    (
        STAGES,
        "eval",
        evaluate,
        "grpo eval r1-zero-tiny --model runs/demo/policy --samples 16 --out runs/check",
    ),
    (TOOLS, "doctor", doctor, "grpo doctor"),
    (TOOLS, "recipes", recipes, "grpo recipes"),
    (TOOLS, "report", report, "grpo report runs/demo"),
    (TOOLS, "submit", submit, "grpo submit smollm2-gsm8k-sft --address http://127.0.0.1:8265 --set epochs=1"),
    (TOOLS, "import-gguf", import_gguf, "grpo import-gguf SmolLM2-135M-Instruct.Q4_1.gguf models/smollm2"),
)
"""Panel of the help, name, function, example."""

app = typer.Typer(
    name="grpo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Teach language models to reason by reinforcement learning: DeepSeek-R1's post-training on vLLM and Ray.\n\n"
    "First steps: `grpo doctor`, then `grpo demo`, then `grpo rl r1-zero-tiny --model runs/demo-base/policy`.",
)
for panel, name, command, example in COMMANDS:
    app.command(name=name, epilog=f"Example: `{example}`", rich_help_panel=panel)(command)
for name, group in (("reward", reward_app), ("sandbox", sandbox_app), ("tests", tests_app)):
    app.add_typer(group, name=name, rich_help_panel=REWARDS)

errors = Console(stderr=True)

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""


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
