"""Which hand-written parts of `accuracy` change a verdict on real answers: each part is switched off in turn.

    python benchmarks/accuracy_ablation.py --data FOLDER [--samples RUN/samples …] [--public FILE] [--rows 200]

The answers are the gold answers of real data sets in other wordings, right and changed ones (`real` of
math_agreement.py, labels by construction), cases made after public bug reports, cases labelled by hand, and the
completions of real runs, as they were sampled.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import save
from benchmarks.math_agreement import real
from benchmarks.math_agreement_cases import Case
from benchmarks.math_agreement_hand import hand
from rewards.math import accuracy, compare, parse, quantity, scalars, sentence, text
from rewards.math.numbers import read_number
from rewards.math.values import Quantity
from rewards.rows import RewardRow


def _nothing(*_: object) -> None:
    return None


def _number_only(value: str) -> Quantity | None:
    number = read_number(value)
    return Quantity(number) if number else None


PARTS: dict[str, list[tuple[Any, str, Any]]] = {
    "units": [(quantity, "parse_unit", _nothing), (parse, "parse_unit", _nothing), (sentence, "parse_unit", _nothing)],
    "quantity": [(parse, "read_quantity", _number_only)],
    "calendar": [(parse, name, _nothing) for name in ("read_day", "read_clock", "read_weekday")],
    "calendar: days": [(parse, "read_day", _nothing)],
    "calendar: clocks": [(parse, "read_clock", _nothing)],
    "calendar: weekdays": [(parse, "read_weekday", _nothing)],
    "question: units it asks for": [
        (compare, "may_name", lambda *_: True), (scalars, "may_name", lambda *_: True)
    ],
    "question: the variable it asks for": [
        (accuracy, "asks_for", lambda *_: False), (accuracy, "asks_for_another", lambda *_: False)
    ],
    "question: places": [(compare, "asks_for_place", lambda *_: False)],
    "question: answers that repeat it": [
        (accuracy, "_echoes", lambda *_: False), (accuracy, "_is_undone", lambda *_: False)
    ],
    "relations: intervals": [(compare, "interval", lambda value: value)],
    "relations: names in front of values": [(compare, "unnamed", lambda a, b: (a, b))],
    "relations: order of a tuple": [(compare, "in_order", lambda value, *_: value)],
    "relations: sets of reals": [(compare, "is_same_set", _nothing)],
    "ordinals": [(parse, "read_ordinal", _nothing)],
    "products": [(parse, "scalar", _nothing)],
    "bases": [(parse, "read_based", _nothing)],
    "sentence": [(accuracy, "value_in", _nothing)],
    "lead-in words": [(text, "_LEAD", re.compile(r"(?!)"))],
}  # fmt: skip
"""What is put in place of each part."""


@contextlib.contextmanager
def without(part: str) -> Iterator[None]:
    """Switch a part off."""
    kept = [(module, name, getattr(module, name)) for module, name, _ in PARTS[part]]
    for module, name, other in PARTS[part]:
        setattr(module, name, other)
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


def sampled(folder: Path) -> Iterator[RewardRow]:
    """Return every sample of a run with its question and reference."""
    from pyarrow import parquet

    for path in sorted(folder.glob("*.parquet")):
        for row in parquet.read_table(path).to_pylist():
            yield RewardRow(
                row["completion"], row.get("question") or row.get("prompt") or "", row.get("answer")
            )


def as_row(case: Case) -> RewardRow:
    """Return a case as a reply that answers with it."""
    return RewardRow(f"<answer>{case.answer}</answer>", case.prompt, case.reference)


def public(path: Path) -> tuple[list[RewardRow], list[float]]:
    """Return the cases of a file made after public bug reports, and their right verdicts."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row for row in rows if row["reward"] == "accuracy"]
    return [RewardRow(r["completion"], r["prompt"], r["answer"]) for r in rows], [
        float(r["want"]) for r in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with JSONL files")
    parser.add_argument("--samples", type=Path, nargs="*", default=[], help="folders with samples of runs")
    parser.add_argument("--public", type=Path, help="JSONL: completion, prompt, answer and want of a case")
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), help="only these")
    parser.add_argument("--rows", type=int, default=200, help="of each file")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    accuracy.warm_up()
    cases = list(dict.fromkeys(real(args.data, random.Random(args.seed), args.rows)))
    by_hand = list(hand())
    reported, wanted = public(args.public) if args.public else ([], [])
    sets = {
        "cases": ([as_row(c) for c in cases], [float(c.right) for c in cases]),
        "public": (reported, wanted),
        "hand": ([as_row(c) for c in by_hand], [float(c.right) for c in by_hand]),
        "samples": ([row for folder in args.samples for row in sampled(folder)], None),
    }
    whole = {name: [accuracy.accuracy(row).total for row in rows] for name, (rows, _) in sets.items()}
    result: dict[str, Any] = {
        "seed": args.seed,
        "rows": {name: len(rows) for name, (rows, _) in sets.items()},
        "wrong": {n: count_wrong(whole[n], right) for n, (_, right) in sets.items() if right is not None},
        "without": {},
    }
    for part in args.parts or PARTS:
        with without(part):
            found = {name: [accuracy.accuracy(row).total for row in rows] for name, (rows, _) in sets.items()}
        result["without"][part] = {
            name: changes(rows, right, whole[name], found[name]) for name, (rows, right) in sets.items()
        }
        print(f"{part:36}", {n: c["changed"] for n, c in result["without"][part].items()}, flush=True)
    print(save("accuracy_ablation", result))


def count_wrong(verdicts: Sequence[float | None], right: Sequence[float]) -> int:
    """Return how many verdicts are not the right ones."""
    return sum(verdict != value for verdict, value in zip(verdicts, right, strict=True))


def changes(
    rows: Sequence[RewardRow],
    right: Sequence[float] | None,
    whole: Sequence[float | None],
    found: Sequence[float | None],
) -> dict[str, Any]:
    """Count the verdicts that change without a part, and of those with a label the wrong ones of either kind."""
    changed = [at for at, (a, b) in enumerate(zip(whole, found, strict=True)) if a != b]
    counts: dict[str, Any] = {"changed": len(changed)}
    if right is not None:
        counts["false_positives"] = sum(found[at] == 1.0 and right[at] == 0.0 for at in changed)
        counts["false_negatives"] = sum(found[at] != 1.0 and right[at] == 1.0 for at in changed)
    counts["examples"] = [
        {"reference": str(rows[at].answer), "completion": rows[at].completion[-120:]} for at in changed[:3]
    ]
    return counts


if __name__ == "__main__":
    main()
