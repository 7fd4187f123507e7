"""The command `grpo`. Parses, then imports: `grpo --help` loads neither torch nor Ray nor vLLM.

Exit codes: `EXIT_CODES`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any  # Any: the settings of typer's group

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from grpo.commands.code_tests import tests_app
from grpo.commands.config import config_app
from grpo.commands.convert import convert
from grpo.commands.data import data_app
from grpo.commands.graph import plan, run_graph
from grpo.commands.options import Quiet, Verbose, set_verbosity
from grpo.commands.reward import reward_app
from grpo.commands.sandbox import sandbox_app
from grpo.commands.tools import demo, doctor, import_gguf, keys, recipes, report, submit, view
from grpo.commands.use import chat, export_gguf, push, serve
from grpo.common import stopping
from grpo.common.errors import text_of
from grpo.common.shadows import HiddenPackage
from grpo.common.streams import steady
from policies.json_types import JsonMapping

EXIT_CODES = (
    "Exit codes: 0 done; 1 an error, with a message; 2 wrong usage; 75 stopped by SIGTERM or a terminal that hung up, "
    "the same command goes on; 130 stopped by Ctrl-C, likewise."
)
PIPELINE, USE, REWARDS, TOOLS = "The whole pipeline", "Use the result", "Rewards", "Around it"
COMMANDS: tuple[tuple[str, str, Callable[..., None], str], ...] = (
    (PIPELINE, "demo", demo, "grpo demo --seed 2 --run-dir runs/demo"),
    (PIPELINE, "run", run_graph, "grpo run r1-tiny --set zero.steps=20 --until eval-zero"),
    (PIPELINE, "plan", plan, "grpo plan r1`, `grpo plan r1-tiny --rates runs/r1-tiny"),
    (USE, "serve", serve, "grpo serve runs/demo --port 8000"),
    (USE, "chat", chat, "grpo chat runs/demo --temperature 0"),
    (USE, "push", push, "grpo push runs/demo my-name/my-model --dry-run"),
    (USE, "export-gguf", export_gguf, "grpo export-gguf runs/demo demo.gguf --converter llama.cpp"),
    (TOOLS, "doctor", doctor, "grpo doctor"),
    (TOOLS, "recipes", recipes, "grpo recipes`, `grpo recipes r1-zero-tiny --copy my.toml"),
    (TOOLS, "keys", keys, "grpo keys optimizer`, `grpo keys rl --json-schema > rl.schema.json"),
    (TOOLS, "view", view, "grpo view runs/demo runs/demo-2"),
    (TOOLS, "report", report, "grpo report runs/demo"),
    (TOOLS, "submit", submit, "grpo submit smollm2-gsm8k-sft --address http://127.0.0.1:8265 --set epochs=1"),
    (TOOLS, "convert", convert, "grpo convert DeepSeek-V3 DeepSeek-V3-bf16"),
    (TOOLS, "import-gguf", import_gguf, "grpo import-gguf SmolLM2-135M-Instruct.Q4_1.gguf models/smollm2"),
)
"""Panel of the help, name, function, example; the commands of the stages come from their registry."""
AFTER_PIPELINE = 3
"""Where the stages stand among the commands."""


class CommandTable(JsonMapping):
    """Name → command: those above and one for each stage, whose file is imported when its command is asked for."""

    def __init__(self, own: JsonMapping) -> None:
        self._own = own

    def __getitem__(self, name: str) -> object:
        if name in self._own:
            return self._own[name]
        from grpo.commands.stage import stage_command

        return stage_command(name)

    def __iter__(self) -> Iterator[str]:
        from grpo.commands.stage import stage_names

        own = list(self._own)
        return iter([*own[:AFTER_PIPELINE], *stage_names(), *own[AFTER_PIPELINE:]])

    def __len__(self) -> int:
        return len(list(iter(self)))


class Commands(TyperGroup):
    """The group of all commands, with those of the stages."""

    def __init__(self, *, commands: JsonMapping, **settings: Any) -> None:
        super().__init__(commands={}, **settings)
        self.commands = CommandTable(commands)  # type: ignore[assignment]

    def list_commands(self, ctx: object) -> list[str]:
        """Return all names, in the order of the help."""
        return list(self.commands)


def _print_version(asked: bool) -> None:
    if asked:
        from grpo.tools.version import version

        typer.echo(f"grpo {version()}")
        raise typer.Exit


app = typer.Typer(
    name="grpo",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Teach language models to reason by reinforcement learning: DeepSeek-R1's post-training on vLLM and Ray.\n\n"
    "First steps: `grpo doctor`, then `grpo demo`, then `grpo rl r1-zero-tiny --model runs/demo-base/policy`.",
    epilog=EXIT_CODES,
)


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and leave.", is_eager=True, callback=_print_version
        ),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Options before the command; -q and -v may stand behind it too."""
    set_verbosity(quiet=quiet, verbose=verbose)


for panel, name, command, example in COMMANDS:
    app.command(name=name, epilog=f"Example: `{example}`", rich_help_panel=panel)(command)
for name, group in (("reward", reward_app), ("sandbox", sandbox_app), ("tests", tests_app)):
    app.add_typer(group, name=name, rich_help_panel=REWARDS)
app.add_typer(data_app, name="data", rich_help_panel=PIPELINE)
app.add_typer(config_app, name="config", rich_help_panel=TOOLS)

errors = Console(stderr=True)


def main() -> None:
    """Entry point: an expected error is one message on stderr, not a traceback (GRPO_TRACEBACK=1 shows it)."""
    steady()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if os.path.isfile(os.path.expanduser("~/.ray/auth_token")):  # which, unlike Path.home(), may find no home
        # `ray start` demands the token as soon as there is one; a driver that joins must be told before it imports Ray.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    sys.exit(_guarded(app))


def _guarded(command: Callable[..., object]) -> int:
    try:
        code = command(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = stopping.INTERRUPTED
    except Exception as error:
        if hasattr(error, "show") and hasattr(
            error, "exit_code"
        ):  # a usage error; typer keeps its class to itself
            error.show()
            return int(error.exit_code)
        if os.environ.get("GRPO_TRACEBACK") or not isinstance(
            error, (ValueError, OSError, RuntimeError, HiddenPackage)
        ):
            raise
        errors.print(f"[bold red]error[/] {escape(text_of(error))}", highlight=False, soft_wrap=True)
        for note in getattr(error, "__notes__", ()):
            errors.print(f"[dim]{escape(note)}[/]", highlight=False, soft_wrap=True)
        return 1
    if code == stopping.INTERRUPTED:  # what typer makes of a KeyboardInterrupt
        errors.print(f"[yellow]{escape(stopping.last_line())}[/]", highlight=False, soft_wrap=True)
        return stopping.exit_code()
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
