"""Which hand-written parts of `accuracy` change a verdict on real answers: each part is switched off in turn.

    python benchmarks/accuracy_ablation.py --data FOLDER [--samples RUN/samples …] [--rows 200] [--seed 1]

The answers are the gold answers of real data sets in other wordings, right and changed ones (`real` of
math_agreement.py, labels by construction), and the completions of real runs, as they were sampled.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import save
from benchmarks.math_agreement import real
from benchmarks.math_agreement_cases import Case
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
    "question": [
        (compare, "may_name", lambda *_: True), (scalars, "may_name", lambda *_: True),
        (accuracy, "asks_for", lambda *_: False), (accuracy, "asks_for_another", lambda *_: False),
        (compare, "asks_for_place", lambda *_: False), (accuracy, "_echoes", lambda *_: False),
        (accuracy, "_is_undone", lambda *_: False),
    ],
    "relations": [
        (compare, "interval", lambda value: value), (compare, "unnamed", lambda a, b: (a, b)),
        (compare, "in_order", lambda value, *_: value), (compare, "is_same_set", _nothing),
    ],
    "ordinals": [(parse, "read_ordinal", _nothing)],
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
            yield RewardRow(row["completion"], row.get("prompt") or "", row.get("answer"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with JSONL files")
    parser.add_argument("--samples", type=Path, nargs="*", default=[], help="folders samples/ of runs")
    parser.add_argument("--rows", type=int, default=200, help="of each file")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    accuracy.warm_up()
    cases = list(dict.fromkeys(real(args.data, random.Random(args.seed), args.rows)))
    samples = [row for folder in args.samples for row in sampled(folder)]
    rows = [RewardRow(f"<answer>{c.answer}</answer>", c.prompt, c.reference) for c in cases] + samples
    whole = [accuracy.accuracy(row).total for row in rows]
    result: dict[str, Any] = {
        "seed": args.seed, "cases": len(cases), "samples": len(samples),
        "wrong_verdicts_on_cases": sum(v != float(c.right) for v, c in zip(whole, cases, strict=False)), "without": {},
    }  # fmt: skip
    for part in PARTS:
        with without(part):
            found = [accuracy.accuracy(row).total for row in rows]
        result["without"][part] = changes(cases, whole, found)
        print(f"{part:14}", {k: v for k, v in result["without"][part].items() if k != "examples"}, flush=True)
    print(save("accuracy_ablation", result))


def changes(cases: list[Case], whole: list[float | None], found: list[float | None]) -> dict[str, Any]:
    """Count the verdicts that change without a part: wrong answers then accepted, right ones then refused, samples."""
    changed = [at for at, (a, b) in enumerate(zip(whole, found, strict=True)) if a != b]
    known = [at for at in changed if at < len(cases)]
    return {
        "changed_on_cases": len(known),
        "false_positives": sum(found[at] == 1.0 and not cases[at].right for at in known),
        "false_negatives": sum(found[at] != 1.0 and cases[at].right for at in known),
        "changed_on_samples": len(changed) - len(known),
        "examples": [{"reference": cases[at].reference, "answer": cases[at].answer} for at in known[:3]],
    }


if __name__ == "__main__":
    main()
