"""What `--dry-run` prints after the plan: examples as the policy sees them, where the rewards come from, the folder.

example 1 of 4,096  (chain-3f2a…)
  │ A conversation between User and Assistant. … User: 7 * 4 + 3 Assistant:▸
  answer = "1"   ops = 2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from data_recipes.fields import show as shown
from grpo.common.console import middle_out, say
from grpo.common.hardware import has_gpu

if TYPE_CHECKING:
    from rewards.config import RewardConfig
    from rollout.types import Prompt

EXAMPLES = 2
MAX_CHARACTERS = 2000
"""Of a text that is shown."""
MAX_VALUE = 60
BEGINS = "▸"
"""Stands where the policy goes on, or where the tokens that it learns begin."""


def preview_prompts(model_dir: Path, prompts: Sequence[Prompt], rewards: Sequence[RewardConfig]) -> None:
    """Check that an engine here can compute the policy; print where the rewards are found, and the first prompts.

    Raises:
        RolloutError: it cannot.
    """
    from rewards.registry import origin
    from rollout.vllm_settings import check_cpu_engine

    if not has_gpu():
        check_cpu_engine(model_dir)
    for reward in rewards:
        say(f"  reward {escape(reward.name)}: {escape(origin(reward.name))}")
    for number, prompt in enumerate(prompts[:EXAMPLES], 1):
        columns = ({} if prompt.answer is None else {"answer": prompt.answer}) | dict(prompt.columns)
        preview_text(f"prompt {number} of {len(prompts):,}", prompt.text + BEGINS, columns)


def preview_text(title: str, text: str, columns: Mapping[str, object] | None = None) -> None:
    """Print a text line by line, and the values that belong to it."""
    say(f"[bold]{escape(title)}[/]")
    for line in middle_out(text, MAX_CHARACTERS).split("\n"):
        say(f"  [dim]│[/] {escape(line)}")
    if columns:
        say(
            "  "
            + escape("   ".join(f"{name} = {shown(value, MAX_VALUE)}" for name, value in columns.items()))
        )


def preview_end(run_dir: Path) -> None:
    """Print that this was all, and if there is a run in the folder that the same command would go on with."""
    if (run_dir / "summary.json").exists():
        say(f"{escape(str(run_dir))} holds a finished run")
    elif (run_dir / "config.json").exists():
        say(f"{escape(str(run_dir))} holds a run that has begun: without --dry-run it goes on")
    say("dry run: nothing was started, nothing was written")
