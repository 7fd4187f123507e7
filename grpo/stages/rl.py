"""`grpo rl`: from a recipe to a trained policy. Checks all that is cheap first, then starts the actors and the loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from grpo.common.console import say, starting
from grpo.common.errors import ConfigError, RunError
from grpo.common.hardware import resolve_compute_dtype
from grpo.common.served import served
from grpo.config.adapter import check_start
from grpo.config.mesh import check_launch
from grpo.config.mtp import check_mtp
from grpo.config.plan import StagePlan
from grpo.config.rl import RlConfig
from grpo.config.router import check_router
from grpo.memory.launch import check_memory
from grpo.stages.figures import Figures, Finished, TokenTime, number
from grpo.stages.launch_data import read_and_show
from grpo.stages.lengths import check_lengths
from grpo.stages.preview import preview_end, preview_prompts
from grpo.stages.stage import MODEL, POLICY_OUTPUTS, REWARD_INPUTS, Stage
from grpo.stages.workload import Phases, Workload, count_prompts, interpolate
from policies.facts import PolicyFacts, read_config, read_facts, resolve_model
from rewards.config import component_labels

if TYPE_CHECKING:
    from data_recipes.prompts.mixed_stream import Source
    from grpo.rl.loop import LoopState
    from grpo.tracking.run_once import Summary
    from policies.tokenizer import Tokenizer
    from rollout.types import Prompt

BUSY = ("time/rollout_s", "time/reward_s", "time/old_ref_s", "time/learn_s", "time/sync_s")
"""The parts of a phase that its tokens take."""
FIRST_PHASE = {
    "eval": "evaluating the policy as it is",
    "rollout": "first phase: sampling",
    "old_ref": "first phase: log-probs",
    "learn": "first phase: updating",
}
"""What is printed when a part of the first phase begins."""
LAST_PART = "sync"
SHOWN_PHASES = 64
"""Phases that stand for all of a run whose lengths change."""


@dataclass(frozen=True)
class Inputs:
    """All that is read and checked before an actor starts."""

    model_dir: Path
    facts: PolicyFacts
    tokenizer: Tokenizer
    prompts: list[Prompt]
    """The prompts of all sources to train on."""
    sources: list[Source]
    """The same prompts, by source."""
    eval_prompts: list[Prompt]
    compute_dtype: str
    """What policy.compute_dtype means on this machine; a cluster may mean another."""
    context: int
    """Tokens that the longest prompt and its completion need."""
    stop_token_ids: tuple[int, ...]
    adapter: dict[str, str]
    """Digests of the files of policy.lora.adapter."""


def run(config: RlConfig, address: str | None) -> Summary:
    """Train, or go on training, in config.run_dir; returns the summary."""
    from grpo.tracking.report.show import show_policy, show_stop
    from grpo.tracking.run_once import run_once

    return run_once(
        config,
        config.run_dir,
        lambda: train_policy(config, address),
        lambda _: show_policy(config.run_dir),
        on_stop=lambda: show_stop(config.run_dir),
    )


def train_policy(config: RlConfig, address: str | None) -> Summary:
    """Check everything, start the actors, train to the end and export the policy; returns the summary."""
    from data_recipes.prompts.mixed_stream import MixedStream
    from grpo.cluster.ray_session import connect
    from grpo.cluster.rl_cluster import start_cluster
    from grpo.rl.loop import LoopState, train
    from grpo.rl.recorder import make_recorder, run_summary
    from grpo.tracking.activity import ActivityLog
    from grpo.tracking.best import announce_end
    from grpo.tracking.report.live import LiveReport
    from grpo.tracking.run_dir import (
        check_or_write_manifest,
        facts,
        hash_columns,
        hash_prompts,
        model_hash,
        refuse_less,
    )
    from grpo.tracking.trackers.process import tracked
    from grpo.training.checkpoint import latest

    started = time.monotonic()
    starting("checking rewards and data")
    inputs = read_inputs(config)
    hashes = {"train": hash_prompts(inputs.prompts), "train columns": hash_columns(inputs.prompts)}
    hashes |= {"eval": hash_prompts(inputs.eval_prompts), **inputs.adapter}
    manifest = facts(config, config.seed, hashes, inputs.model_dir)
    checkpoint = latest(config.run_dir / "checkpoints")
    state = LoopState.of(checkpoint)
    refuse_less(config.run_dir, "steps", config.steps, state.step)
    check_or_write_manifest(config.run_dir, config, manifest, state.step)
    say(plan(config, inputs, state))
    check_memory(config, inputs.model_dir, inputs.compute_dtype, address, inputs.prompts)
    canary_ids = canaries(inputs.prompts)
    with (
        tracked(config.trackers, config.run_dir, config, resume_step=state.step or -1),
        served(config) as ready,
        connect(address, config.run_dir),
        closing(start_cluster(ready, inputs.model_dir, inputs.context, canary_ids, checkpoint)) as cluster,
        closing(LiveReport(config.run_dir)) as report,
    ):
        starting("first weight sync, as soon as the engines are up")
        rollouts = cluster.samplers.rollouts
        recorder = make_recorder(
            config,
            state,
            compute_dtype=cluster.compute_dtype,
            model=model_hash(manifest),
            attempts=rollouts.ledger_rows,
        )
        end = train(
            config=config,
            state=state,
            stream=MixedStream(inputs.sources, config.seed),
            eval_prompts=inputs.eval_prompts,
            rollouts=rollouts,
            rewards=cluster.samplers.rewards,
            learners=cluster.learners,
            stop_token_ids=inputs.stop_token_ids,
            on_scored=recorder.on_scored,
            on_phase=recorder.on_phase,
            on_eval=recorder.on_eval,
            best=recorder.best,
            on_checkpoint=report.update,
            on_part=announcing(ActivityLog(config.run_dir).begin, recorder.screen.begin),
        )
        refuse_untrained(end)
        exported = announce_end(recorder.best, end.step)
        cluster.learners.export(config.run_dir / "policy", exported, end.step)
    return run_summary(
        config.seed,
        end,
        recorder.files.metrics,
        worker_restarts=rollouts.restarts,
        minutes=(time.monotonic() - started) / 60,
        best=recorder.best.summary(end.step),
    )


def preview(config: RlConfig) -> None:
    """Check everything and print the plan, where the rewards come from and the first prompts."""
    from grpo.rl.loop import LoopState
    from grpo.training.checkpoint import latest

    inputs = read_inputs(config)
    say(plan(config, inputs, LoopState.of(latest(config.run_dir / "checkpoints"))))
    check_memory(config, inputs.model_dir, inputs.compute_dtype, None, inputs.prompts)
    preview_prompts(inputs.model_dir, config.engine, inputs.prompts, config.rewards)
    preview_end(config.run_dir)


def announcing(begin: Callable[[str, int], None], measure: Callable[[], None]) -> Callable[[str, int], None]:
    """Return `begin` that also prints each part of the first phase when it begins; later phases have a line each.

    `measure` is called when that phase begins: what went before, the start of the engines and the evaluation, says
    nothing about the time of an update.
    """
    waiting = dict(FIRST_PHASE)

    def announced(part: str, step: int) -> None:
        if part in waiting:
            measure()
            starting(waiting.pop(part))
        if part == LAST_PART:
            waiting.clear()
        begin(part, step)

    return announced


def refuse_untrained(end: LoopState) -> None:
    """Refuse to export the policy of a run that has trained on nothing.

    Raises:
        RunError: no sample has trained in any update.
    """
    if end.step and not end.tokens:
        raise RunError(
            f"the run has trained on nothing: in {end.step:,} updates no sample had a verdict and a group to train in; "
            "read the reasons in samples/*.parquet. No policy is exported"
        )


def read_inputs(config: RlConfig) -> Inputs:
    """Read and check model folder, rewards and data; every error is found before an actor starts.

    Raises:
        ConfigError, PolicyError, DataError, RewardLoadError: names file, field and fix.
    """
    from data_recipes.prompts.mixed_stream import Source
    from grpo.algorithm.check import check_functions
    from grpo.tracking.best import check_best
    from grpo.tracking.metrics import rl_names
    from grpo.tracking.trackers.registry import check_trackers
    from policies.tokenizer import load_tokenizer
    from rewards.code.notes import import_notes
    from rewards.hosts.pool import check_reward
    from rewards.scoring.needs import check_decides, check_judged, check_prompts
    from rewards.scoring.scorer import second_verifier

    check_trackers(config.trackers)
    check_functions(config.algorithm)
    model_dir = resolve_model(config.policy.model)
    policy = read_facts(model_dir)
    shape = read_config(model_dir)
    check_launch(config.learner, shape)
    check_router(config.router, shape)
    check_mtp(config.mtp, policy.mtp_layers)
    adapter = check_start(config.policy, model_dir)
    second = second_verifier(config.audit, config.rewards)
    rewards = [*config.rewards, *([] if second is None else [second])]
    needs = [check_reward(reward.name, reward.arguments) for reward in rewards]
    for note in import_notes(config.rewards):
        say(escape(note))
    labels = component_labels(config.rewards)
    samples = config.eval.samples if config.eval.data is not None else 0
    check_best(config.best, rl_names(labels, samples), config.eval.every_steps)
    tokenizer = load_tokenizer(model_dir)
    held_out = [config.eval.data] if config.eval.data else []
    data, *more = read_and_show([config.data, *config.mix, *held_out], tokenizer)
    sources = [Source(data, config.data_share)]
    sources += [Source(p, m.share, m.start_step) for p, m in zip(more, config.mix, strict=False)]
    prompts = [p for source in sources for p in source.prompts]
    eval_prompts = more[-1] if held_out else []
    check_prompts(rewards, needs, [*prompts, *eval_prompts])
    check_judged(config.rewards, [p for source in sources if not source.start_step for p in source.prompts])
    if held_out:
        check_decides(config.rewards, config.eval.correct, eval_prompts)
    context = check_lengths(config, policy, [*prompts, *eval_prompts])
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
        context=context,
        stop_token_ids=stop_tokens(config.sampling.stop_tokens, tokenizer),
        adapter=adapter,
    )


def stop_tokens(extra: Sequence[str], tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the ids that end a completion: the tokenizer's own and the recipe's.

    Raises:
        ConfigError: a stop of the recipe is not exactly one token.
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


def canaries(prompts: Sequence[Prompt], count: int = 2, tokens: int = 64) -> list[tuple[int, ...]]:
    """Return token ids whose log-probs both sides compute to prove a sync: the ends of the first prompts."""
    return [p.token_ids[-tokens:] for p in prompts[:count]]


def plan(config: RlConfig, inputs: Inputs, state: LoopState) -> str:
    """Return the lines that announce the run: its prompts, phases and updates."""
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


def key_figure(figures: Figures) -> str:
    """Return pass@1 before and after; the number of updates for a run without evaluations."""
    if figures.get("final_pass1") is None:
        return f"{figures.get('steps', 0):,} updates"
    return f"pass@1 {number(figures, 'base_pass1')} → {number(figures, 'final_pass1')}"


def workload(config: RlConfig, plan: StagePlan, mean: float | None) -> Workload:
    """Return the rollouts and updates of a run; `mean` is of a completion, where plan.lengths does not say more."""
    from grpo.algorithm.schedules import max_tokens_at

    a = config.algorithm
    prompts = count_prompts([config.data, *config.mix], plan)
    if mean is None and not plan.lengths:
        return Workload(config.steps, prompts, plan.prompt_tokens, a.group_size)
    lengths = plan.lengths or ((0, mean or 0.0),)
    questions = a.questions_per_step * a.mini_batches
    steps = config.steps
    if config.token_budget is not None:
        phase_tokens = questions * a.group_size * interpolate(lengths, 0)
        steps = min(steps, math.ceil(config.token_budget / phase_tokens) * a.mini_batches)
    count = steps // a.mini_batches
    shown = min(count, SHOWN_PHASES) if plan.lengths or config.sampling.max_tokens_schedule else 1
    phases = []
    for i in range(shown):
        step = int((i + 0.5) * steps / shown)
        limit = max_tokens_at(step, config.sampling)
        length = min(interpolate(lengths, step), limit)
        phases.append(Phases(count / shown, questions * a.group_size, length, limit))
    generated = sum(p.count * p.samples * p.mean for p in phases)
    return Workload(
        steps=steps,
        prompts=prompts,
        prompt_tokens=plan.prompt_tokens,
        group=a.group_size,
        phases=tuple(phases),
        trained=generated + count * questions * plan.prompt_tokens,
        passes=1 + (a.kl_coef > 0),
        recompute=config.learner.recompute,
        mean_context=plan.prompt_tokens + generated / (count * questions * a.group_size) / 2,
    )


def observe(finished: Finished) -> TokenTime:
    """Return the time of the completions of a finished run, from the metrics of its phases."""
    phases = [row for row in finished.rows if "time/rollout_s" in row]
    return TokenTime(
        busy_s=sum(row.get(part, 0.0) for row in phases for part in BUSY),
        tokens=sum(row["tokens/rollout"] for row in phases),
        items=sum(row["tokens/rollout"] / row["length/mean"] for row in phases if row["length/mean"]),
    )


STAGE = Stage(
    name="rl",
    help="Reinforcement learning by GRPO. Run it again to resume where it stopped.",
    example="grpo rl r1-zero-tiny --model runs/base/policy --set steps=20",
    config=RlConfig,
    run=run,
    outputs={**POLICY_OUTPUTS, "samples": "samples"},
    key_figure=key_figure,
    inputs=(
        "policy.model",
        "policy.lora.adapter",
        "data.source",
        "mix.*.source",
        "eval.data.source",
        "audit.verifier",
        "algorithm.advantage",
        "algorithm.policy_loss",
        "algorithm.kl_estimator",
        *REWARD_INPUTS,
    ),
    options=(MODEL,),
    preview=preview,
    components=lambda config: component_labels(config.rewards),
    workload=workload,
    observe=observe,
)
