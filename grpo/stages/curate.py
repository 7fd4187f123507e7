"""`grpo curate`: scored samples → an SFT Parquet with the provenance of each row, and counts per filter beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from data_recipes.config import DatasetConfig
from data_recipes.errors import DataError
from data_recipes.sft.columns import renamed
from data_recipes.sft.conversation import messages_of, tools_text
from grpo.common.console import say
from grpo.common.errors import ConfigError
from grpo.config.curate import COLD_START, CurateConfig
from grpo.stages.evaluation_texts import evaluation_texts
from grpo.stages.figures import Figures
from grpo.stages.pairs import write_parquet
from grpo.stages.preview import BEGINS, EXAMPLES, preview_end, preview_text
from grpo.stages.rewriting import read_examples, rewritten
from grpo.stages.stage import Stage
from policies.files import write_atomic
from policies.json_types import JsonDict, JsonMapping

if TYPE_CHECKING:
    from data_recipes.sft.curate import Sample
    from data_recipes.sft.decontaminate import EvaluationGrams
    from grpo.tracking.run_once import Summary

PROVENANCE = ("question", "prefill", "kind", "language", "source", "model")
"""Columns that the result takes from a row unchanged: text or null."""


def run(config: CurateConfig) -> Summary:
    """Write the rows and return the counts; a pure function of the files, the rewriter and the seed.

    Raises:
        DataError: bad rows by file and line, a repeated id, a rewriter that fails, or nothing left.
        RewardLoadError: the rewriter is not found.
    """
    rows, counts = curated_rows(config)
    write_parquet(config.out, rows)
    write_atomic(config.out.with_suffix(".json"), json.dumps(counts, indent=2) + "\n")
    say(f"{counts} → {escape(str(config.out))}")
    return counts


def preview(config: CurateConfig) -> None:
    """Do all but write: print the counts and the first rows."""
    if config.rewrite == COLD_START:
        read_examples(config.rewrite_examples)
        say("  rewrite: a dry run asks no language model; the rows are shown as they were")
        config = config.model_copy(update={"rewrite": None, "llm": None, "rewrite_examples": None})
    rows, counts = curated_rows(config)
    say(f"{counts} → {escape(str(config.out))}")
    for number, row in enumerate(rows[:EXAMPLES], 1):
        columns = {name: row.get(name) for name in ("id", "kind", "language", "score", "origin")}
        preview_text(f"row {number} of {len(rows):,}", f"{row['prompt']}{BEGINS}{row['completion']}", columns)
    preview_end(config.out)


def curated_rows(config: CurateConfig) -> tuple[list[JsonDict], Summary]:
    """Return the rows of the result and the counts; see `run`."""

    from data_recipes.bad_rows import BadRows
    from data_recipes.prompts.rows import read_rows
    from data_recipes.sft.curate import CurateRules, curate, verdicts
    from data_recipes.sft.decontaminate import evaluation_grams, is_contaminated
    from data_recipes.sft.readability import ReadabilityLimits

    if config.rewrite_examples is not None and config.rewrite != COLD_START:
        raise ConfigError('rewrite_examples is read with rewrite = "cold-start" only; leave it out')
    evaluation = (
        evaluation_grams(evaluation_texts(config.decontaminate), config.ngram)
        if config.decontaminate
        else None
    )
    origins: dict[str, JsonMapping] = {}
    samples = []
    bad = BadRows()
    for source in config.sources:
        for where, row in read_rows(DatasetConfig(source=source), on_bad=bad.add):
            with bad.caught():
                sample = to_sample(where, row, config.deciding)
                if sample.id in origins:
                    raise DataError(
                        f"{where}: id {sample.id!r} comes twice, first at {origins[sample.id]['where']}; give every "
                        "sample its own"
                    )
                origins[sample.id] = {**row, "origin": short_name(source), "where": where}
                samples.append(sample)
    bad.settle(config.bad_rows, ", ".join(config.sources))
    limits = ReadabilityLimits(
        min_language_share=config.min_language_share,
        max_paragraph_words=config.max_paragraph_words,
        allow_code=config.allow_code,
        max_repeated_share=config.max_repeated_share,
        needs_reasoning=config.needs_reasoning,
    )
    rules = CurateRules(
        config.deciding, config.min_score, limits, config.per_prompt, config.choose, config.seed
    )
    curated = curate(samples, rules, evaluation)
    dropped = Counter(curated.dropped)
    rows = []
    for sample, completion in zip(curated.kept, rewritten(config, curated.kept, origins), strict=True):
        if isinstance(completion, ValueError):
            if not dropped["not_rewritten"] and config.rewrite == COLD_START:
                say(f"  first sample that is not rewritten, {escape(sample.id)}: {escape(str(completion))}")
            dropped["not_rewritten"] += 1
            continue
        if evaluation is not None and is_contaminated(completion, evaluation):
            dropped["contaminated"] += 1  # a rewriter may add what the sample did not have
            continue
        from_row = origins[sample.id]
        rows.append(
            {
                "id": sample.id,
                "prompt": sample.prompt,
                "messages": messages_of(str(from_row["where"]), from_row),
                "tools": tools_text(str(from_row["where"]), from_row),
                "question": from_row.get("question"),
                "prefill": from_row.get("prefill"),
                "completion": completion,
                "kind": from_row.get("kind"),
                "language": sample.language,
                "source": from_row.get("source"),
                "score": min(verdicts(sample, config.deciding)),
                "origin": from_row["origin"],
                "model": from_row.get("model"),
            }
        )
    counts: Summary = {"samples": len(samples), "dropped": dict(sorted(dropped.items()))}
    if config.min_language_share is not None and (unknown := sum(not row["language"] for row in rows)):
        counts["language_unknown"] = unknown  # the language filter has not judged them
    counts["kept"] = len(rows)
    mixed, contaminated, mix_bad = read_mix(config, evaluation)
    counts |= {"mixed": len(mixed), "mix_contaminated": contaminated}
    if bad.count or mix_bad:
        counts["bad_rows"] = bad.count + mix_bad
    if not rows:
        first = f"; {curated.leak}" if curated.leak else ""
        raise DataError(f"no sample is left of {counts}; loosen a filter or sample more{first}")
    if curated.leak:
        say(f"  first contaminated sample: {escape(curated.leak)}")
    return [*rows, *mixed], counts


def to_sample(where: str, row: JsonMapping, correct: Sequence[str]) -> Sample:
    """Return a row as a sample.

    Raises:
        DataError: a column is missing or no text; names file and line.
    """

    from data_recipes.sft.curate import Sample

    for name in ("id", "prompt_id", "prompt", "completion"):
        if not isinstance(row.get(name), str):
            raise DataError(f"{where}: {name} = {row.get(name)!r}; expected text{renamed(row, name)}")
    if not row["prompt"].strip():
        raise DataError(f"{where}: prompt is empty")
    check_provenance(where, row)
    there = {name: row[name] for name in correct if name in row}
    if not there:
        raise DataError(
            f"{where}: no column {' or '.join(map(repr, correct))}; set correct to a reward component of the samples"
        )
    for name, value in there.items():
        if value is not None and not isinstance(value, int | float):
            raise DataError(f"{where}: {name} = {value!r}; expected a number or null")
    return Sample(
        id=row["id"],
        prompt_id=row["prompt_id"],
        prompt=row["prompt"],
        completion=row["completion"],
        components=there,
        language=row.get("language"),
        is_truncated=row.get("finish_reason") == "length",
        question=row.get("question"),
    )


def check_provenance(where: str, row: JsonMapping) -> None:
    """Check that the columns of provenance are text or null: a Parquet column has one type.

    Raises:
        DataError: one is not; names file and line.
    """
    for name in PROVENANCE:
        if row.get(name) is not None and not isinstance(row[name], str):
            raise DataError(f"{where}: {name} = {row[name]!r}; expected text or null")


def short_name(source: str) -> str:
    """Return a file with its folder: enough to recognise a stage, and the same wherever the run directory is."""
    return "/".join(Path(source).parts[-2:])


def read_mix(config: CurateConfig, evaluation: EvaluationGrams | None) -> tuple[list[JsonDict], int, int]:
    """Return the rows to add, and how many were left out as contaminated and as bad.

    Raises:
        DataError: a row lacks prompt or completion.
    """

    from data_recipes.bad_rows import BadRows
    from data_recipes.prompts.rows import read_rows
    from data_recipes.sft.decontaminate import is_contaminated

    rows: list[JsonDict] = []
    contaminated = 0
    bad = BadRows()
    for number, file in enumerate(config.mix):
        of_file = islice(read_rows(DatasetConfig(source=file.source), on_bad=bad.add), file.limit)
        for index, (where, row) in enumerate(of_file):
            with bad.caught():
                check_provenance(where, row)
                own = {name: row.get(name) for name in PROVENANCE}
                messages = messages_of(where, row)
                for name in ("prompt", "completion"):
                    if name == "prompt" and row.get(name) is None and messages is not None:
                        continue
                    if not isinstance(row.get(name), str) or not row[name].strip():
                        raise DataError(f"{where}: {name} = {row.get(name)!r}; expected text")
                said = [str(message["content"]) for message in messages or ()]
                texts = [row["completion"], row.get("prompt") or "", own["question"] or "", *said]
                if evaluation is not None and any(is_contaminated(text, evaluation) for text in texts):
                    contaminated += 1
                    continue
                rows.append(
                    {"id": f"mix{number}/{index}", "prompt": row.get("prompt"), "messages": messages,
                     "tools": tools_text(where, row), "completion": row["completion"], **own, "score": None,
                     "origin": short_name(file.source)}
                )  # fmt: skip
    bad.settle(config.bad_rows, ", ".join(file.source for file in config.mix))
    return rows, contaminated, bad.count


def sketch(config: CurateConfig, rows: Callable[[str], list[JsonDict]]) -> list[JsonDict]:
    """Return rows as the result will have them, of samples that are not filtered and not rewritten."""
    found = [row for source in config.sources for row in rows(source)]
    found += [row for file in config.mix for row in rows(file.source)]
    return [
        {
            "id": f"{number}",
            "prompt": row.get("prompt"),
            "messages": messages_of(f"row {number}", row),
            "tools": tools_text(f"row {number}", row),
            "completion": row.get("completion"),
            **{name: row.get(name) for name in PROVENANCE},
        }
        for number, row in enumerate(found)
    ]


def key_figure(figures: Figures) -> str:
    """Return how many samples were kept and how many ready rows were mixed in."""
    kept, of, mixed = (figures.get(k, 0) for k in ("kept", "samples", "mixed"))
    return f"kept {kept:,} of {of:,}" + (f", {mixed:,} mixed in" if mixed else "")


STAGE = Stage(
    name="curate",
    help="Keep the correct, readable samples, rewrite them and write a Parquet for SFT.",
    example="grpo curate curate.toml --set per_prompt=2",
    config=CurateConfig,
    run=lambda config, _: run(config),
    preview=preview,
    reads_components=lambda config: config.deciding,
    compares_with=lambda config: config.decontaminate,
    sketch=sketch,
    outputs={"rows": "rows.parquet", "summary": "rows.json"},
    key_figure=key_figure,
    inputs=(
        "sources.*",
        "mix.*.source",
        "decontaminate.*.source",
        "rewrite",
        "rewrite_examples",
        "llm.policy",
    ),
    output_key="out",
    main_output="rows",
    takes_address=False,
)
