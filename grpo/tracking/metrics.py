"""What a run measures: metrics.jsonl, eval.jsonl and TensorBoard's events.

    writer = MetricsWriter(run_dir, resume_step=40)      # rows of steps after 40 are dropped: they are done again
    writer.write(41, {"reward/total": 1.31, "policy/kl": 0.002, …})
    writer.write_eval({"step": 41, "pass1": 0.62, …})

`METRICS` is the one list of names, units and meanings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from grpo.common.console import say
from grpo.tracking.event_file import EventFile
from grpo.tracking.jsonl import append_rows, read_rows, rewrite_rows, truncate_to
from policies.json_types import JsonDict, JsonMapping

__all__ = ["METRICS", "Metric", "MetricsWriter", "describe"]


@dataclass(frozen=True)
class Metric:
    """Unit and meaning of one column of metrics.jsonl."""

    unit: str
    meaning: str


METRICS: dict[str, Metric] = {
    "reward/total": Metric("reward", "mean weighted sum of the components, over samples with a verdict"),
    "reward/<component>": Metric("reward", "mean unweighted value of one reward, over samples it judged"),
    "reward_std/<component>": Metric("reward", "standard deviation of the same"),
    "reward_abstained/<component>": Metric("share", "samples it applied to and gave no value for"),
    "reward_share/<component>": Metric(
        "share", "of the total's variance inside groups that it makes; below 0 if it pulls against the others"
    ),
    "length_corr/<component>": Metric(
        "1", "Pearson correlation inside groups with the completion's tokens, truncated ones left out"
    ),
    "audit/<count>": Metric(
        "count", "samples the second verifier judged: agree, only_reward, only_verifier, unjudged"
    ),
    "reward_by_kind/<kind>": Metric(
        "reward", "mean total over the prompts whose column `kind` has the value"
    ),
    "reward/abstained_share": Metric("share", "samples without a verdict (abstain, timeout, error)"),
    "length/mean": Metric("tokens", "completion length, the stop token included"),
    "length/max": Metric("tokens", "longest completion of the phase"),
    "length/truncated_share": Metric("share", "completions that the length limit ended"),
    "group/zero_variance_share": Metric(
        "share", "groups whose rewards are all equal: no advantage, no signal"
    ),
    "train/<count>": Metric(
        "count",
        "of what goes on to training: groups, samples, and what was left out on the way to the learner",
    ),
    "sampling/rounds": Metric("count", "dynamic sampling: rounds of drawing in the phase"),
    "sampling/discarded_groups": Metric(
        "count", "dynamic sampling: groups sampled and left out, their rewards being equal or missing"
    ),
    "sampling/discarded_tokens": Metric("tokens", "dynamic sampling: generated for those groups"),
    "sampling/filled_groups": Metric(
        "count", "dynamic sampling: groups without variance that train, because the rounds ran out"
    ),
    "rollout/staleness_max": Metric(
        "updates",
        "from the version that sampled the oldest first token of the phase to its end; mini_batches when sampling "
        "and training take turns",
    ),
    "loss": Metric(
        "loss", "of the mini-batch: the negated GRPO objective; supervised: of the batch, see the stage"
    ),
    "heldout/<name>": Metric(
        "as in training", "a supervised stage's loss and its parts on the held-out examples"
    ),
    "epoch": Metric("1", "passes over the data of a supervised stage so far"),
    "grad_norm": Metric("norm", "global gradient norm before clipping"),
    "zero_gradient": Metric("0 or 1", "1 if the gradient is exactly zero: the update taught nothing"),
    "lr": Metric("1", "learning rate of the update"),
    "policy/entropy": Metric("nats", "mean entropy of the next-token distribution on sampled tokens"),
    "policy/kl": Metric(
        "nats", "mean estimate of KL(policy ‖ reference) per token, by algorithm.kl_estimator"
    ),
    "policy/clip_frac": Metric("share", "tokens (or sequences) whose ratio the clip bounds"),
    "policy/clip_frac_<side>": Metric("share", "the same by side: low, high, dual"),
    "policy/ratio_mean": Metric("ratio", "mean π_θ/π_old"),
    "policy/ratio_max": Metric("ratio", "largest π_θ/π_old"),
    "policy/importance_mean": Metric("ratio", "mean importance weight π_old/π_engine after the bound"),
    "policy/importance_bound_frac": Metric("share", "importance weights that the bound changed"),
    "logprob_mismatch/mean": Metric("nats", "mean |log π_learner − log π_engine| on sampled tokens"),
    "logprob_mismatch/max": Metric("nats", "largest of the same"),
    "tokens/rollout": Metric("tokens", "generated in the phase, discarded groups included"),
    "tokens/learner": Metric("tokens", "computed by the learner in the update, prompts counted once"),
    "tokens_per_s": Metric("tokens/s", "tokens/learner over time/update_s"),
    "loss/next": Metric("nats", "with multi-token prediction: of the next token alone"),
    "loss/mtp": Metric("nats", "of multi-token prediction, before its weight; mean over depths"),
    "loss/balance": Metric(
        "loss", "the balance losses of [router], weighted; mean per sequence, sum of layers"
    ),
    "router/max_violation": Metric(
        "1",
        "heaviest expert's tokens over the mean load, less 1; mean over layers (MaxVio), trained tokens alone",
    ),
    "router/dropped_share": Metric("share", "of the (token, expert) pairs, dropped above router.capacity"),
    "gate/<name>": Metric("share", "pre-training: trace accuracy on the gate's problems, by operations"),
    "time/total_s": Metric("s", "pre-training so far"),
    "time/rollout_s": Metric("s", "sampling, with the scoring that overlaps it"),
    "time/reward_s": Metric("s", "scoring that was left when sampling had ended"),
    "time/old_ref_s": Metric("s", "old and reference log-probs"),
    "time/learn_s": Metric("s", "all updates of the phase"),
    "time/update_s": Metric("s", "one update"),
    "time/sync_s": Metric("s", "weights to the engines, digests and canary included"),
    "sync/bytes": Metric(
        "bytes", "tensors sent to each engine's reader: all weights, or LoRA adapters alone"
    ),
    "time/eval_s": Metric("s", "held-out evaluation that came before the phase"),
    "eval/pass@1": Metric("share", "mean over held-out problems of the share of correct samples"),
    "eval/pass@k": Metric("share", "problems with a correct sample among k"),
    "eval/pass@<j>": Metric("share", "pass@j of k samples, estimated without bias; for powers of two and k"),
    "eval/cons@k": Metric("share", "problems whose majority answer is correct"),
    "eval/rating": Metric("Elo", "Codeforces-style rating, by the ratings of the held-out problems"),
    "eval/format": Metric("share", "mean format reward of the evaluation"),
    "eval/length": Metric("tokens", "mean completion length of the evaluation"),
    "eval/reward/<component>": Metric(
        "reward", "mean of one reward over the evaluation's samples that have it"
    ),
}
"""reward*, length*, group/*, audit/* and tokens/rollout are over every sample of the phase, those that dynamic sampling
discards included: they describe the policy. train/*, loss, grad_norm, policy/* and logprob_mismatch/* are over what
trains.

Every name that may stand in metrics.jsonl and TensorBoard; <…> stands for one word."""

NOT_OF_EVERY_POLICY = (
    "loss/next",
    "loss/mtp",
    "loss/balance",
    "router/max_violation",
    "router/dropped_share",
)
NOT_OF_RL = ("epoch", *NOT_OF_EVERY_POLICY, "gate/<name>", "time/total_s", "heldout/<name>")
"""Names of `METRICS` that not every RL run measures: supervised training or pre-training alone does, or a policy with
experts or layers of multi-token prediction alone has them."""

EVAL_TAGS = {"pass1": "pass@1", "passk": "pass@k", "consk": "cons@k", "format": "format", "length": "length"}
"""Keys of eval.jsonl, and their names in trackers behind "eval/"."""


def shown(estimates: Mapping[str, float]) -> dict[str, float]:
    """Select what a screen shows of pass@k for every k, {"1": …, "2": …}: powers of two and the last."""
    return {k: value for k, value in estimates.items() if _is_shown(int(k), len(estimates))}


def _is_shown(k: int, most: int) -> bool:
    return k == most or k.bit_count() == 1


def eval_tags(row: JsonMapping) -> dict[str, float]:
    """Return what trackers show of a row of eval.jsonl, by the names of `METRICS`."""
    tags = {f"eval/{tag}": row[key] for key, tag in EVAL_TAGS.items() if row.get(key) is not None}
    estimates = shown(row.get("pass_at") or {})
    tags |= {f"eval/pass@{k}": value for k, value in estimates.items() if k != "1"}
    means = row.get("components") or {}
    if (rating := row.get("rating") or {}).get("value") is not None:
        tags["eval/rating"] = rating["value"]
    return tags | {f"eval/reward/{name}": value for name, value in means.items() if value is not None}


def rl_names(components: Sequence[str], samples: int) -> list[str]:
    """List what an RL run measures; "reward_by_kind/" stands for all that begin with it.

    Args:
        components: names of its rewards.
        samples: of each question of an evaluation; 0: it is not evaluated.
    """
    absent = set() if samples else {name for name in METRICS if name.startswith("eval/")}
    if not {"format", "format_r1"} & set(components):
        absent.add("eval/format")
    names: list[str] = []
    for name in METRICS:
        prefix, _, word = name.partition("<")
        if name in NOT_OF_RL or name in absent:
            continue
        if word == "component>":
            names += [prefix + component for component in components]
        elif word == "side>":
            names += [prefix + side for side in ("low", "high", "dual")]
        elif word == "j>":
            names += [f"{prefix}{k}" for k in range(2, samples + 1) if _is_shown(k, samples)]
        else:
            names.append(prefix)
    return names


def describe(name: str) -> Metric | None:
    """Look up unit and meaning of a metric; None for a name that `METRICS` does not know."""
    if name in METRICS:
        return METRICS[name]
    for pattern, metric in METRICS.items():
        prefix, open_bracket, _ = pattern.partition("<")
        if open_bracket and name.startswith(prefix) and len(name) > len(prefix):
            return metric
    return None


class MetricsWriter:
    """Appends to metrics.jsonl, eval.jsonl and TensorBoard's event file; each row is on disk when `write` returns."""

    def __init__(self, run_dir: Path, resume_step: int, tensorboard: bool = True) -> None:
        """Open the files of a run after `resume_step` updates (-1: a new run), and drop the rows of later steps.

        Args:
            run_dir: the run's.
            resume_step: updates that are done.
            tensorboard: write TensorBoard's event file too.

        Raises:
            BrokenRun: a row in the middle of a file is not JSON (a cut last row is a crash's and is dropped).
        """
        self._metrics = run_dir / "metrics.jsonl"
        self._evals = run_dir / "eval.jsonl"
        self._events = EventFile(run_dir / "tensorboard", resume_step) if tensorboard else None
        run_dir.mkdir(parents=True, exist_ok=True)
        self.truncate_to(resume_step)

    def truncate_to(self, step: int) -> None:
        """Drop what was written after `step` updates, since the run will do it again; atomic."""
        for path in (self._metrics, self._evals):
            truncate_to(path, step)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append the row of one update; `step` counts updates done, so the first row is 1."""
        append_rows(self._metrics, [{"step": step, **metrics}])
        self._show(step, metrics)

    def write_eval(self, row: JsonMapping) -> None:
        """Append one evaluation (`EvalResult.row()`); it replaces an earlier one of the same step."""
        before = [old for old in read_rows(self._evals) if old["step"] != row["step"]]
        rewrite_rows(self._evals, [*before, row])
        self._show(row["step"], eval_tags(row))

    def read(self) -> list[JsonDict]:
        """Return the rows of metrics.jsonl so far; a value that was not finite is NaN."""
        return [{k: math.nan if v is None else v for k, v in row.items()} for row in read_rows(self._metrics)]

    def read_eval(self) -> list[JsonDict]:
        """Return the rows of eval.jsonl so far."""
        return read_rows(self._evals)

    def _show(self, step: int, values: Mapping[str, float]) -> None:
        """Write the event file. It is a copy for the eye: the run goes on without it if it cannot be written."""
        if self._events is None:
            return
        try:
            self._events.scalars(step, values)
        except OSError as error:
            self._events = None
            say(f"[yellow]warning[/] tracker tensorboard: {escape(str(error))}; the run goes on without it")
