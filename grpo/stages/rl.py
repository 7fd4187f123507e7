"""`grpo rl`: from a recipe to a trained policy. Checks everything cheap first, then starts the actors and the loop."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from data_recipes.prompts.datasets import load_prompts
from data_recipes.prompts.mixed_stream import MixedStream, Source
from grpo.algorithm.check import check_functions
from grpo.cluster.ray_session import connect
from grpo.cluster.rl_cluster import start_cluster
from grpo.common.console import say
from grpo.common.errors import ConfigError
from grpo.common.hardware import resolve_compute_dtype
from grpo.config.rl import RlConfig
from grpo.rl.loop import LoopState, train
from grpo.rl.recorder import make_recorder, run_summary
from grpo.tracking.report.page import write_report
from grpo.tracking.run_dir import (
    check_or_write_manifest,
    facts,
    hash_columns,
    hash_prompts,
    model_hash,
    open_run,
    write_atomic,
)
from grpo.training.checkpoint import latest
from policies.facts import PolicyFacts, read_facts, resolve_model
from policies.tokenizer import Tokenizer, load_tokenizer
from rewards.hosts.pool import check_reward
from rewards.scoring.scorer import component_labels, second_verifier
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
        manifest = facts(config.seed, hashes, inputs.model_dir)
        check_or_write_manifest(config.run_dir, manifest)
        checkpoint = latest(config.run_dir / "checkpoints")
        state = LoopState.of(checkpoint)
        say(plan(config, inputs, state))
        with connect(address):
            cluster = start_cluster(
                config, inputs.model_dir, inputs.compute_dtype, canaries(inputs.prompts), checkpoint
            )
            try:
                rollouts = cluster.samplers.rollouts
                recorder = make_recorder(
                    config,
                    state,
                    compute_dtype=inputs.compute_dtype,
                    model=model_hash(manifest),
                    attempts=rollouts.ledger_rows,
                )
                stream = MixedStream(inputs.sources, config.seed)
                state = train(
                    config=config,
                    state=state,
                    stream=stream,
                    eval_prompts=inputs.eval_prompts,
                    rollouts=rollouts,
                    rewards=cluster.samplers.rewards,
                    learners=cluster.learners,
                    stop_token_ids=inputs.stop_token_ids,
                    on_phase=recorder.on_phase,
                    on_eval=recorder.on_eval,
                )
                cluster.learners.export(config.run_dir / "policy")
            finally:
                cluster.close()
        summary = run_summary(
            config.seed,
            state,
            recorder.files.metrics,
            worker_restarts=rollouts.restarts,
            minutes=(time.monotonic() - started) / 60,
        )
        write_atomic(summary_path, json.dumps(summary, indent=2) + "\n")
        report = write_report(config.run_dir, config.run_dir / "report.html")
        say(f"policy: {config.run_dir / 'policy'}   report: {report}")
        return summary


def read_inputs(config: RlConfig) -> Inputs:
    """Read and check model folder, rewards and data; every fault is one error, before anything is launched.

    Raises:
        ConfigError, PolicyError, DataError, RewardLoadError: names file, field and mend.
    """
    check_functions(config.algorithm)
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
