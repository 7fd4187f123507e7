"""`grpo pretrain`: a tiny base policy from nothing, trained until it can work step by step, and not further.

    corpus batch n ─▶ packed forward, cross-entropy ─▶ AdamW ─▶ router bias ─▶ every few steps: the gate
    warm-up │ constant rate until the gate opens │ linear decay of rate and γ │ the gate once more, export

Step n reads corpus batch n, so a run that resumes at its last checkpoint goes on with the same bits. Neither loss nor
token accuracy separates a base that RL can lift from one that it cannot; the gate's trace accuracy does.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from data_recipes.fim import add_tokens, draw_cut, fim_tokens, psm
from grpo.algorithm.schedules import is_due
from grpo.common import stopping
from grpo.common.console import console, say, starting
from grpo.common.errors import RunError
from grpo.config.pretrain import PretrainConfig
from grpo.config.router import check_router
from grpo.pretrain.corpora import PretrainCorpus, corpus_of
from grpo.pretrain.state import PretrainState, load_state, save_state
from grpo.tracking.metrics import MetricsWriter
from grpo.tracking.run_dir import check_or_write_manifest, facts, refuse_less
from grpo.tracking.run_once import Summary, run_once
from grpo.tracking.trackers.process import tracked
from grpo.tracking.trackers.registry import TENSORBOARD, check_trackers
from grpo.training.router_balance import RouterBalance
from policies.export import save_policy
from policies.logprobs import hidden_states, target_logprobs
from policies.model import HfConfig
from policies.mtp import declare_mtp, mtp_layers, mtp_logprobs
from policies.packing import PackedSequences, pack_documents
from policies.presets import new_policy, tiny_config
from policies.tokenizer import Tokenizer, load_tokenizer

ATTEMPT_STRIDE = 1_000_003
"""Distance of the weight seeds of two attempts of a run: neighbouring run seeds share none."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trainer:
    """The objects that live through a run."""

    config: PretrainConfig
    corpus: PretrainCorpus
    model: nn.Module
    tokenizer: Tokenizer
    optimizer: torch.optim.Optimizer
    probes: Mapping[int, Callable[[nn.Module], float]]
    """Trace accuracy on the gate's problems, by number of operations."""

    def balance(self, total_steps: int) -> RouterBalance:
        """Make the balancing of an update in a run of so many."""
        return RouterBalance(self.model, self.config.router, total_steps=total_steps, ranks=1)


def run(config: PretrainConfig) -> Summary:
    """Pre-train, or go on pre-training, in config.run_dir; leaves `policy/` there and returns the summary.

    Raises:
        RunError: the policy does not pass the gate at the end (it is kept for inspection).
        BrokenRun: the checkpoint is damaged.
    """
    return run_once(config, config.run_dir, lambda: pretrain(config), lambda summary: show(config, summary))


def pretrain(config: PretrainConfig) -> Summary:
    """Train to the end and export the policy; returns the summary.

    Raises:
        RunError, BrokenRun: as `run`.
    """
    check_trackers(config.trackers)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    try:
        starting(f"building the tokenizer, the problems of the gate and a policy ({config.preset})")
        trainer, state = start(config)
        refuse_less(config.run_dir, "max_steps", last_step(config, state), state.step)
        check_or_write_manifest(config.run_dir, config, facts(config, config.seed, {}, None), state.step)
        starting(f"training, {config.documents_per_step} documents per update")
        with tracked(config.trackers, config.run_dir, config, state.step):
            state, accuracy = train(trainer, state)
    finally:
        torch.set_num_threads(threads_before)
    folder = config.run_dir / "policy"
    declare_mtp(trainer.model, trained=config.mtp.trains)
    policy = save_policy(trainer.model, folder, tokenizer_from=config.run_dir / "tokenizer")
    if min(accuracy.values()) < config.gate_pass:
        raise RunError(
            f"{policy}: trace accuracy {_show(accuracy)} after {state.step} steps, but each length "
            f"needs gate_pass = {config.gate_pass}; raise max_steps and run again"
        )
    return {
        "seed": config.seed,
        "steps": state.step,
        "attempts": state.attempt + 1,
        "tokens": state.tokens,
        "minutes": round(state.seconds / 60, 3),
        "tokens_per_s": round(state.tokens / state.seconds, 1),
        "trace_accuracy": {f"k={k}": round(v, 4) for k, v in accuracy.items()},
    }


def show(config: PretrainConfig, summary: Summary) -> None:
    """Print where the policy is and what it can do."""
    accuracy = "  ".join(f"{k} {v:.2f}" for k, v in summary["trace_accuracy"].items())
    seconds = 60 * summary["minutes"]
    say(
        f"base policy: {escape(str(config.run_dir / 'policy'))}   {seconds:.0f} s   trace accuracy {accuracy}"
    )


def start(config: PretrainConfig) -> tuple[Trainer, PretrainState]:
    """Build tokenizer, model and optimizer, and restore the last checkpoint if there is one."""
    corpus = corpus_of(config.corpus)
    corpus.build_tokenizer(config.run_dir / "tokenizer")
    if config.fim is not None:
        add_tokens(config.run_dir / "tokenizer")
    tokenizer = load_tokenizer(config.run_dir / "tokenizer")
    model = new_weights(config, tokenizer, attempt=0)
    shape: HfConfig = model.config
    check_router(config.router, shape.to_dict())
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
    # The gate's problems are train problems of a stream of their own: no decision looks at held-out ones.
    probes = corpus.probes(tokenizer, config.gate_problems, config.seed)
    trainer = Trainer(config, corpus, model, tokenizer, optimizer, probes)
    checkpoint = _checkpoint(config)
    state = load_state(checkpoint, model, optimizer) if checkpoint.exists() else PretrainState()
    return trainer, state


def new_weights(config: PretrainConfig, tokenizer: Tokenizer, attempt: int) -> nn.Module:
    """Return the untrained policy of an attempt; its weights depend on seed and attempt alone."""
    special = {f"{n}_token_id": getattr(tokenizer, f"{n}_id") for n in ("bos", "eos", "pad")}
    shape = tiny_config(config.preset, len(tokenizer), **special, **config.preset_overrides)
    return new_policy(shape, config.seed + ATTEMPT_STRIDE * attempt, config.weight_std)


def start_over(trainer: Trainer, state: PretrainState) -> PretrainState:
    """Give up an attempt: new weights, no moments; the corpus continues."""
    attempt = state.attempt + 1
    fresh = new_weights(trainer.config, trainer.tokenizer, attempt)
    trainer.model.load_state_dict(fresh.state_dict())
    trainer.optimizer.state.clear()
    return replace(state, attempt=attempt, attempt_from=state.step)


def is_stuck(config: PretrainConfig, state: PretrainState, accuracy: Mapping[int, float]) -> bool:
    """Return True if the attempt has had its steps, cannot do the shortest chains, and another one is allowed."""
    had = state.step - state.attempt_from == config.restart_after_steps
    return had and state.attempt < config.restarts and accuracy[min(accuracy)] < config.restart_below


def train(trainer: Trainer, state: PretrainState) -> tuple[PretrainState, dict[int, float]]:
    """Run from `state` to the end of the decay; returns the last state and the trace accuracy by length.

    Ctrl-C and SIGTERM (`grpo.common.stopping`) leave a checkpoint of the last update.
    """
    config = trainer.config
    began, before = time.perf_counter(), state.seconds
    accuracy: dict[int, float] = {}
    saved = state
    metrics = MetricsWriter(config.run_dir, state.step, TENSORBOARD in config.trackers)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("pre-training", total=last_step(config, state), completed=state.step)
        try:
            while state.step < last_step(config, state):
                with stopping.held():  # the row belongs to the update
                    row = update(trainer, state)
                    state = replace(
                        state,
                        step=state.step + 1,
                        tokens=state.tokens + int(row["tokens/learner"]),
                        seconds=before + time.perf_counter() - began,
                    )
                    done = state.step == last_step(config, state)
                    if is_due(state.step, config.gate_every_steps, is_last=done):
                        accuracy = measure(trainer)
                        row |= {f"gate/trace_accuracy_k{k}": v for k, v in accuracy.items()}
                        if state.decay_from is None and min(accuracy.values()) >= config.gate_open:
                            state = replace(state, decay_from=state.step)
                        if not done and is_stuck(config, state, accuracy):
                            state = start_over(trainer, state)
                            say(
                                f"step {state.step}: trace accuracy {_show(accuracy)}, stuck in a shortcut; "
                                f"starting over from new weights (attempt {state.attempt + 1})"
                            )
                    metrics.write(state.step, {"time/total_s": state.seconds, **row})
                if is_due(state.step, config.checkpoint_every_steps, is_last=done):
                    save_state(_checkpoint(config), state, trainer.model, trainer.optimizer)
                    saved = state
                note = f"  trace accuracy {_show(accuracy)}" if accuracy else ""
                progress.update(
                    task,
                    completed=state.step,
                    total=last_step(config, state),
                    description=f"pre-training  loss {row['loss']:.3f}{note}",
                )
        except KeyboardInterrupt:
            if state != saved:
                save_state(_checkpoint(config), state, trainer.model, trainer.optimizer)
            if state.step:
                stopping.leave_note(
                    f"checkpoint of step {state.step:,} in {config.run_dir}; the same command goes on"
                )
            raise
    return state, accuracy or measure(trainer)


def update(trainer: Trainer, state: PretrainState) -> dict[str, float]:
    """One optimizer update on the corpus batch of this step; returns its metrics."""
    config, model = trainer.config, trainer.model
    share = rate_share(config, state)
    for group in trainer.optimizer.param_groups:
        group["lr"] = config.lr * share
    texts = list(trainer.corpus.texts(config.seed, state.step, config.documents_per_step))
    documents = [encode(trainer, text, f"{config.seed}/{state.step}/{n}") for n, text in enumerate(texts)]
    packed = pack_documents(documents)
    trainer.optimizer.zero_grad()
    total = last_step(config, state)
    weight = config.mtp.weight_at(state.step, total) if config.mtp.trains and mtp_layers(model) else None
    router = trainer.balance(total)
    with router.watching():
        router.expect([len(d) for d in documents], [t.encode() for t in texts], packed.token_ids.device)
        states = hidden_states(model, packed)
        following = next_token_loss(model, packed, states)
        loss, parts = following, {}
        if weight is not None:
            depths = mtp_logprobs(model, packed, states)
            ahead = -torch.stack([values.sum() for values in depths]).mean() / len(packed.target_ids)
            loss = following + weight * ahead
            parts = {"loss/next": following.item(), "loss/mtp": ahead.item()}
        balance = router.loss(len(documents))
        (loss if balance is None else loss + balance).backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip, error_if_nonfinite=True)
    trainer.optimizer.step()
    return {
        "loss": loss.item(),
        **parts,
        "lr": config.lr * share,
        "grad_norm": norm.item(),
        **router.finish(state.step, rate_share=min(share, 1.0)),
        "tokens/learner": float(len(packed.token_ids)),
    }


def encode(trainer: Trainer, text: str, key: str) -> list[int]:
    """Return a document's tokens with begin and end, as prefix, suffix and middle if its key draws that."""
    tokenizer, fim = trainer.tokenizer, trainer.config.fim
    assert tokenizer.eos_id is not None
    cut = None if fim is None else draw_cut(fim, text, key, tokenizer)
    if cut is None:
        return [*tokenizer.encode(text, add_special_tokens=True), tokenizer.eos_id]
    given, middle = psm(fim_tokens(tokenizer), tokenizer, cut)
    return [*tokenizer.encode("", add_special_tokens=True), *given, *middle, tokenizer.eos_id]


def next_token_loss(model: nn.Module, packed: PackedSequences, states_TD: Tensor) -> Tensor:
    """Return the mean of −log π over all targets, 0-d, nats."""
    return -target_logprobs(model, packed, states_TD)[0].mean()


def measure(trainer: Trainer) -> dict[int, float]:
    """Return the trace accuracy by number of operations."""
    return {k: probe(trainer.model) for k, probe in trainer.probes.items()}


def last_step(config: PretrainConfig, state: PretrainState) -> int:
    """Return the step at which the run ends, as far as is known."""
    return _decay_from(config, state) + config.decay_steps


def rate_share(config: PretrainConfig, state: PretrainState) -> float:
    """Return the learning rate of the next update as a share of config.lr: linear warm-up, constant, linear decay."""
    warm = (
        min(1.0, (state.step - state.attempt_from + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    )
    decayed = max(0, state.step - _decay_from(config, state))
    return warm * (1 - decayed / config.decay_steps)


def _decay_from(config: PretrainConfig, state: PretrainState) -> int:
    latest = config.max_steps - config.decay_steps
    return latest if state.decay_from is None else min(state.decay_from, latest)


def _checkpoint(config: PretrainConfig) -> Path:
    return config.run_dir / "checkpoint.safetensors"


def _show(accuracy: Mapping[int, float]) -> str:
    return "  ".join(f"k={k} {v:.2f}" for k, v in accuracy.items())
