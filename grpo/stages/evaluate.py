"""`grpo eval`: held-out pass@1, pass@k and cons@k of one model, by kind of prompt."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from grpo.common.console import say, show, starting
from grpo.common.errors import ConfigError, RunError
from grpo.common.hardware import resolve_compute_dtype
from grpo.common.served import served
from grpo.config.evaluate import EvalStageConfig
from grpo.config.plan import StagePlan
from grpo.memory.launch import check_memory
from grpo.stages.figures import Figures, number, sampled_tokens
from grpo.stages.launch_data import read_and_show
from grpo.stages.lengths import check_room
from grpo.stages.preview import preview_end, preview_prompts
from grpo.stages.rl import stop_tokens
from grpo.stages.stage import MODEL, REWARD_INPUTS, Option, Stage, Tree
from grpo.stages.workload import Workload, sampling_workload
from policies import clock
from policies.facts import read_facts, resolve_model
from policies.files import write_atomic
from rewards.config import component_labels

if TYPE_CHECKING:
    from rich.table import Table

    from grpo.rl.evaluate import EvalResult
    from grpo.tracking.run_once import Summary
    from rollout.types import Prompt


@dataclass(frozen=True)
class Inputs:
    """All that is read and checked before an actor starts."""

    model_dir: Path
    prompts: list[Prompt]
    compute_dtype: str
    """What policy.compute_dtype means on this machine; a cluster may mean another."""
    context: int
    """Tokens that the longest question and its completion need."""
    stop_token_ids: tuple[int, ...]


EVALUATION = (
    ".lock",
    "config.json",
    "manifest.json",
    "eval.jsonl",
    "eval",
    "summary.json",
    "tensorboard",
    "node.json",
    "run.log",
    "stopped.json",
)
"""What an evaluation leaves in its folder."""


def run(config: EvalStageConfig, address: str | None) -> Summary:
    """Evaluate policy.model on eval.data; writes eval.jsonl, the samples and summary.json into config.run_dir.

    Another call evaluates again: there is nothing to go on from.

    Raises:
        ConfigError, PolicyError, DataError, RewardLoadError: names file, field and fix.
        BrokenRun: the folder holds the evaluation of another policy or of other data, or another driver is in it.
    """
    from grpo.tracking.run_dir import began, open_run

    refuse_other_folder(config.run_dir)
    with open_run(config.run_dir, config), clock.fixed(began(config.run_dir)):
        return evaluate(config, address)


def refuse_other_folder(run_dir: Path) -> None:
    """Refuse a folder that holds something else than an evaluation, whose files would be written over.

    Raises:
        ConfigError: names what is there. A run that says what it is, in config.json, is `open_run`'s to refuse.
    """
    if not run_dir.is_dir() or (run_dir / "config.json").exists():
        return
    other = sorted(entry.name for entry in run_dir.iterdir() if entry.name not in EVALUATION)
    if other:
        raise ConfigError(
            f"{run_dir} holds other files than an evaluation's ({', '.join(other[:5])}); choose another folder (--out)"
        )


def evaluate(config: EvalStageConfig, address: str | None) -> Summary:
    """Check everything, start the workers, sample and score; returns the summary. See `run`."""
    from grpo.cluster.ray_session import connect
    from grpo.cluster.rl_cluster import start_samplers
    from grpo.rl.loop import run_eval
    from grpo.tracking.metrics import MetricsWriter
    from grpo.tracking.run_dir import check_or_write_manifest, facts, hash_prompts, model_hash
    from grpo.tracking.samples import SampleWriter
    from rewards.scoring.dead import find_silent

    started = time.monotonic()
    starting("checking rewards and data")
    inputs = read_inputs(config)
    model_dir, prompts = inputs.model_dir, inputs.prompts
    manifest = facts(config, config.seed, {"eval": hash_prompts(prompts)}, model_dir)
    check_or_write_manifest(config.run_dir, config, manifest, step=None)
    check_memory(config, model_dir, inputs.compute_dtype, address, prompts)
    with (
        served(config) as ready,
        connect(address, config.run_dir),
        closing(start_samplers(ready, model_dir, inputs.context, version=0)) as samplers,
    ):
        samplers.rollouts.wait_started()
        starting(f"sampling {len(prompts):,} questions × {config.eval.samples}")
        sampling = time.monotonic()
        result, scored = run_eval(
            config=config,
            step=0,
            prompts=prompts,
            rollouts=samplers.rollouts,
            rewards=samplers.rewards,
            stop_token_ids=inputs.stop_token_ids,
        )
        seconds = time.monotonic() - sampling
    if (death := find_silent(scored, [config.eval.correct])) is not None:
        raise RunError(f"{death}\nFix the reward and run the same command again")
    MetricsWriter(config.run_dir, resume_step=-1).write_eval(result.row())
    SampleWriter(config.run_dir, -1, model_hash(manifest)).write_eval(0, scored)
    lengths = [len(sample.token_ids) for group in scored for sample in group.group.samples]
    summary = {
        "seed": config.seed,
        **result.figures(),
        "samples": len(lengths),
        "tokens": sum(lengths),
        "tokens_per_s": round(sum(lengths) / seconds, 1),
        "minutes": round((time.monotonic() - started) / 60, 3),
    }
    write_atomic(config.run_dir / "summary.json", json.dumps(summary, indent=2) + "\n")
    show(table(result, str(model_dir)))
    return summary


def preview(config: EvalStageConfig) -> None:
    """Check everything and print the plan, where the rewards come from and the first questions."""
    inputs = read_inputs(config)
    say(
        f"[bold]grpo eval[/] {escape(str(inputs.model_dir))} ({inputs.compute_dtype}) → {escape(str(config.run_dir))}\n"
        f"  {len(inputs.prompts):,} questions × {config.eval.samples} = "
        f"{len(inputs.prompts) * config.eval.samples:,} samples; right: {escape(config.eval.correct)}"
    )
    check_memory(config, inputs.model_dir, inputs.compute_dtype, None, inputs.prompts)
    preview_prompts(inputs.model_dir, config.engine, inputs.prompts, config.rewards)
    preview_end(config.run_dir)


def read_inputs(config: EvalStageConfig) -> Inputs:
    """Read and check model folder, rewards and data; every error is found before an actor starts.

    Raises:
        ConfigError, PolicyError, DataError, RewardLoadError: names file, field and fix.
    """
    from grpo.algorithm.schedules import max_tokens_at
    from policies.tokenizer import load_tokenizer
    from rewards.code.notes import import_notes
    from rewards.hosts.pool import check_reward
    from rewards.scoring.needs import check_decides, check_prompts

    assert config.eval.data is not None
    model_dir = resolve_model(config.policy.model)
    policy = read_facts(model_dir)
    needs = [check_reward(reward.name, reward.arguments) for reward in config.rewards]
    for note in import_notes(config.rewards):
        say(escape(note))
    tokenizer = load_tokenizer(model_dir)
    (prompts,) = read_and_show([config.eval.data], tokenizer)
    check_prompts(config.rewards, needs, prompts)
    check_decides(config.rewards, config.eval.correct, prompts)
    limit = config.eval.max_tokens or max_tokens_at(0, config.sampling)
    context = check_room(prompts, limit, config.engine, policy)
    stops = stop_tokens(config.sampling.stop_tokens, tokenizer)
    return Inputs(
        model_dir=model_dir,
        prompts=prompts,
        compute_dtype=resolve_compute_dtype(config.policy.compute_dtype, policy.hidden_size),
        context=context,
        stop_token_ids=stops,
    )


def table(result: EvalResult, title: str) -> Table:
    """Return the result as a table for the screen."""

    from rich.table import Table

    from grpo.tracking.metrics import shown
    from grpo.tracking.screen import shown_rating

    out = Table(title=escape(title), show_header=False)
    out.add_row(f"pass@1 over {result.k}", f"{result.pass1:.3f}  [{result.ci_low:.3f}, {result.ci_high:.3f}]")
    for k, value in shown(result.pass_at).items():
        if k != "1":
            out.add_row(f"pass@{k}", f"{value:.3f}")
    undecided = (
        f"  ({result.votes_undecided} pairs of answers not compared)" if result.votes_undecided else ""
    )
    out.add_row(f"cons@{result.k}", f"{result.consk:.3f}{undecided}")
    if result.rating is not None:
        out.add_row(
            f"rating by {result.rating.problems} problems",
            shown_rating(result.row()).removeprefix("rating ").strip(),
        )
    for name, value in result.components.items():
        out.add_row(f"reward {escape(name)}", f"{value:.3f}")
    for name, value in result.by_group.items():
        out.add_row(f"pass@1, {escape(name)}", f"{value:.3f}")
    if len(result.by_kind) > 1:
        for kind, means in result.by_kind.items():
            out.add_row(
                escape(kind), "  ".join(f"{escape(name)} {value:.3f}" for name, value in means.items())
            )
    out.add_row("length", f"{result.length:.1f} tokens, {result.truncated:.1%} truncated")
    out.add_row("problems", f"{result.n_problems} ({result.abstained} samples without a verdict)")
    return out


def key_figure(figures: Figures) -> str:
    """Return pass@1, cons@k and the share of completions in the asked format."""
    return (
        f"pass@1 {number(figures, 'pass1')}  cons@{figures.get('k')} {number(figures, 'consk')}  "
        f"format {number(figures, 'format')}"
    )


def workload(config: EvalStageConfig, plan: StagePlan, mean: float | None) -> Workload:
    """Return the completions of all held-out prompts; `mean` is their mean length in tokens."""
    assert config.eval.data is not None
    limit = config.eval.max_tokens or config.sampling.max_tokens
    return sampling_workload([config.eval.data], plan, config.eval.samples, limit, mean)


def from_rl(tree: Tree) -> Tree:
    """Return the tree of an RL recipe as that of an evaluation: what only training reads is left out.

    So is `start_step` of its rewards: an evaluation has no steps, and asks each of them.
    """
    kept = {key: value for key, value in tree.items() if key in EvalStageConfig.model_fields}
    for section, unread in (("policy", ("lora",)), ("eval", ("every_steps",))):
        if isinstance(kept.get(section), dict):
            kept[section] = {key: value for key, value in kept[section].items() if key not in unread}
    if isinstance(kept.get("rewards"), list):
        kept["rewards"] = [
            {key: value for key, value in reward.items() if key != "start_step"}
            if isinstance(reward, dict)
            else reward
            for reward in kept["rewards"]
        ]
    return kept | {"stage": "eval"}


STAGE = Stage(
    name="eval",
    help="Held-out pass@1 over k samples, pass@k and cons@k of a model, with the recipe's `[eval]` data and rewards.",
    example="grpo eval r1-zero-tiny --model runs/demo/policy --samples 16 --out runs/check",
    config=EvalStageConfig,
    run=run,
    preview=preview,
    components=lambda config: component_labels(config.rewards),
    outputs={"summary": "summary.json"},
    key_figure=key_figure,
    inputs=("policy.model", "eval.data.source", *REWARD_INPUTS),
    main_output="summary",
    options=(
        Option("--out", "run_dir", Path, "Folder for the result; default: run_dir of a recipe for `eval`."),
        MODEL,
        Option("--samples", "eval.samples", int, "k; same as `--set eval.samples=…`."),
    ),
    workload=workload,
    observe=sampled_tokens,
    is_evaluation=True,
    adapts={"rl": from_rl},
)
