"""`grpo sample`: prompts → scored completions in run_dir/samples.parquet, through the rollout workers of `grpo rl`.

    prompts ─▶ chunks ─▶ vLLM workers ─▶ groups ─▶ rewards, while others generate ─▶ a part for each chunk ─▶ one file

A call that resumes after a crash samples the chunks that have no part again, each to the same tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any  # Any: tickets of the reward workers

from rich.markup import escape

from grpo.common.console import clock, say, starting
from grpo.common.errors import ConfigError, RunError
from grpo.common.hardware import resolve_compute_dtype
from grpo.common.served import served
from grpo.config.plan import StagePlan
from grpo.config.sample import SampleConfig
from grpo.memory.launch import check_memory
from grpo.stages.figures import Figures, number, sampled_tokens
from grpo.stages.launch_data import read_and_show
from grpo.stages.lengths import check_room
from grpo.stages.preview import preview_end, preview_prompts
from grpo.stages.rl import stop_tokens
from grpo.stages.stage import MODEL, REWARD_INPUTS, Stage
from grpo.stages.workload import Workload, sampling_workload
from policies.facts import read_facts, resolve_model
from policies.json_types import JsonDict
from rewards.config import component_labels

if TYPE_CHECKING:
    from grpo.cluster.rl_cluster import Samplers
    from grpo.tracking.run_once import Summary
    from grpo.tracking.sample_parts import SampleParts
    from grpo.tracking.sample_row import SampleRow
    from rollout.types import Prompt, RolloutChunk, SampleGroup


@dataclass(frozen=True)
class Inputs:
    """All that is read and checked before an actor starts."""

    chunks: list[RolloutChunk]
    compute_dtype: str
    """What policy.compute_dtype means on this machine; a cluster may mean another."""
    context: int
    """Tokens that the longest prompt and its completion need."""
    model: str | None
    """A hash of the policy's files."""
    manifest: JsonDict
    """What the run's manifest is compared with, or begins with."""

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts of all chunks, in order."""
        return [prompt for chunk in self.chunks for prompt in chunk.prompts]


def run(config: SampleConfig, address: str | None) -> Summary:
    """Sample, or go on sampling, in config.run_dir; returns the summary."""

    from grpo.tracking.run_once import run_once
    from grpo.tracking.sample_parts import SampleParts

    labels = component_labels(config.rewards)

    def finish(summary: Summary) -> None:
        parts = SampleParts(config.run_dir, labels, config.keep_columns)
        parts.remove()
        say(f"samples: {escape(str(parts.path))}   {show(summary, labels)}")

    return run_once(config, config.run_dir, lambda: sample_all(config, labels, address), finish)


def sample_all(config: SampleConfig, labels: Sequence[str], address: str | None) -> Summary:
    """Check everything, start the workers, sample the chunks that have no part; returns the summary."""
    from grpo.cluster.ray_session import connect
    from grpo.cluster.rl_cluster import start_samplers
    from grpo.tracking.run_dir import check_or_write_manifest
    from grpo.tracking.sample_parts import SampleParts

    starting("checking rewards and data")
    inputs = read_inputs(config)
    check_or_write_manifest(config.run_dir, config, inputs.manifest, step=None)
    parts = SampleParts(config.run_dir, labels, config.keep_columns)
    missing = [n for n in range(len(inputs.chunks)) if not parts.is_written(n)]
    say(plan(config, inputs, len(missing)))
    progress = Progress(labels, sum(len(inputs.chunks[n].prompts) for n in missing) * config.samples)
    if missing:
        model_dir = resolve_model(config.policy.model)
        check_memory(config, model_dir, inputs.compute_dtype, address, inputs.prompts)
        with (
            served(config) as ready,
            connect(address, config.run_dir),
            closing(start_samplers(ready, model_dir, inputs.context, version=0)) as samplers,
        ):
            sample(config, inputs, missing, samplers, parts, progress)
    parts.merge(len(inputs.chunks))
    return summarize(parts, config, labels) | progress.speed()


def preview(config: SampleConfig) -> None:
    """Check everything and print the plan, where the rewards come from and the first prompts."""
    inputs = read_inputs(config)
    say(plan(config, inputs, len(inputs.chunks)))
    check_memory(config, resolve_model(config.policy.model), inputs.compute_dtype, None, inputs.prompts)
    preview_prompts(resolve_model(config.policy.model), config.engine, inputs.prompts, config.rewards)
    preview_end(config.run_dir)


def read_inputs(config: SampleConfig) -> Inputs:
    """Read and check model folder, rewards and data; every error is found before an actor starts.

    Raises:
        ConfigError, PolicyError, DataError, RewardLoadError: names file, field and fix.
    """

    from grpo.tracking.run_dir import facts, hash_columns, hash_prompts, model_hash
    from policies.tokenizer import load_tokenizer
    from rewards.code.notes import import_notes
    from rewards.hosts.pool import check_reward
    from rewards.scoring.needs import check_prompts
    from rollout.chunks import make_chunks
    from rollout.types import SamplingParams

    model_dir = resolve_model(config.policy.model)
    policy = read_facts(model_dir)
    needs = [check_reward(reward.name, reward.arguments) for reward in config.rewards]
    for note in import_notes(config.rewards):
        say(escape(note))
    tokenizer = load_tokenizer(model_dir)
    prompts = [p for data in read_and_show([config.data, *config.mix], tokenizer) for p in data]
    check_prompts(config.rewards, needs, prompts)
    by_id: dict[str, Prompt] = {}
    twice = [(by_id[p.id], p) for p in prompts if by_id.setdefault(p.id, p) is not p]
    if twice:
        first, again = twice[0]
        raise ConfigError(
            f"mix: {len(twice)} prompts are in two sources, the first in {first.source} and {again.source}: "
            f"{again.text[-80:]!r}; leave them out of one"
        )
    context = check_room(prompts, config.sampling.max_tokens, config.engine, policy)
    check_kept(config.keep_columns, prompts)
    hashes = {"prompts": hash_prompts(prompts), "columns": hash_columns(prompts)}
    manifest = facts(config, config.seed, hashes, model_dir)
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
        context=context,
        model=model_hash(manifest),
        manifest=manifest,
    )


def check_kept(columns: Sequence[str], prompts: Sequence[Prompt]) -> None:
    """Check that every prompt has the columns to keep.

    Raises:
        ConfigError: names a source without one of them, or a column that samples have anyway.
    """
    from grpo.tracking.sample_row import COLUMNS

    if twice := [name for name in columns if name in COLUMNS]:
        raise ConfigError(f"keep_columns: samples have a column {twice[0]!r} of their own; leave it out")
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
    """Sample and score the chunks with these numbers; each becomes a part as soon as it is complete."""
    numbers = {inputs.chunks[n].id: n for n in missing}
    waiting: dict[int, list[tuple[SampleGroup, object]]] = {n: [] for n in missing}
    complete: list[int] = []

    def write_complete() -> None:
        while complete:
            number = complete.pop(0)
            chunk, is_first = inputs.chunks[number], progress.samples == 0
            rows = chunk_rows(chunk, waiting.pop(number), samplers, inputs.model, config, is_first)
            parts.write(number, rows)
            say(progress.line(rows))

    samplers.rollouts.wait_started()
    starting("sampling")
    progress.start()
    for chunk_id, group in samplers.rollouts.run([inputs.chunks[n] for n in missing]):
        # The workers already sample another chunk, so waiting here for the last rewards of this one delays nothing.
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
    model: str | None,
    config: SampleConfig,
    is_first: bool,
) -> list[SampleRow]:
    """Return the rows of a complete chunk, in prompt order.

    Raises:
        RunError: it is the first of this call, and every verdict is an error.
    """
    from grpo.tracking.sample_row import group_rows
    from rewards.scoring.dead import find_death
    from rewards.types import Score, ScoredGroup

    if config.rewards:
        scored = samplers.rewards.collect([ticket for _, ticket in groups])
        death = find_death(scored, weights={}, alive=frozenset())
        if is_first and death is not None:
            raise RunError(f"{death}\nFix the reward and run the same command again")
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
    """Counts samples and tokens, for the line on screen and the speed in the summary."""

    labels: Sequence[str]
    total: int
    """Samples of this call."""
    started: float | None = None
    samples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Seconds from the first chunk's start to the last part."""
    called: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Start the clock: the engines are ready."""
        self.started = time.monotonic()

    def line(self, rows: Sequence[SampleRow]) -> str:
        """Count a chunk that has been written; returns the line for the screen."""
        assert self.started is not None
        self.samples += len(rows)
        self.tokens += sum(row.tokens for row in rows)
        self.seconds = time.monotonic() - self.started
        left = self.seconds / self.samples * (self.total - self.samples)
        means = {name: mean([row.components.get(name) for row in rows]) for name in self.labels}
        shown = "".join(f"  {name} {value:.2f}" for name, value in means.items() if value is not None)
        return (
            f"{self.samples:,}/{self.total:,} samples  {self.tokens / self.seconds:,.0f} tokens/s{shown}  "
            f"ETA {clock(left)}"
        )

    def speed(self) -> dict[str, float | None]:
        """Return the speed of this call, for the summary."""
        return {
            "tokens_per_s": round(self.tokens / self.seconds, 1) if self.seconds else None,
            "minutes": round((time.monotonic() - self.called) / 60, 3),
        }


def summarize(parts: SampleParts, config: SampleConfig, labels: Sequence[str]) -> Summary:
    """Return the figures of all samples, of all calls together."""

    from grpo.tracking.sample_row import component_column
    from grpo.tracking.samples import read_columns

    columns = {name: component_column(name) for name in labels}
    rows = list(
        read_columns(
            parts.path, ["prompt_id", "tokens", "finish_reason", "total", "reason", *columns.values()]
        )
    )
    without = [row["reason"] for row in rows if row["total"] is None]
    tokens = sum(row["tokens"] for row in rows)
    return {
        "seed": config.seed,
        "prompts": len({row["prompt_id"] for row in rows}),
        "samples": len(rows),
        "tokens": tokens,
        "mean_length": round(tokens / len(rows), 3),
        "truncated": sum(row["finish_reason"] == "length" for row in rows) / len(rows),
        "without_score": len(without),
        "why_without_score": next((reason for reason in without if reason), None),
        "mean_score": mean([row["total"] for row in rows]),
        "components": {name: mean([row[column] for row in rows]) for name, column in columns.items()},
    }


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are not None; None without any."""
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None


def show(summary: Summary, labels: Sequence[str]) -> str:
    """Return the summary in one line, and why samples have no score in a second one."""
    means = {
        name: "–" if (value := summary["components"][name]) is None else f"{value:.3f}" for name in labels
    }
    shown = "  ".join(f"{name} {value}" for name, value in means.items())
    line = f"{summary['samples']:,} samples, {summary['tokens']:,} tokens  {shown}"
    if not labels or not summary["without_score"]:
        return line
    why = summary["why_without_score"] or "no reward had a verdict"
    return f"{line}\n  {summary['without_score']:,} samples have no score; the first: {escape(why)}"


def plan(config: SampleConfig, inputs: Inputs, missing: int) -> str:
    """Return the lines that announce the run: its prompts, samples and chunks."""
    prompts = sum(len(c.prompts) for c in inputs.chunks)
    head = (
        f"[bold]grpo sample[/] {escape(config.policy.model)} ({inputs.compute_dtype}) → {escape(str(config.run_dir))}"
        f"\n  {prompts:,} prompts × {config.samples} = {prompts * config.samples:,} samples in "
        f"{len(inputs.chunks)} chunks"
    )
    done = len(inputs.chunks) - missing
    return head + (f"; {done} are done already" if done else "")


def key_figure(figures: Figures) -> str:
    """Return the number of samples and their mean score."""
    return f"{figures.get('samples', 0):,} samples  score {number(figures, 'mean_score')}"


def workload(config: SampleConfig, plan: StagePlan, mean: float | None) -> Workload:
    """Return the completions of all prompts; `mean` is their mean length in tokens."""
    sources = [config.data, *config.mix]
    return sampling_workload(sources, plan, config.samples, config.sampling.max_tokens, mean)


STAGE = Stage(
    name="sample",
    help="Sample completions of many prompts, scored, into a Parquet. Run it again to go on where it stopped.",
    example="grpo sample sample.toml --model runs/dev2/policy --set samples=8",
    config=SampleConfig,
    run=run,
    outputs={"samples": "samples.parquet", "summary": "summary.json"},
    key_figure=key_figure,
    inputs=("policy.model", "data.source", "mix.*.source", *REWARD_INPUTS),
    main_output="samples",
    options=(MODEL,),
    preview=preview,
    components=lambda config: component_labels(config.rewards),
    workload=workload,
    observe=sampled_tokens,
)
