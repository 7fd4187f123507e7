"""`grpo sample`: prompts → scored completions in run_dir/samples.parquet, through the rollout workers of `grpo rl`.

    prompts ─▶ chunks ─▶ vLLM workers ─▶ groups ─▶ rewards, while others generate ─▶ a part for each chunk ─▶ one file

The unit of redoing is the chunk: a call that goes on after a crash samples the chunks that have no part, each to the
same tokens.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.markup import escape

from data_recipes.prompts.datasets import load_prompts
from grpo.cluster.ray_session import connect
from grpo.cluster.rl_cluster import Samplers, start_samplers
from grpo.common.console import say
from grpo.common.errors import ConfigError
from grpo.common.hardware import resolve_compute_dtype
from grpo.config.sample import SampleConfig
from grpo.stages.rl import check_room, stop_tokens
from grpo.tracking.run_dir import (
    check_or_write_manifest,
    facts,
    hash_columns,
    hash_prompts,
    model_hash,
    open_run,
    write_atomic,
)
from grpo.tracking.sample_parts import SampleParts
from grpo.tracking.sample_row import SampleRow, component_column, group_rows
from grpo.tracking.samples import read_columns
from policies.facts import read_facts, resolve_model
from policies.tokenizer import load_tokenizer
from rewards.hosts.pool import check_reward
from rewards.scoring.scorer import component_labels
from rewards.types import Score, ScoredGroup
from rollout.chunks import make_chunks
from rollout.types import Prompt, RolloutChunk, SampleGroup, SamplingParams


@dataclass(frozen=True)
class Inputs:
    """Everything that is read and checked before an actor starts."""

    chunks: list[RolloutChunk]
    compute_dtype: str
    model: str
    """Hash of the policy's files."""


def run(config: SampleConfig, address: str | None) -> dict[str, Any]:
    """Sample, or go on sampling, in config.run_dir; returns the summary."""
    with open_run(config.run_dir, config) as resumed:
        summary_path = config.run_dir / "summary.json"
        if resumed and summary_path.exists():
            say(f"{config.run_dir} is complete; nothing to do")
            return json.loads(summary_path.read_text(encoding="utf-8"))
        inputs = read_inputs(config)
        labels = component_labels(config.rewards)
        parts = SampleParts(config.run_dir, labels, config.keep_columns)
        missing = [n for n in range(len(inputs.chunks)) if not parts.is_written(n)]
        say(plan(config, inputs, len(missing)))
        progress = Progress(labels, sum(len(inputs.chunks[n].prompts) for n in missing) * config.samples)
        if missing:
            with connect(address):
                samplers = start_samplers(
                    config, resolve_model(config.policy.model), inputs.compute_dtype, version=0
                )
                try:
                    sample(config, inputs, missing, samplers, parts, progress)
                finally:
                    samplers.close()
        parts.merge(len(inputs.chunks))
        summary = summarize(parts, config, labels) | progress.speed()
        write_atomic(summary_path, json.dumps(summary, indent=2) + "\n")
        parts.remove()
        say(f"samples: {parts.path}   {show(summary, labels)}")
        return summary


def read_inputs(config: SampleConfig) -> Inputs:
    """Read and check model folder, rewards and data; every fault is one error, before anything is launched.

    Raises:
        ConfigError, PolicyError, DataError, RewardLoadError: names file, field and mend.
        BrokenRun: the model or the prompts have changed since the run began.
    """
    model_dir = resolve_model(config.policy.model)
    policy = read_facts(model_dir)
    for reward in config.rewards:
        check_reward(reward.name, reward.params)
    tokenizer = load_tokenizer(model_dir)
    prompts = [p for source in (config.data, *config.mix) for p in load_prompts(source, tokenizer)]
    by_id: dict[str, Prompt] = {}
    twice = [(by_id[p.id], p) for p in prompts if by_id.setdefault(p.id, p) is not p]
    if twice:
        first, again = twice[0]
        raise ConfigError(
            f"mix: {len(twice)} prompts stand in two sources, the first in {first.source} and {again.source}: "
            f"{again.text[-80:]!r}; leave them out of one"
        )
    check_room(prompts, config.sampling.max_tokens, config.engine.max_model_len or policy.max_positions)
    check_kept(config.keep_columns, prompts)
    hashes = {"prompts": hash_prompts(prompts), "columns": hash_columns(prompts)}
    manifest = facts(config.seed, hashes, model_dir)
    check_or_write_manifest(config.run_dir, manifest)
    params = SamplingParams(
        config.sampling.max_tokens,
        config.sampling.temperature,
        config.sampling.top_p,
        stop_tokens(config.sampling.stop_tokens, tokenizer),
    )
    chunks = make_chunks(
        prompts, "sample", config.seed, 0, params, config.samples, config.engine.chunk_groups
    )
    return Inputs(
        chunks=chunks,
        compute_dtype=resolve_compute_dtype(config.policy.compute_dtype, policy.hidden_size),
        model=model_hash(manifest),
    )


def check_kept(columns: Sequence[str], prompts: Sequence[Prompt]) -> None:
    """Every prompt must have the columns that are to be kept."""
    for name in columns:
        without = next((p for p in prompts if name not in p.columns), None)
        if without is not None:
            raise ConfigError(
                f"keep_columns: prompts of {without.source} have no column {name!r}; they have "
                f"{', '.join(without.columns)}"
            )


def sample(
    config: SampleConfig,
    inputs: Inputs,
    missing: Sequence[int],
    samplers: Samplers,
    parts: SampleParts,
    progress: Progress,
) -> None:
    """Sample and score the chunks of these numbers; each becomes a part as soon as it is complete."""
    numbers = {inputs.chunks[n].id: n for n in missing}
    waiting: dict[int, list[tuple[SampleGroup, Any]]] = {n: [] for n in missing}
    complete: list[int] = []

    def write_complete() -> None:
        while complete:
            number = complete.pop(0)
            rows = chunk_rows(inputs.chunks[number], waiting.pop(number), samplers, inputs.model, config)
            parts.write(number, rows)
            say(progress.line(rows))

    samplers.rollouts.wait_started()
    progress.start()
    for chunk_id, group in samplers.rollouts.run([inputs.chunks[n] for n in missing]):
        # Another chunk is being sampled now, so waiting for the last rewards of the one before holds nobody up.
        write_complete()
        number = numbers[chunk_id]
        ticket = samplers.rewards.submit([group], "sample", 0) if config.rewards else None
        waiting[number].append((group, ticket))
        if len(waiting[number]) == len(inputs.chunks[number].prompts):
            complete.append(number)
    write_complete()


def chunk_rows(
    chunk: RolloutChunk,
    groups: Sequence[tuple[SampleGroup, Any]],
    samplers: Samplers,
    model: str,
    config: SampleConfig,
) -> list[SampleRow]:
    """Make the rows of a complete chunk, in prompt order."""
    if config.rewards:
        scored = samplers.rewards.collect([ticket for _, ticket in groups])
    else:
        unscored = (Score(None, verdict="abstain"),) * config.samples
        scored = [ScoredGroup(group, unscored) for group, _ in groups]
    by_id = {item.group.prompt.id: item for item in scored}
    return [
        row
        for prompt in chunk.prompts
        for row in group_rows(
            by_id[prompt.id],
            stage="sample",
            step=0,
            group_id=prompt.id,
            model=model,
            keep=config.keep_columns,
        )
    ]


@dataclass
class Progress:
    """What is said while it runs, and how fast it was."""

    labels: Sequence[str]
    total: int
    """Samples to come in this call."""
    started: float | None = None
    samples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """From the first chunk's start to the last part."""
    called: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """The engines are up."""
        self.started = time.monotonic()

    def line(self, rows: Sequence[SampleRow]) -> str:
        """Account for a chunk that has been written."""
        assert self.started is not None
        self.samples += len(rows)
        self.tokens += sum(row.tokens for row in rows)
        self.seconds = time.monotonic() - self.started
        left = self.seconds / self.samples * (self.total - self.samples)
        means = {name: mean([row.components.get(name) for row in rows]) for name in self.labels}
        shown = "".join(f"  {name} {value:.2f}" for name, value in means.items() if value is not None)
        minutes, seconds = divmod(round(left), 60)
        return (
            f"{self.samples:,}/{self.total:,} samples  {self.tokens / self.seconds:,.0f} tokens/s{shown}  "
            f"ETA {minutes}:{seconds:02d}"
        )

    def speed(self) -> dict[str, float | None]:
        """For the summary: of this call."""
        return {
            "tokens_per_s": round(self.tokens / self.seconds, 1) if self.seconds else None,
            "minutes": round((time.monotonic() - self.called) / 60, 3),
        }


def summarize(parts: SampleParts, config: SampleConfig, labels: Sequence[str]) -> dict[str, Any]:
    """What the samples are, all calls together."""
    columns = {name: component_column(name) for name in labels}
    rows = list(
        read_columns(parts.path, ["prompt_id", "tokens", "finish_reason", "total", *columns.values()])
    )
    tokens = sum(row["tokens"] for row in rows)
    return {
        "seed": config.seed,
        "prompts": len({row["prompt_id"] for row in rows}),
        "samples": len(rows),
        "tokens": tokens,
        "mean_length": round(tokens / len(rows), 3),
        "truncated": sum(row["finish_reason"] == "length" for row in rows) / len(rows),
        "without_score": sum(row["total"] is None for row in rows),
        "mean_score": mean([row["total"] for row in rows]),
        "components": {name: mean([row[column] for row in rows]) for name, column in columns.items()},
    }


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of those that are there; None without any."""
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None


def show(summary: dict[str, Any], labels: Sequence[str]) -> str:
    """The summary in a line."""
    means = summary["components"]
    shown = "  ".join(f"{name} {means[name]:.3f}" for name in labels if means[name] is not None)
    return f"{summary['samples']:,} samples, {summary['tokens']:,} tokens  {shown}"


def plan(config: SampleConfig, inputs: Inputs, missing: int) -> str:
    """What is about to happen, in numbers."""
    prompts = sum(len(c.prompts) for c in inputs.chunks)
    head = (
        f"[bold]grpo sample[/] {escape(config.policy.model)} ({inputs.compute_dtype}) → {escape(str(config.run_dir))}"
        f"\n  {prompts:,} prompts × {config.samples} = {prompts * config.samples:,} samples in "
        f"{len(inputs.chunks)} chunks"
    )
    done = len(inputs.chunks) - missing
    return head + (f"; {done} are there already" if done else "")
