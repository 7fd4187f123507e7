"""`grpo eval`: held-out pass@1, pass@k and cons@k of one model."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from grpo.cluster import connect, start_samplers
from grpo.config import RlConfig
from grpo.errors import ConfigError
from grpo.evaluate import EvalResult
from grpo.loop import run_eval
from grpo.metrics import MetricsWriter, SampleWriter
from grpo.stages.rl import read_inputs


def run(config: RlConfig, address: str | None) -> EvalResult:
    """Evaluate policy.model on eval.data; writes eval.jsonl and the samples into config.run_dir."""
    if config.eval.data is None:
        raise ConfigError("grpo eval needs data: the recipe has no [eval.data] section")
    inputs = read_inputs(config)
    with connect(address):
        samplers = start_samplers(config, inputs.model_dir, inputs.compute_dtype, version=0)
        try:
            result, scored = run_eval(
                config,
                0,
                inputs.eval_prompts,
                samplers.rollouts,
                samplers.rewards,
                inputs.stop_token_ids,
            )
        finally:
            samplers.close()
    config.run_dir.mkdir(parents=True, exist_ok=True)
    MetricsWriter(config.run_dir, resume_step=-1).write_eval(result.row())
    SampleWriter(config.run_dir, resume_step=-1).write_eval(0, scored)
    Console().print(table(result, str(inputs.model_dir)))
    return result


def table(result: EvalResult, title: str) -> Table:
    """The result as a table for people."""
    out = Table(title=title, show_header=False)
    out.add_row(f"pass@1 over {result.k}", f"{result.pass1:.3f}  [{result.ci_low:.3f}, {result.ci_high:.3f}]")
    out.add_row(f"pass@{result.k}", f"{result.passk:.3f}")
    out.add_row(f"cons@{result.k}", f"{result.consk:.3f}")
    for name, value in result.components.items():
        out.add_row(f"reward {name}", f"{value:.3f}")
    for name, value in result.by_group.items():
        out.add_row(f"pass@1, {name}", f"{value:.3f}")
    out.add_row("length", f"{result.length:.1f} tokens, {result.truncated:.1%} truncated")
    out.add_row("problems", f"{result.n_problems} ({result.abstained} samples without a verdict)")
    return out
