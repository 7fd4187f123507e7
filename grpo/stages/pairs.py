"""`grpo pairs`: sampled completions and a judge → a Parquet of preference pairs, with counts per filter beside it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from data_recipes.config import DatasetConfig
from data_recipes.errors import DataError
from data_recipes.sft.columns import renamed
from grpo.common.console import say
from grpo.common.served import served
from grpo.config.pairs import PAIRWISE, JudgeConfig, PairsConfig
from grpo.stages.figures import Figures
from grpo.stages.preview import BEGINS, EXAMPLES, preview_end, preview_text
from grpo.stages.stage import Stage
from policies.files import replacing, write_atomic
from policies.json_types import JsonDict, JsonMapping
from rewards.config import RewardConfig
from rewards.errors import RewardLoadError

if TYPE_CHECKING:
    from data_recipes.sft.preferences import Compare, Completion, Preference
    from grpo.tracking.run_once import Summary
    from rewards.judges.verdicts import Unreadable

R1_VOTES = 4


def run(config: PairsConfig) -> Summary:
    """Write the pairs and return the counts; a pure function of the file, the judge and the seed.

    Raises:
        DataError: bad rows by file and line, a judge that fails, or nothing left.
        RewardLoadError: the judge is not found.
    """

    from data_recipes.sft.preferences import balance_lengths, draw_pairs

    completions, read = read_completions(config)
    if config.objective == "pointwise":
        with served(config) as ready:
            return _labels(ready, completions, read)
    drawn = draw_pairs(completions, config.pairs_per_prompt, config.seed)
    prompts = len({c.prompt_id for c in completions})
    counts: Summary = {**read, "prompts": prompts, "pairs": len(drawn)}
    with served(config) as ready:
        kept, filtered = judge(ready, drawn)
    counts |= filtered
    if config.max_length_ratio is not None:
        balanced = balance_lengths(kept, config.max_length_ratio)
        counts["length"], kept = len(kept) - len(balanced), balanced
    counts["kept"] = len(kept)
    if not kept:
        raise DataError(f"{config.source}: no pair is left of {counts}; lower min_margin or sample more")
    counts["mean_characters"] = {
        side: round(sum(len(getattr(p, side)) for p in kept) / len(kept), 1)
        for side in ("chosen", "rejected")
    }
    write_pairs(config.out, kept)
    write_atomic(config.out.with_suffix(".json"), json.dumps(counts, indent=2) + "\n")
    say(f"{counts} → {escape(str(config.out))}")
    return counts


def preview(config: PairsConfig) -> None:
    """Check the completions and the judge, without asking it: print the counts and the first completions."""
    from data_recipes.sft.preferences import draw_pairs
    from rewards.hosts.pool import check_reward

    completions, counts = read_completions(config)
    if config.judge.compares and config.judge.name != PAIRWISE:
        load_judge(config.judge)
    elif not config.judge.compares:
        check_reward(_as_reward(config.judge).name, _as_reward(config.judge).arguments)
    pointwise = config.objective == "pointwise"
    drawn = [] if pointwise else draw_pairs(completions, config.pairs_per_prompt, config.seed)
    say(f"{counts}, {len(completions) if pointwise else len(drawn)} to judge → {escape(str(config.out))}")
    shown = completions if pointwise else [completion for pair in drawn for completion in pair]
    for number, completion in enumerate(shown[:EXAMPLES], 1):
        preview_text(f"completion {number} to judge", f"{completion.prompt}{BEGINS}{completion.text}")
    preview_end(config.out)


def read_completions(config: PairsConfig) -> tuple[list[Completion], dict[str, int]]:
    """Return the completions of the chosen kinds, and counts: "completions", and "bad_rows" if some were left out.

    Raises:
        DataError: rows without their columns, or two prompts with one id, by file and line; or no completion of these
            kinds.
    """

    from data_recipes.bad_rows import BadRows
    from data_recipes.prompts.rows import read_rows
    from data_recipes.sft.preferences import Completion

    found: list[Completion] = []
    first: dict[str, tuple[str, str]] = {}
    bad = BadRows()
    own = ("prompt_id", "prompt", "completion")
    for where, row in read_rows(DatasetConfig(source=config.source), on_bad=bad.add):
        with bad.caught():
            for name, wanted in (*((name, True) for name in own), ("kind", False)):
                value = row.get(name)
                if not isinstance(value, str) and (wanted or value is not None):
                    raise DataError(
                        f"{where}: {name} = {value!r}; expected text, as `grpo sample` writes{renamed(row, name)}"
                    )
            prompt_id, prompt, text = (row[name] for name in own)
            if not prompt.strip():
                raise DataError(f"{where}: prompt is empty")
            earlier, before = first.setdefault(prompt_id, (where, prompt))
            if before != prompt:
                raise DataError(
                    f"{where}: prompt_id {prompt_id!r} has another prompt at {earlier}; give each its own id"
                )
            if not config.kinds or row.get("kind") in config.kinds:
                rest = {name: value for name, value in row.items() if name not in own}
                found.append(Completion(prompt_id, prompt, text, row.get("kind"), rest))
    bad.settle(config.bad_rows, config.source)
    if not found:
        raise DataError(f"{config.source}: no completion of kinds {', '.join(config.kinds) or '(any)'}")
    return found, {"completions": len(found)} | ({"bad_rows": bad.count} if bad.count else {})


def judge(
    config: PairsConfig, drawn: Sequence[tuple[Completion, Completion]]
) -> tuple[list[Preference], dict[str, int]]:
    """Return the pairs with a winner, and counts of the others: "unjudged", "order" (the orders disagree), "margin".

    Raises:
        DataError: the judge fails.
    """

    from data_recipes.sft.preferences import to_preference
    from rewards.judges.verdicts import Unreadable

    counts = {"unjudged": 0, "order": 0, "margin": 0}
    kept: list[Preference] = []
    values = {} if config.judge.compares else _values(config.judge, [c for pair in drawn for c in pair])
    compared = _compared(config, drawn) if config.judge.compares else iter(())
    votes: tuple[float, ...] | Unreadable | None
    for first, second in drawn:
        if config.judge.compares:
            votes = next(compared)
            if isinstance(votes, Unreadable):
                if not counts["unjudged"]:
                    say(
                        f"  first pair without a verdict, prompt {escape(first.prompt_id)}: {escape(str(votes))}"
                    )
                counts["unjudged"] += 1
                continue
            if votes is None:
                counts["order"] += 1
                continue
        else:
            pair = [values[(c.prompt_id, c.text)] for c in (first, second)]
            if pair[0] is None or pair[1] is None:
                counts["unjudged"] += 1
                continue
            votes = (pair[0] - pair[1],)
        preference = to_preference(first, second, votes, config.min_margin)
        if preference is None:
            counts["margin"] += 1
        else:
            kept.append(preference)
    return kept, counts


def _compared(
    config: PairsConfig, drawn: Sequence[tuple[Completion, Completion]]
) -> Iterator[tuple[float, ...] | Unreadable | None]:
    """Yield the votes on each pair, in order; see `judge_pair`. A language model judges several pairs at one time."""
    from data_recipes.sft.preferences import judge_pair
    from rewards.judges.pairwise import Pairwise
    from rewards.judges.verdicts import Unreadable
    from rewards.llm.client import Llm

    def judged(pair: tuple[Completion, Completion]) -> tuple[float, ...] | Unreadable | None:
        count = config.judge.votes or R1_VOTES
        try:
            return judge_pair(compare, *pair, count, config.judge.swap, config.seed)
        except Unreadable as error:
            return error
        except Exception as error:  # the judge is the user's own, or its server is gone
            raise DataError(
                f"judge {config.judge.name!r}, prompt {pair[0].prompt_id}: {type(error).__name__}: {error}"
            ) from error

    with ExitStack() as stack:
        if config.judge.name != PAIRWISE or config.judge.llm is None:
            compare = load_judge(config.judge)
            yield from map(judged, drawn)
            return
        llm = stack.enter_context(Llm(config.judge.llm))
        compare = Pairwise(llm)
        pool = ThreadPoolExecutor(config.judge.llm.concurrency, thread_name_prefix="judge")
        stack.callback(pool.shutdown)
        stack.callback(llm.close)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        yield from pool.map(judged, drawn)


def load_judge(config: JudgeConfig) -> Compare:
    """Import the function that compares two completions.

    Raises:
        RewardLoadError: it does not exist, or does not take (prompt, first, second, seed, columns).
    """

    from rewards.registry import load_function

    function = load_function(config.name)
    bound = partial(function, **_as_reward(config).arguments)
    try:
        inspect.signature(bound).bind("", "", "", 0, {})
    except TypeError as error:
        raise RewardLoadError(
            f"judge {config.name!r}: {error}; write judge(prompt, first, second, seed, columns) -> float"
        ) from error
    return bound


def write_pairs(path: Path, pairs: Sequence[Preference]) -> None:
    """Write a Parquet with prompt, chosen, rejected, margin, votes, kind; atomically."""
    rows = [
        {
            "prompt": p.prompt,
            "chosen": p.chosen,
            "rejected": p.rejected,
            "margin": p.margin,
            "votes": list(p.votes),
            "kind": p.kind,
        }
        for p in pairs
    ]
    write_parquet(path, rows)


def write_parquet(path: Path, rows: Sequence[JsonMapping]) -> None:
    """Write rows to a Parquet file, atomically.

    Raises:
        DataError: a column has values of different types, or objects without a key; names the column.
    """
    import pyarrow
    from pyarrow import parquet

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        try:
            columns[name] = pyarrow.array([row.get(name) for row in rows])
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise DataError(
                f"{path}: column {name!r} cannot be written, since a Parquet column has one type ({error}); make its "
                "values alike, all text for example"
            ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        parquet.write_table(pyarrow.table(columns), temporary)


def _labels(config: PairsConfig, completions: Sequence[Completion], read: dict[str, int]) -> Summary:
    values = _values(config.judge, completions)
    rows: list[JsonDict] = [
        {
            "prompt": c.prompt,
            "completion": c.text,
            "label": int(value > config.label_above),
            "kind": c.kind,
        }
        for c in completions
        if (value := values[(c.prompt_id, c.text)]) is not None
    ]
    good = sum(row["label"] for row in rows)
    counts = {
        **read,
        "unjudged": len(completions) - len(rows),
        "label_1": good,
        "label_0": len(rows) - good,
    }
    if not rows:
        raise DataError(
            f"{config.source}: the judge gave no verdict on any of {len(completions)} completions"
        )
    write_parquet(config.out, rows)
    write_atomic(config.out.with_suffix(".json"), json.dumps(counts, indent=2) + "\n")
    say(f"{counts} → {escape(str(config.out))}")
    return counts


def _values(config: JudgeConfig, completions: Sequence[Completion]) -> dict[tuple[str, str], float | None]:
    """Return the value of each completion by (prompt id, text); None where the reward gave no verdict."""

    from rewards.rows import RewardRow
    from rewards.scoring.scorer import Scorer

    every = list({(c.prompt_id, c.text): c for c in completions}.items())
    with Scorer([_as_reward(config)]) as scorer:
        scores = scorer.score_rows(
            [
                RewardRow(
                    completion=c.text, prompt=c.prompt, answer=c.columns.get("answer"), columns=c.columns
                )
                for _, c in every
            ]
        )
    failed = [score for score in scores if score.verdict == "error"]
    if config.llm is not None and failed:  # not the completions' fault: another run may judge them
        raise DataError(
            f"judge {config.name!r}: no answer on {len(failed)} of {len(scores)} completions: {failed[0].reason}\n"
            "The answers so far are kept; the same command goes on"
        )
    return {key: score.total for (key, _), score in zip(every, scores, strict=True)}


def _as_reward(config: JudgeConfig) -> RewardConfig:
    return RewardConfig(name=config.name, params=config.params, llm=config.llm, timeout_s=config.timeout_s)


def key_figure(figures: Figures) -> str:
    """Return how many pairs were kept; of a point-wise judge, how many completions got each label."""
    if "kept" in figures:
        return f"kept {figures['kept']:,} of {figures.get('pairs', 0):,} pairs"
    return f"{figures.get('label_1', 0):,} good, {figures.get('label_0', 0):,} bad"


STAGE = Stage(
    name="pairs",
    help="Judge sampled completions against each other and write preference pairs.",
    example="grpo pairs pairs.toml --set judge.votes=4",
    config=PairsConfig,
    run=lambda config, _: run(config),
    preview=preview,
    outputs={"pairs": "pairs.parquet", "summary": "pairs.json"},
    key_figure=key_figure,
    inputs=("source", "judge.name", "judge.params.*", "judge.llm.policy"),
    output_key="out",
    main_output="pairs",
    takes_address=False,
)
