"""`grpo eval`: held-out pass@1, pass@k and cons@k of one model, by kind of prompt."""

from __future__ import annotations

import json
import time

from rich.table import Table

from data_recipes.prompts.datasets import load_prompts
from grpo.algorithm.schedules import max_tokens_at
from grpo.cluster.ray_session import connect
from grpo.cluster.rl_cluster import start_samplers
from grpo.common.console import console
from grpo.common.errors import ConfigError
from grpo.common.hardware import resolve_compute_dtype
from grpo.config.evaluate import EvalStageConfig
from grpo.rl.evaluate import EvalResult, shown
from grpo.rl.loop import run_eval
from grpo.stages.rl import check_room, stop_tokens
from grpo.tracking.metrics import MetricsWriter
from grpo.tracking.run_dir import facts, hash_prompts, model_hash, write_atomic
from grpo.tracking.samples import SampleWriter
from policies.facts import read_facts, resolve_model
from policies.tokenizer import load_tokenizer
from rewards.hosts.pool import check_reward
from rewards.scoring.scorer import component_labels


def run(config: EvalStageConfig, address: str | None) -> EvalResult:
    """Evaluate policy.model on eval.data; writes eval.jsonl, the samples and summary.json into config.run_dir.

    Raises:
        ConfigError, PolicyError, DataError, RewardLoadError: names file, field and mend.
    """
    assert config.eval.data is not None
    started = time.monotonic()
    model_dir = resolve_model(config.policy.model)
    policy = read_facts(model_dir)
    for reward in config.rewards:
        check_reward(reward.name, reward.params)
    labels = component_labels(config.rewards)
    if config.eval.correct not in labels:
        raise ConfigError(
            f"eval.correct = {config.eval.correct!r} is none of the rewards: {', '.join(labels)}"
        )
    tokenizer = load_tokenizer(model_dir)
    prompts = load_prompts(config.eval.data, tokenizer)
    limit = config.eval.max_tokens or max_tokens_at(0, config.sampling)
    check_room(prompts, limit, config.engine.max_model_len or policy.max_positions)
    stops = stop_tokens(config.sampling.stop_tokens, tokenizer)
    dtype = resolve_compute_dtype(config.policy.compute_dtype, policy.hidden_size)
    with connect(address):
        samplers = start_samplers(config, model_dir, dtype, version=0)
        try:
            samplers.rollouts.wait_started()
            sampling = time.monotonic()
            result, scored = run_eval(config, 0, prompts, samplers.rollouts, samplers.rewards, stops)
            seconds = time.monotonic() - sampling
        finally:
            samplers.close()
    config.run_dir.mkdir(parents=True, exist_ok=True)
    manifest = facts(config.seed, {"eval": hash_prompts(prompts)}, model_dir)
    write_atomic(config.run_dir / "manifest.json", json.dumps(manifest, indent=2) + "\n")
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
    console.print(table(result, str(model_dir)))
    return result


def table(result: EvalResult, title: str) -> Table:
    """The result as a table for people."""
    out = Table(title=title, show_header=False)
    out.add_row(f"pass@1 over {result.k}", f"{result.pass1:.3f}  [{result.ci_low:.3f}, {result.ci_high:.3f}]")
    for k, value in shown(result.pass_at).items():
        if k != "1":
            out.add_row(f"pass@{k}", f"{value:.3f}")
    undecided = (
        f"  ({result.votes_undecided} pairs of answers not compared)" if result.votes_undecided else ""
    )
    out.add_row(f"cons@{result.k}", f"{result.consk:.3f}{undecided}")
    for name, value in result.components.items():
        out.add_row(f"reward {name}", f"{value:.3f}")
    for name, value in result.by_group.items():
        out.add_row(f"pass@1, {name}", f"{value:.3f}")
    if len(result.by_kind) > 1:
        for kind, means in result.by_kind.items():
            out.add_row(kind, "  ".join(f"{name} {value:.3f}" for name, value in means.items()))
    out.add_row("length", f"{result.length:.1f} tokens, {result.truncated:.1%} truncated")
    out.add_row("problems", f"{result.n_problems} ({result.abstained} samples without a verdict)")
    return out
