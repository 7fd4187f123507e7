"""`grpo sft`: supervised fine-tuning of a policy on replies; leaves run_dir/policy.

data, mix ─▶ examples (prompt masked) ─▶ epochs of packed batches ─▶ policy/, summary.json, report.html
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from data_recipes.errors import DataError
from grpo.common.console import say
from grpo.common.hardware import resolve_compute_dtype
from grpo.config.adapter import check_start
from grpo.config.distill import DistillConfig
from grpo.config.mesh import check_launch
from grpo.config.router import check_router
from grpo.config.sft import SftConfig, SftSettings
from grpo.stages.figures import loss_figure, trained_tokens
from grpo.stages.launch_data import show_rows, shown
from grpo.stages.preview import BEGINS, EXAMPLES, preview_end, preview_text
from grpo.stages.stage import MODEL, POLICY_OUTPUTS, Stage
from grpo.stages.workload import supervised_workload
from policies.facts import read_config, read_facts, resolve_model
from policies.files import write_atomic
from policies.variant import with_changes

if TYPE_CHECKING:
    from data_recipes.sft.examples import Example
    from grpo.supervised.loop import Job
    from grpo.tracking.run_once import Summary
    from policies.tokenizer import Tokenizer

CHANGED = "base"
"""Folder of the policy with another context or chat template, in the run's."""
SHOWN_EXAMPLES = 16
"""Training examples that the report shows: the first of the data."""


def run(config: SftConfig, address: str | None) -> Summary:
    """Train, or go on training, in config.run_dir; returns the summary.

    Raises:
        DataError: names unusable rows by file and line.
        PolicyError: the policy does not exist or cannot be trained.
        RunError: a loss is not finite, or a rank was lost.
    """
    return train(config, address)


def train(config: SftConfig | DistillConfig, address: str | None) -> Summary:
    """Run `grpo sft` or `grpo distill`; see `run`."""

    from grpo.supervised.loop import run_supervised
    from policies.tokenizer import load_tokenizer

    def read() -> Job[Example]:
        job, bad_rows = read_job(config)
        if bad_rows:
            write_atomic(config.run_dir / "bad_rows.txt", "".join(f"{row}\n" for row in bad_rows))
        show_examples(config.run_dir, job.items[:SHOWN_EXAMPLES], load_tokenizer(job.model_dir))
        return job

    return run_supervised(config, f"grpo {config.stage}", read, address)


def preview(config: SftConfig | DistillConfig) -> None:
    """Check everything and print the plan and the first examples, each with a mark where its first target stands."""
    from grpo.supervised import loop
    from policies.tokenizer import load_tokenizer

    with tempfile.TemporaryDirectory() as place:
        job, bad_rows = read_job(config, Path(place))
        loop.preview(config, f"grpo {config.stage}", job)
        for row in bad_rows[:EXAMPLES]:
            say(f"  left out: {escape(row)}")
        tokenizer = load_tokenizer(job.model_dir)
        for number, example in enumerate(job.items[:EXAMPLES], 1):
            prompt, reply = _texts(example, tokenizer)
            preview_text(f"example {number} of {len(job.items):,}", f"{prompt}{BEGINS}{reply}")
    preview_end(config.run_dir)


def read_job(config: SftSettings, place: Path | None = None) -> tuple[Job[Example], list[str]]:
    """Read and check model folder and data; every error is found before an actor starts.

    Args:
        config: of the stage.
        place: folder in which the policy is put if the recipe changes its context or chat template; None: the run's.

    Returns:
        What to train on, and an error for each row that was left out (bad_rows = "skip").
    """
    from data_recipes.sft.examples import ReadCounts, read_examples
    from grpo.supervised.loop import Job, take_holdout
    from grpo.training.sft_objective import UNTRAINED, SftObjective
    from policies.digests import digest_lines
    from policies.tokenizer import load_tokenizer

    model_dir = with_changes(
        resolve_model(config.policy.model),
        (place or config.run_dir) / CHANGED,
        max_positions=config.policy.max_positions,
        chat_template=config.policy.chat_template,
    )
    policy = read_facts(model_dir)
    shape = read_config(model_dir)
    check_launch(config.learner, shape)
    check_router(config.router, shape)
    adapter = check_start(config.policy, model_dir)
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
        show_rows(counts.layouts[-1], rendered_example(found[0], tokenizer))
        examples += found
        repeats += [source.repeats] * len(found)
    # Adapters train the main layers alone.
    mtp = UNTRAINED if config.policy.lora is not None else config.mtp
    kept, held = take_holdout(len(examples), config.eval.holdout, config.seed)
    job = Job(
        model_dir=model_dir,
        compute_dtype=resolve_compute_dtype(config.policy.compute_dtype, policy.hidden_size),
        objective=functools.partial(SftObjective, mtp=mtp),
        items=[examples[i] for i in kept],
        held_out=[examples[i] for i in held],
        repeats=[repeats[i] for i in kept],
        targets=[examples[i].target_count for i in kept],
        measures=("loss", "loss/next", "loss/mtp") if policy.mtp_layers and mtp.trains else ("loss",),
        data_hashes={
            "train": digest_lines(_digest(examples[i]) for i in kept),
            "held-out": digest_lines(_digest(examples[i]) for i in held),
            **adapter,
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


def rendered_example(example: Example, tokenizer: Tokenizer) -> str:
    """Return an example's text up to its first learnt token, and from there on, for the screen."""
    first = int(example.is_target.argmax())
    read, learnt = (
        tokenizer.decode(ids.tolist(), skip_special=False)
        for ids in (example.token_ids[:first], example.token_ids[first:])
    )
    return f"{shown(read)}; to learn {shown(learnt)}"


def show_examples(run_dir: Path, examples: Sequence[Example], tokenizer: Tokenizer) -> None:
    """Write examples where the report looks for samples; the tokens before the first target are the prompt."""

    from grpo.tracking.sample_row import SampleRow
    from grpo.tracking.samples import file_name, write_samples

    rows = []
    for index, example in enumerate(examples):
        prompt, reply = _texts(example, tokenizer)
        rows.append(
            SampleRow(
                id=f"sft-0/{index}",
                stage="sft",
                step=0,
                prompt_id=example.id,
                index=index,
                prompt=prompt,
                completion=reply,
                tokens=example.target_count,
            )
        )
    write_samples(run_dir / "samples" / file_name(0), rows)


def _texts(example: Example, tokenizer: Tokenizer) -> tuple[str, str]:
    """Return the text of an example up to its first target, and the rest."""
    first = int(example.is_target.argmax())
    before, after = example.token_ids[:first].tolist(), example.token_ids[first:].tolist()
    return tokenizer.decode(before, skip_special=False), tokenizer.decode(after, skip_special=False)


def _digest(example: Example) -> str:
    from policies.digests import digest_bytes

    return digest_bytes([example.token_ids.tobytes(), example.is_target.tobytes()])


STAGE = Stage(
    name="sft",
    help="Supervised fine-tuning on replies, chats or distilled traces. Run it again to resume where it stopped.",
    example="grpo sft smollm2-gsm8k-sft --set epochs=1 --set run_dir=runs/try",
    config=SftConfig,
    run=run,
    outputs=POLICY_OUTPUTS,
    key_figure=loss_figure,
    inputs=("policy.model", "policy.lora.adapter", "data.source", "mix.*.source"),
    options=(MODEL,),
    preview=preview,
    workload=supervised_workload,
    observe=trained_tokens,
)
