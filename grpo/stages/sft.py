"""`grpo sft`: supervised fine-tuning of a policy on replies; leaves run_dir/policy.

data, mix ─▶ examples (prompt masked) ─▶ epochs of packed batches ─▶ policy/, summary.json, report.html
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_recipes.errors import DataError
from data_recipes.sft.examples import Example, ReadCounts, read_examples
from grpo.common.hardware import resolve_compute_dtype
from grpo.config.distill import DistillConfig
from grpo.config.sft import SftConfig, SftSettings
from grpo.supervised.loop import Job, hash_items, run_supervised, take_holdout
from grpo.tracking.run_dir import write_atomic
from grpo.tracking.sample_row import SampleRow
from grpo.tracking.samples import file_name, write_samples
from policies.facts import read_facts, resolve_model
from policies.tokenizer import Tokenizer, load_tokenizer

SHOWN_EXAMPLES = 16
"""Training examples that the report shows, from the front of the data."""


def run(config: SftConfig, address: str | None) -> dict[str, Any]:
    """Train, or go on training, in config.run_dir; returns the summary.

    Raises:
        DataError: rows that cannot be used, by file and line.
        PolicyError: no such policy, or one that cannot be trained.
        RunError: a loss that is not finite, or a rank that was lost.
    """
    return train(config, address)


def train(config: SftConfig | DistillConfig, address: str | None) -> dict[str, Any]:
    """What `grpo sft` and `grpo distill` do; see `run`."""

    def read() -> Job:
        job, bad_rows = read_job(config)
        if bad_rows:
            write_atomic(config.run_dir / "bad_rows.txt", "".join(f"{row}\n" for row in bad_rows))
        show_examples(config.run_dir, job.items[:SHOWN_EXAMPLES], load_tokenizer(job.model_dir))
        return job

    return run_supervised(config, f"grpo {config.stage}", read, address)


def read_job(config: SftSettings) -> tuple[Job, list[str]]:
    """Read and check model folder and data; every fault is one error, before anything is launched.

    Returns:
        What to train on, and what is wrong with each row that was left out (bad_rows = "skip").
    """
    from grpo.training.sft_objective import SftObjective

    model_dir = resolve_model(config.policy.model)
    policy = read_facts(model_dir)
    tokenizer = load_tokenizer(model_dir)
    counts = ReadCounts()
    examples: list[Example] = []
    repeats: list[float] = []
    for source in (config.data, *config.mix):
        found, counts = read_examples(source, tokenizer, min(config.max_tokens, policy.max_positions), counts)
        if not found:
            raise DataError(
                f"{source.source}: no example left of {counts.rows:,} rows so far "
                f"({len(counts.bad_rows):,} bad, {counts.too_long:,} too long)"
            )
        if round(source.repeats * len(found)) == 0:
            raise DataError(
                f"{source.source}: repeats = {source.repeats:g} of {len(found):,} examples is none an epoch; raise it, "
                "or leave the source out"
            )
        examples += found
        repeats += [source.repeats] * len(found)
    # Adapters stand beside the main layers alone.
    mtp_weight = 0.0 if config.policy.lora is not None else config.mtp_weight
    kept, held = take_holdout(len(examples), config.eval.holdout, config.seed)
    job = Job(
        model_dir=model_dir,
        compute_dtype=resolve_compute_dtype(config.policy.compute_dtype, policy.hidden_size),
        objective=functools.partial(SftObjective, mtp_weight=mtp_weight),
        items=[examples[i] for i in kept],
        held_out=[examples[i] for i in held],
        repeats=[repeats[i] for i in kept],
        targets=[examples[i].target_count for i in kept],
        data_hashes={
            "train": hash_items([_digest(examples[i]) for i in kept]),
            "held-out": hash_items([_digest(examples[i]) for i in held]),
        },
        counts={
            "rows": counts.rows,
            "bad_rows": len(counts.bad_rows),
            "too_long": counts.too_long,
            "tokens": sum(len(e.token_ids) for e in examples),
            "reply_tokens": sum(e.target_count for e in examples),
        },
    )
    return job, counts.bad_rows


def show_examples(run_dir: Path, examples: Sequence[Example], tokenizer: Tokenizer) -> None:
    """Write examples where the report looks for samples: what is read as prompt, what is learnt as completion.

    Of a conversation in one sequence, the prompt reaches to the first learnt token.
    """
    rows = []
    for index, example in enumerate(examples):
        first = int(example.is_target.argmax())
        rows.append(
            SampleRow(
                id=f"sft-0/{index}",
                stage="sft",
                step=0,
                prompt_id=example.id,
                index=index,
                prompt=tokenizer.decode(example.token_ids[:first].tolist(), skip_special=False),
                completion=tokenizer.decode(example.token_ids[first:].tolist(), skip_special=False),
                tokens=example.target_count,
            )
        )
    write_samples(run_dir / "samples" / file_name(0), rows)


def _digest(example: Example) -> str:
    state = hashlib.sha256(example.token_ids.tobytes())
    state.update(example.is_target.tobytes())
    return state.hexdigest()
