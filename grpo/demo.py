"""`grpo demo`: DeepSeek-R1-Zero in miniature, from nothing. The same stages that `grpo pretrain` and `grpo rl` run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from grpo.config import RlConfig
from grpo.config_io import load_config
from grpo.pretrain_config import PretrainConfig
from grpo.report import write_report
from grpo.run_dir import write_atomic

NOTES = """What this shows, and what not. The rise is partly built in: a sixth of the template documents in the
base's corpus work the problem step by step with the tags, the others guess, skip, answer bare or break the tags, and
reinforcement learning selects among what the base already does. It does not teach arithmetic that the base lacks.
Held-out problems share no window of two operations with anything in pre-training or RL. Minutes include pre-training;
entropy and the share of groups without spread show that little is left to learn at the end."""

console = Console()


def run(
    seed: int, run_dir: Path, base_recipe: str = "tiny-base", rl_recipe: str = "r1-zero-tiny"
) -> dict[str, Any]:
    """Pre-train the base, train it by GRPO, print samples before and after; returns and leaves summary.json."""
    base_dir = run_dir.with_name(run_dir.name + "-base")
    base = load_config(PretrainConfig, base_recipe, [f"seed={seed}", f'run_dir="{base_dir}"'])
    rl = load_config(
        RlConfig, rl_recipe, [f"seed={seed}", f'run_dir="{run_dir}"', f'policy.model="{base_dir / "policy"}"']
    )
    for folder in (base_dir, run_dir):
        put_aside(folder, seed)
    started = time.monotonic()
    from grpo import pretrain
    from grpo.stages import rl as rl_stage

    pretrained = pretrain.run(base)
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
        write_report(run_dir, run_dir / "report.html", NOTES)
    console.print(before_and_after(run_dir, summary["steps"]))
    console.print(
        f"held-out pass@1 [bold]{summary['base_pass1']:.3f} → {summary['final_pass1']:.3f}[/]   format "
        f"{summary['base_format']:.3f} → {summary['final_format']:.3f}   length {summary['base_length']:.1f} → "
        f"{summary['final_length']:.1f} tokens   {summary['minutes']:.1f} minutes "
        f"({(between - started) / 60:.1f} of them pre-training)"
    )
    return summary


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
    console.print(f"{folder} held a run with seed {other}: moved to {kept}")


def before_and_after(run_dir: Path, last_step: int, problems: int = 6) -> Table:
    """Sampled completions of the same held-out problems, by the base and by the trained policy."""
    import pyarrow.parquet as pq

    first = pq.read_table(run_dir / "eval" / "step-000000.parquet").to_pylist()
    last = pq.read_table(run_dir / "eval" / f"step-{last_step:06d}.parquet").to_pylist()
    table = Table(title="Held-out problems, first sample of each, before and after", show_lines=True)
    for header in ("problem", "answer", "base", "after R1-Zero"):
        table.add_column(header, overflow="fold")
    by_id = {r["prompt_id"]: r for r in last if r["index"] == 0}
    for row in [r for r in first if r["index"] == 0][:problems]:
        after = by_id[row["prompt_id"]]
        question = row["prompt"].rpartition("User:")[2].partition("Assistant:")[0].strip()
        table.add_row(question, str(row["answer"]), coloured(row), coloured(after))
    return table


def coloured(row: dict[str, Any]) -> Text:
    """The completion, green if it was right."""
    right = (row.get("accuracy") or 0.0) >= 1.0
    return Text(row["completion"].strip() or "(empty)", style="green" if right else "red")
