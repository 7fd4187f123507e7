"""`grpo rl`: from a recipe to a trained policy. Checks everything cheap first, then starts the actors and the loop."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape

from data_recipes.prompts.datasets import load_prompts
from data_recipes.prompts.mixed_stream import MixedStream, Source
from grpo.cluster.placement import Cluster, start_cluster
from grpo.cluster.ray_session import connect
from grpo.common.console import say
from grpo.common.errors import ConfigError
from grpo.common.hardware import resolve_compute_dtype
from grpo.config.rl import RlConfig
from grpo.rl.evaluate import EvalResult
from grpo.rl.loop import LoopState, PhaseRecord, train
from grpo.tracking.guards import Guards
from grpo.tracking.metrics import MetricsWriter, SampleWriter, summary_line
from grpo.tracking.report.page import write_report
from grpo.tracking.run_dir import (
    check_or_write_manifest,
    facts,
    hash_columns,
    hash_prompts,
    open_run,
    write_atomic,
)
from grpo.training.checkpoint import latest
from policies.facts import PolicyFacts, read_facts, resolve_model
from policies.tokenizer import Tokenizer, load_tokenizer
from rewards.hosts.pool import check_reward
from rewards.scoring.scorer import component_labels, second_verifier
from rewards.types import ScoredGroup
from rollout.types import Prompt


@dataclass(frozen=True)
class Inputs:
    """Everything that is read and checked before an actor starts."""

    model_dir: Path
    facts: PolicyFacts
    tokenizer: Tokenizer
    prompts: list[Prompt]
    """To train on, of all sources."""
    sources: list[Source]
    """The same, by source."""
    eval_prompts: list[Prompt]
    compute_dtype: str
    stop_token_ids: tuple[int, ...]


def run(config: RlConfig, address: str | None) -> dict[str, Any]:
    """Train, or go on training, in config.run_dir; returns the summary."""
    started = time.monotonic()
    with open_run(config.run_dir, config) as resumed:
        summary_path = config.run_dir / "summary.json"
        if resumed and summary_path.exists():
            say(f"{config.run_dir} is complete; nothing to do")
            return json.loads(summary_path.read_text(encoding="utf-8"))
        inputs = read_inputs(config)
        hashes = {
            "train": hash_prompts(inputs.prompts),
            "train columns": hash_columns(inputs.prompts),
            "eval": hash_prompts(inputs.eval_prompts),
        }
        check_or_write_manifest(config.run_dir, facts(config.seed, hashes, inputs.model_dir))
        checkpoint = latest(config.run_dir / "checkpoints")
        state = LoopState.of(checkpoint)
        say(plan(config, inputs, state))
        with connect(address):
            cluster = start_cluster(
                config, inputs.model_dir, inputs.compute_dtype, canaries(inputs.prompts), checkpoint
            )
            try:
                recorder = Recorder(config, state, cluster, inputs.compute_dtype, started)
                stream = MixedStream(inputs.sources, config.seed)
                state = train(
                    config,
                    state,
                    stream,
                    inputs.eval_prompts,
                    cluster.samplers.rollouts,
                    cluster.samplers.rewards,
                    cluster.learners,
                    inputs.stop_token_ids,
                    recorder.on_phase,
                    recorder.on_eval,
                )
                cluster.learners.export(config.run_dir / "policy")
            finally:
                cluster.close()
        summary = recorder.summary(state)
        write_atomic(summary_path, json.dumps(summary, indent=2) + "\n")
        report = write_report(config.run_dir, config.run_dir / "report.html")
        say(f"policy: {config.run_dir / 'policy'}   report: {report}")
        return summary


def read_inputs(config: RlConfig) -> Inputs:
    """Read and check model folder, rewards and data; every fault is one error, before anything is launched.

    Raises:
        ConfigError, PolicyError, DataError, RewardLoadError: names file, field and mend.
    """
    model_dir = resolve_model(config.policy.model)
    policy = read_facts(model_dir)
    for reward in config.rewards:
        check_reward(reward.name, reward.params)
    if (second := second_verifier(config.audit, config.rewards)) is not None:
        check_reward(second.name, second.params)
    labels = component_labels(config.rewards)
    if config.eval.data is not None and config.eval.correct not in labels:
        raise ConfigError(
            f"eval.correct = {config.eval.correct!r} is none of the rewards: {', '.join(labels)}"
        )
    tokenizer = load_tokenizer(model_dir)
    sources = [Source(load_prompts(config.data, tokenizer), config.data_share)]
    sources += [Source(load_prompts(m, tokenizer), m.share, m.start_step) for m in config.mix]
    prompts = [p for source in sources for p in source.prompts]
    eval_prompts = load_prompts(config.eval.data, tokenizer) if config.eval.data else []
    check_lengths(config, policy, [*prompts, *eval_prompts])
    overlap = {p.id for p in prompts} & {p.id for p in eval_prompts}
    if overlap:
        raise ConfigError(
            f"{len(overlap)} of {len(eval_prompts)} evaluation prompts are also trained on; use another split"
        )
    return Inputs(
        model_dir=model_dir,
        facts=policy,
        tokenizer=tokenizer,
        prompts=prompts,
        sources=sources,
        eval_prompts=eval_prompts,
        compute_dtype=resolve_compute_dtype(config.policy.compute_dtype, policy.hidden_size),
        stop_token_ids=stop_tokens(config.sampling.stop_tokens, tokenizer),
    )


def stop_tokens(extra: Sequence[str], tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that end a completion: the tokenizer's own and the recipe's.

    Raises:
        ConfigError: a stop is not exactly one token.
    """
    ids = list(tokenizer.stop_token_ids)
    for text in extra:
        encoded = tokenizer.encode(text)
        if len(encoded) != 1:
            raise ConfigError(
                f"sampling.stop_tokens: {text!r} is {len(encoded)} tokens for this tokenizer, not one"
            )
        ids += encoded
    return tuple(ids)


def check_lengths(config: RlConfig, policy: PolicyFacts, prompts: Sequence[Prompt]) -> None:
    """Every prompt must leave room for the longest completion that the recipe allows."""
    limits = [config.sampling.max_tokens, *(int(s.value) for s in config.sampling.max_tokens_schedule)]
    limits += [config.eval.max_tokens] if config.eval.max_tokens else []
    check_room(prompts, max(limits), config.engine.max_model_len or policy.max_positions)


def check_room(prompts: Sequence[Prompt], completion: int, context: int) -> None:
    """Every prompt must leave room in the context for a completion of so many tokens.

    Raises:
        ConfigError: names the longest prompt and what to lower.
    """
    longest = max(prompts, key=lambda p: len(p.token_ids))
    if len(longest.token_ids) + completion > context:
        room = context - len(longest.token_ids)
        lower = f"Lower sampling.max_tokens to {room}, or leave" if room > 0 else "Leave"
        raise ConfigError(
            f"prompt {longest.id} has {len(longest.token_ids)} tokens; with {completion} to generate that is over "
            f"the context of {context}. {lower} long prompts out (data.max_prompt_tokens)"
        )


def canaries(prompts: Sequence[Prompt], count: int = 2, tokens: int = 64) -> list[tuple[int, ...]]:
    """Token ids whose log-probs both sides compute after each sync: ends of the first prompts, where they differ."""
    return [p.token_ids[-tokens:] for p in prompts[:count]]


def plan(config: RlConfig, inputs: Inputs, state: LoopState) -> str:
    """What is about to happen, in numbers."""
    a = config.algorithm
    per_phase = a.questions_per_step * a.mini_batches
    lines = [
        f"[bold]grpo rl[/] {escape(str(inputs.model_dir))} ({inputs.facts.architecture}, {inputs.compute_dtype}) "
        f"→ {escape(str(config.run_dir))}",
        f"  {len(inputs.prompts):,} prompts, {len(inputs.eval_prompts):,} held out; a phase: {per_phase} questions × "
        f"{a.group_size} = {per_phase * a.group_size:,} samples, {a.mini_batches} update(s); {config.steps:,} updates, "
        f"{config.steps // a.mini_batches * per_phase / len(inputs.prompts):.1f} epochs",
    ]
    if config.token_budget:
        lines.append(f"  ends after {config.token_budget:,} completion tokens, if that is earlier")
    if state.step:
        lines.append(f"  resuming after step {state.step:,}")
    return "\n".join(lines)


@dataclass
class Recorder:
    """Writes what the loop reports: metrics, samples, evaluations, the live line; and lets the guards judge."""

    config: RlConfig
    state: LoopState
    cluster: Cluster
    compute_dtype: str
    started: float
    warned: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        # Without a checkpoint the evaluation of step 0 is done again too.
        resume_step = self.state.step or -1
        self.metrics = MetricsWriter(self.config.run_dir, resume_step)
        self.samples = SampleWriter(self.config.run_dir, resume_step)
        names = component_labels(self.config.rewards)
        default_gap = 1e-3 if self.compute_dtype == "float32" else 0.1
        bounds = self.config.guards
        gap = bounds.max_logprob_mismatch or default_gap
        self.guards = Guards(bounds, names, gap, self.config.audit, self.config.eval.correct)
        self.eta_from = (time.monotonic(), self.state.step)

    def on_phase(self, phase: PhaseRecord) -> None:
        """One line on screen, one row per update, the phase's samples; then the guards."""
        for report in phase.reports:
            shared = phase.metrics if report is phase.reports[-1] else {}
            row = {**shared, **report.metrics}
            self.metrics.write(report.step + 1, row)
        merged = {**phase.metrics, **phase.reports[-1].metrics}
        done = phase.end.step
        self.samples.write(done, phase.scored, phase.advantages)
        rows = self.cluster.samplers.rollouts.ledger_rows()
        write_atomic(self.config.run_dir / "ledger.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
        say(summary_line(done, self.config.steps, merged, self.eta_s(phase)))
        for finding in self.guards.check(merged):
            if (finding.kind, finding.component) not in self.warned:
                say(f"[yellow]warning[/] {escape(finding.text)}")
                self.warned.add((finding.kind, finding.component))

    def eta_s(self, phase: PhaseRecord) -> float:
        """Seconds that the remaining updates, or tokens if they end first, will take at the pace so far."""
        since, first = self.eta_from
        done = phase.end.step
        left = float(self.config.steps - done)
        if self.config.token_budget is not None and phase.end.tokens:
            tokens_left = max(self.config.token_budget - phase.end.tokens, 0)
            left = min(left, tokens_left * done / phase.end.tokens)
        return (time.monotonic() - since) / max(done - first, 1) * left

    def on_eval(self, result: EvalResult, scored: Sequence[ScoredGroup]) -> None:
        """One row of eval.jsonl, the samples, a line on screen."""
        self.metrics.write_eval(result.row())
        self.samples.write_eval(result.step, scored)
        if result.step == self.state.step:
            # The evaluation before the first update says nothing of the updates' pace.
            self.eta_from = (time.monotonic(), result.step)
        groups = " ".join(f"{name}:{value:.2f}" for name, value in result.by_group.items())
        say(
            f"[bold cyan]eval[/] step {result.step}: pass@1 [bold]{result.pass1:.3f}[/] "
            f"[{result.ci_low:.3f}, {result.ci_high:.3f}] pass@{result.k} {result.passk:.3f} cons@{result.k} "
            f"{result.consk:.3f} length {result.length:.1f} {groups}"
        )

    def summary(self, end: LoopState) -> dict[str, Any]:
        """What summary.json holds: before, after, how long, how exact."""
        rows = self.metrics.read()
        evals = self.metrics.read_eval()
        first, last = (evals[0], evals[-1]) if evals else ({}, {})
        return {
            "seed": self.config.seed,
            "steps": end.step,
            "trained_tokens": end.tokens,
            "base_pass1": first.get("pass1"),
            "base_ci": [first.get("ci_low"), first.get("ci_high")],
            "base_format": first.get("format"),
            "base_length": first.get("length"),
            "final_pass1": last.get("pass1"),
            "final_ci": [last.get("ci_low"), last.get("ci_high")],
            "final_format": last.get("format"),
            "final_length": last.get("length"),
            "eval_problems": last.get("n_problems"),
            "eval_samples": last.get("k"),
            "logprob_mismatch_max": max(
                (r["logprob_mismatch/max"] for r in rows if "logprob_mismatch/max" in r), default=None
            ),
            "logprob_mismatch_mean": max(
                (r["logprob_mismatch/mean"] for r in rows if "logprob_mismatch/mean" in r), default=None
            ),
            "worker_restarts": self.cluster.samplers.rollouts.restarts,
            "minutes": round((time.monotonic() - self.started) / 60, 3),
        }
