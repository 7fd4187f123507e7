"""`grpo demo`: a base from nothing and its reinforcement learning, in minutes: DeepSeek-R1-Zero in miniature, or code.

The same stages that `grpo pretrain` and `grpo rl` run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from grpo.common.config_io import load_config
from grpo.common.console import say, show
from grpo.config.pretrain import PretrainConfig
from grpo.config.rl import RlConfig
from grpo.tracking.report.page import write_report
from grpo.tracking.sample_row import SampleRow
from grpo.tracking.samples import file_name, read_samples
from policies.families.registry import PRESETS
from policies.files import write_atomic
from policies.json_types import JsonDict

CHAIN_NOTES = """What this shows, and what not. The rise is partly built in: a sixth of the template documents in the
base's corpus work the problem step by step with the tags, the others guess, skip, answer bare or break the tags, and
reinforcement learning selects among what the base already does. It does not teach arithmetic that the base lacks.
Held-out problems share no window of two operations with anything in pre-training or RL. Minutes include pre-training;
entropy and the share of groups without spread show that little is left to learn at the end."""

CODE_NOTES = """What this shows, and what not. The rise is partly built in: a fifth of the base's programs follow the
words of the task, the others leave a step out, mistake or swap steps, do not compile, or come without a fence, and
reinforcement learning selects among what the base already does. Held-out problems are other sequences of the same
steps. Every program ran in the sandbox, and only there; what it had to return never entered."""


@dataclass(frozen=True)
class Task:
    """What a demo runs."""

    base: str
    """Recipe of the base."""
    rl: str
    """Recipe of the reinforcement learning."""
    notes: str
    """For the report's reader."""


TASKS = {
    "chain": Task("tiny-base", "r1-zero-tiny", CHAIN_NOTES),
    "code": Task("code-tiny-base", "code-tiny", CODE_NOTES),
}


DEFAULT_PRESET = "tiny-v3"
"""What the recipes of all tasks are made for. Other shapes learn at half of their rates: at the full ones mini-v3 and
mini-coder-v2 had at most 3 % of chains right by step 750 of their base, and mini-v3 fell from 0.95 to 0.86 in RL."""


def default_folder(task_name: str, preset: str) -> Path:
    """Return where the runs of a task with a preset go if nobody says."""
    words = [task_name] * (task_name != "chain") + [preset] * (preset != DEFAULT_PRESET)
    return Path("runs") / "-".join(["demo", *words])


def run(seed: int, run_dir: Path, task_name: str = "chain", preset: str = DEFAULT_PRESET) -> JsonDict:
    """Pre-train the base, train it by GRPO, print samples before and after; returns and leaves summary.json.

    Args:
        seed: of everything.
        run_dir: of the RL run; the base's is beside it.
        task_name: one of `TASKS`.
        preset: one of `policies.families.registry.PRESETS`.
    """
    task = TASKS[task_name]
    base_recipe, rl_recipe = task.base, task.rl
    base_dir = run_dir.with_name(run_dir.name + "-base")
    base = base_config(base_recipe, preset, [f"seed={seed}", f'run_dir="{base_dir}"'])
    own = [f"seed={seed}", f'run_dir="{run_dir}"', f'policy.model="{base_dir / "policy"}"']
    rl = load_config(RlConfig, rl_recipe, own)
    if preset != DEFAULT_PRESET:
        rl = load_config(RlConfig, rl_recipe, [*own, f"optimizer.lr={rl.optimizer.lr / 2}"])
    for folder in (base_dir, run_dir):
        put_aside(folder, seed)
    started = time.monotonic()
    from grpo.pretrain import trainer
    from grpo.stages import rl as rl_stage

    pretrained = trainer.run(base)
    between = time.monotonic()
    summary = rl_stage.run(rl, None)
    if "minutes_pretrain" not in summary:
        summary |= {
            "minutes_pretrain": pretrained["minutes"],
            "minutes_rl": summary["minutes"],
            "minutes": round(pretrained["minutes"] + summary["minutes"], 3),
            "minutes_this_call": round((time.monotonic() - started) / 60, 3),
        }
        write_atomic(run_dir / "summary.json", json.dumps(summary, indent=2) + "\n")
        write_report(run_dir, run_dir / "report.html", task.notes)
    show(before_and_after(run_dir, summary["steps"], rl.eval.correct))
    form = ""
    if summary["base_format"] is not None:
        form = f"format {summary['base_format']:.3f} → {summary['final_format']:.3f}   "
    say(
        f"held-out pass@1 [bold]{summary['base_pass1']:.3f} → {summary['final_pass1']:.3f}[/]   {form}length "
        f"{summary['base_length']:.1f} → {summary['final_length']:.1f} tokens   {summary['minutes']:.1f} minutes "
        f"({(between - started) / 60:.1f} of them pre-training)"
    )
    return summary


def base_config(recipe: str, preset: str, overrides: Sequence[str]) -> PretrainConfig:
    """Return the recipe of the base for any preset: its own kind of rotation, the recipe's wavelengths, half the rate.

    rope_theta suits the length of the recipe's documents; what a preset adds, YaRN for one, is its own.
    """
    base = load_config(PretrainConfig, recipe, overrides)
    if preset == DEFAULT_PRESET:
        return base
    own = PRESETS[preset][1].get("rope_parameters", {})
    recipes = cast("dict[str, str | float]", base.preset_overrides["rope_parameters"])
    rotation = recipes | own | {"rope_theta": recipes["rope_theta"]}
    table = ", ".join(f"{key} = {json.dumps(value)}" for key, value in rotation.items())
    shape = [f'preset="{preset}"', f"lr={base.lr / 2}", f"preset_overrides.rope_parameters={{ {table} }}"]
    return load_config(PretrainConfig, recipe, [*overrides, *shape])


def put_aside(folder: Path, seed: int) -> None:
    """Rename the folder of a demo with another seed, so that `make demo SEED=2` may follow `make demo`."""
    try:
        other = json.loads((folder / "config.json").read_text(encoding="utf-8"))["seed"]
    except (OSError, ValueError, KeyError):
        return
    if other == seed:
        return
    kept = folder.with_name(f"{folder.name}-seed{other}")
    number = 2
    while kept.exists():
        kept = folder.with_name(f"{folder.name}-seed{other}-{number}")
        number += 1
    folder.rename(kept)
    say(f"{escape(str(folder))} held a run with seed {other}: moved to {escape(str(kept))}")


def before_and_after(run_dir: Path, last_step: int, correct: str = "accuracy", problems: int = 6) -> Table:
    """Sampled completions of the same held-out problems, by the base and by the trained policy."""
    first = read_samples(run_dir / "eval" / file_name(0))
    last = read_samples(run_dir / "eval" / file_name(last_step))
    table = Table(title="Held-out problems, first sample of each, before and after", show_lines=True)
    for header in ("problem", "answer", "base", "after RL"):
        table.add_column(header, overflow="fold")
    by_id = {row.prompt_id: row for row in last if row.index == 0}
    for row in [row for row in first if row.index == 0][:problems]:
        after = by_id[row.prompt_id]
        question = row.prompt.rpartition("User:")[2].partition("Assistant:")[0].strip()
        table.add_row(Text(question), Text(str(row.answer)), coloured(row, correct), coloured(after, correct))
    return table


def coloured(row: SampleRow, correct: str) -> Text:
    """Return the completion, green if it was right."""
    right = (row.components.get(correct) or 0.0) >= 1.0
    return Text(row.completion.strip() or "(empty)", style="green" if right else "red")
