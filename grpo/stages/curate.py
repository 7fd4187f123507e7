"""`grpo curate`: scored samples → an SFT Parquet with the provenance of each row, and counts per filter beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from data_recipes.config import DatasetConfig
from data_recipes.curate import CurateRules, Sample, curate, r1_format
from data_recipes.curate_config import CurateConfig
from data_recipes.decontaminate import EvaluationGrams, evaluation_grams, is_contaminated
from data_recipes.errors import DataError
from data_recipes.readability import ReadabilityLimits
from data_recipes.rows import read_rows
from grpo.run_dir import write_atomic
from grpo.stages.pairs import write_parquet
from rewards.registry import load_function

console = Console()


def run(config: CurateConfig) -> dict[str, Any]:
    """Write the rows and return the counts; a pure function of the files, the rewriter and the seed.

    Raises:
        DataError: a bad row by file and line, an id that comes twice, or nothing left.
        RewardLoadError: the rewriter is not found.
    """
    rewrite = load_rewriter(config.rewrite)
    evaluation = read_evaluation(config)
    origins: dict[str, Mapping[str, Any]] = {}
    samples = []
    for source in config.sources:
        for where, row in read_rows(DatasetConfig(source=source)):
            sample = to_sample(where, row, config.correct)
            if sample.id in origins:
                raise DataError(f"{where}: id {sample.id!r} comes twice")
            origins[sample.id] = {**row, "origin": source}
            samples.append(sample)
    limits = ReadabilityLimits(
        config.min_language_share, config.max_paragraph_words, config.allow_code, config.max_repeated_share
    )
    rules = CurateRules(
        config.correct, config.min_score, limits, config.per_prompt, config.choose, config.seed
    )
    curated = curate(samples, rules, evaluation)
    dropped = Counter(curated.dropped)
    rows = []
    for sample in curated.kept:
        try:
            completion = rewrite(sample.prompt, sample.completion)
        except ValueError:
            dropped["not_rewritten"] += 1
            continue
        if evaluation is not None and is_contaminated(completion, evaluation):
            dropped["contaminated"] += 1  # a rewriter may bring in what the sample had not
            continue
        from_row = origins[sample.id]
        rows.append(
            {
                "id": sample.id,
                "prompt": sample.prompt,
                "question": from_row.get("question"),
                "completion": completion,
                "kind": from_row.get("kind"),
                "language": sample.language,
                "source": from_row.get("source"),
                "score": sample.components[config.correct],
                "origin": from_row["origin"],
                "model": from_row.get("model"),
            }
        )
    counts: dict[str, Any] = {"samples": len(samples), "dropped": dict(sorted(dropped.items()))}
    counts["kept"] = len(rows)
    mixed, contaminated = read_mix(config, evaluation)
    counts |= {"mixed": len(mixed), "mix_contaminated": contaminated}
    if not rows:
        raise DataError(f"no sample is left of {counts}; loosen a filter or sample more")
    write_parquet(config.out, [*rows, *mixed])
    write_atomic(config.out.with_suffix(".json"), json.dumps(counts, indent=2) + "\n")
    console.print(f"{counts} → {config.out}", highlight=False)
    return counts


def to_sample(where: str, row: Mapping[str, Any], correct: str) -> Sample:
    """A row as a sample.

    Raises:
        DataError: a column is missing or no text; names the place.
    """
    for name in ("id", "prompt_id", "prompt_text", "completion_text"):
        if not isinstance(row.get(name), str):
            raise DataError(f"{where}: {name} = {row.get(name)!r}; expected text")
    if correct not in row:
        raise DataError(f"{where}: no column {correct!r}; set correct to a reward component of the samples")
    value = row[correct]
    if value is not None and not isinstance(value, int | float):
        raise DataError(f"{where}: {correct} = {value!r}; expected a number or null")
    return Sample(
        id=row["id"],
        prompt_id=row["prompt_id"],
        prompt=row["prompt_text"],
        completion=row["completion_text"],
        components={correct: value},
        language=row.get("language"),
        is_truncated=row.get("finish_reason") == "length",
    )


def load_rewriter(name: str | None) -> Callable[[str, str], str]:
    """(prompt, completion) → completion.

    Raises:
        RewardLoadError: not found.
    """
    if name is None:
        return lambda _, completion: completion
    if name == "r1-format":
        return lambda _, completion: r1_format(completion)
    return load_function(name)


def read_evaluation(config: CurateConfig) -> EvaluationGrams | None:
    """Index of all evaluation sets; None if the config names none.

    Raises:
        DataError: a row without one of its fields.
    """
    if not config.decontaminate:
        return None
    texts: list[str] = []
    for held_out in config.decontaminate:
        for where, row in read_rows(held_out.rows):
            for name in held_out.fields:
                if not isinstance(row.get(name), str):
                    raise DataError(f"{where}: {name} = {row.get(name)!r}; expected text")
                texts.append(row[name])
    return evaluation_grams(texts, config.ngram)


def read_mix(config: CurateConfig, evaluation: EvaluationGrams | None) -> tuple[list[dict[str, Any]], int]:
    """Rows to add, and how many were left out as contaminated.

    Raises:
        DataError: a row without prompt or completion.
    """
    rows: list[dict[str, Any]] = []
    contaminated = 0
    for number, file in enumerate(config.mix):
        for index, (where, row) in enumerate(read_rows(DatasetConfig(source=file.source))):
            if index == file.limit:
                break
            for name in ("prompt", "completion"):
                if not isinstance(row.get(name), str):
                    raise DataError(f"{where}: {name} = {row.get(name)!r}; expected text")
            pair = row["prompt"], row["completion"]
            if evaluation is not None and any(is_contaminated(text, evaluation) for text in pair):
                contaminated += 1
                continue
            own = {name: row.get(name) for name in ("question", "kind", "language", "source", "model")}
            rows.append(
                {"id": f"mix{number}/{index}", "prompt": pair[0], "completion": pair[1], **own,
                 "score": None, "origin": file.source}
            )  # fmt: skip
    return rows, contaminated
