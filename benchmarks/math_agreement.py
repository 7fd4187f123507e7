"""Compares `accuracy` and the package math-verify, called in its best way, with the judgement of a person.

    python benchmarks/math_agreement.py [--data FOLDER] [--seed 1] [--size 120]

Three kinds of labelled cases: made by construction (math_agreement_cases.py), labelled by hand (the tables below the
tests of the reward, and math_agreement_hand.py), and the gold answers of real data sets in other wordings, right ones
and perturbed ones, from JSONL files in a folder (`answer`, and `problem` or `question`). math-verify gets the answer
part in \\boxed{}.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import save
from benchmarks.math_agreement_cases import WORDINGS, Case, generated
from benchmarks.math_agreement_hand import hand
from rewards.math import accuracy
from rewards.math import math_verify as math_second
from rewards.rows import RewardRow
from tests.rewards.math.math_cases import TABLE, WITH_CONTEXT
from tests.rewards.math.math_cases_more import TABLE as MORE

REWORDED = [
    w
    for w in WORDINGS
    if w not in ("x = {}", "$x={}$", "it is {}", r"\mathbf{{{}}}", r"\left({}\right)", "({})")
]


def tabled() -> Iterator[Case]:
    """Return the cases of the reward's own tests."""
    for line in TABLE.strip().splitlines():
        reference, answer, right = line.split(" ¦ ")
        yield Case("table", reference, answer, right == "1")
    for prompt, reference, answer, right in WITH_CONTEXT:
        if isinstance(reference, str) and reference:
            yield Case("table with question", reference, answer, right, prompt)
    for line in MORE.strip().splitlines():
        reference, answer, right, *question = line.split(" ¦ ")
        yield Case("table with question", reference, answer, right == "1", *question)


def real(folder: Path, rng: random.Random, count: int) -> Iterator[Case]:
    """Return gold answers reworded (right), and paired with a wrong one, changed or of another question (wrong)."""
    for path in sorted(folder.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        rows = [row for row in rows if row.get("answer") is not None]
        pairs = [(_question(row), _gold(row["answer"])) for row in rng.sample(rows, min(count, len(rows)))]
        for question, gold in pairs:
            for wording in rng.sample(REWORDED, 3):
                yield Case(f"real: {path.stem}", gold, wording.format(gold), True, question)
            for text in _respelled(gold):
                yield Case(f"real: {path.stem}", gold, text, True, question)
            for text in _changed(gold, rng):
                yield Case(
                    f"real, wrong: {path.stem}", gold, rng.choice(REWORDED).format(text), False, question
                )
            other = rng.choice(pairs)[1]
            if _digits(other) != _digits(gold):
                yield Case(f"real, wrong: {path.stem}", gold, other, False, question)


def _question(row: dict[str, Any]) -> str:
    return str(row.get("problem") or row.get("question") or row.get("prompt") or "")


def _gold(answer: Any) -> str:
    if isinstance(answer, float) and answer.is_integer():
        return str(int(answer))
    return str(answer).rpartition("####")[2].strip()


def _digits(text: str) -> str:
    return "".join(c for c in text if c.isalnum())


def _respelled(gold: str) -> Iterator[str]:
    """Return other spellings whose value needs no parser: spaces, sizes, fraction commands, a decimal of an integer."""
    if "\\frac" in gold:
        yield gold.replace("\\frac", "\\dfrac")
        yield gold.replace("\\frac", "\\tfrac")
    if "," in gold and "(" in gold:
        yield (
            gold.replace(", ", ",").replace(",", " , ")
            if not any(c.isdigit() for c in gold)
            else gold.replace(",", ", ")
        )
    if gold.lstrip("-").isdigit():
        yield f"{int(gold):,}"
        yield f"{gold}.0"
        yield f"\\frac{{{2 * int(gold)}}}{{2}}"
    if "\\left" not in gold and gold.startswith("(") and gold.endswith(")"):
        yield f"\\left{gold[:-1]}\\right)"


def _changed(gold: str, rng: random.Random) -> Iterator[str]:
    """Return numbers with one digit changed, increased by one, or with the other sign."""
    places = [at for at, c in enumerate(gold) if c.isdigit()]
    for _ in range(2):
        if places:
            at = rng.choice(places)
            text = gold[:at] + str((int(gold[at]) + rng.randint(1, 9)) % 10) + gold[at + 1 :]
            try:
                same = Fraction(text.replace(",", "")) == Fraction(gold.replace(",", ""))
            except (ValueError, ZeroDivisionError):
                # A changed digit may not matter (0·x, a leading zero): take only those where it surely does.
                same = gold[at] == "0" or text[at] == "0" or "overline" in gold
            if not same:
                yield text
    if gold.isdigit():
        yield str(int(gold) + 1)
        if int(gold):
            yield f"-{gold}"


def judged(cases: Sequence[Case], judge: Callable[[Case], float | None]) -> list[float | None]:
    """Score the cases one after the other."""
    return [judge(case) for case in cases]


def ours(case: Case) -> float | None:
    """Score the whole completion with `accuracy`."""
    completion = f"<think>\nStep by step.\n</think>\n<answer>{case.answer}</answer>"
    return accuracy.accuracy(RewardRow(completion, case.prompt, case.reference)).total


def math_verify(case: Case) -> float | None:
    """Score the answer part, in \\boxed{}, with math-verify."""
    return float(math_second.agrees(case.reference, case.answer))


def measured(cases: Sequence[Case], scores: Sequence[float | None], seconds: float) -> dict[str, Any]:
    """Return the agreement with the labels, overall and by family."""
    wrong = [(case, score) for case, score in zip(cases, scores, strict=True) if score != float(case.right)]
    families, faults = Counter(case.family for case in cases), Counter(case.family for case, _ in wrong)
    examples: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for case, score in wrong:
        kept = examples["false positives" if score == 1.0 else "false negatives"]
        if sum(e["family"] == case.family for e in kept) < 3:
            kept.append(
                {"family": case.family, "reference": case.reference, "answer": case.answer, "score": score}
            )
    should_fail = sum(not case.right for case in cases)
    positives = sum(score == 1.0 and not case.right for case, score in wrong)
    return {
        "cases": len(cases), "agreement": 1 - len(wrong) / len(cases),
        "false_positives": positives, "false_positive_rate": positives / should_fail,
        "false_negatives": len(wrong) - positives,
        "false_negative_rate": (len(wrong) - positives) / (len(cases) - should_fail),
        "cases_per_s": round(len(cases) / seconds, 1),
        "by_family": {f: {"cases": families[f], "wrong": faults[f]} for f in sorted(families)},
        "examples": examples,
    }  # fmt: skip


def agreement(cases: Iterable[Case]) -> dict[str, Any]:
    """Compare both judges on the same cases; list the families in which ours is worse."""
    chosen = list(dict.fromkeys(cases))
    result: dict[str, Any] = {}
    for name, judge in (("accuracy", ours), ("math_verify", math_verify)):
        started = time.perf_counter()
        scores = judged(chosen, judge)
        result[name] = measured(chosen, scores, time.perf_counter() - started)
    a, b = (result[name]["by_family"] for name in ("accuracy", "math_verify"))
    result["families_where_accuracy_is_worse"] = [f for f in a if a[f]["wrong"] > b[f]["wrong"]]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with JSONL files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=120)
    parser.add_argument("--rows", type=int, default=200, help="of each real file")
    parser.add_argument("--show", type=int, default=0, help="false verdicts of ours to print")
    args = parser.parse_args()
    accuracy.warm_up()
    math_second.warm_up()
    sources: dict[str, list[Case]] = {
        "by_construction": generated(args.seed, args.size), "by_hand": [*tabled(), *hand()],
    }  # fmt: skip
    if args.data:
        sources["real_answers"] = list(real(args.data, random.Random(args.seed), args.rows))
    result: dict[str, Any] = {"seed": args.seed, "size": args.size}
    for source, cases in sources.items():
        result[source] = agreement(cases)
        for name in ("accuracy", "math_verify"):
            r = result[source][name]
            errors = "  ".join(
                f"{kind.replace('_', ' ')}s {r[f'{kind}s']:4} ({r[f'{kind}_rate']:.2%})"
                for kind in ("false_positive", "false_negative")
            )
            print(f"{source:16} {name:12} {r['cases']:6,} cases  agreement {r['agreement']:.4f}  {errors}  "
                  f"{r['cases_per_s']:.0f}/s", flush=True)  # fmt: skip
        print("    worse in:", result[source]["families_where_accuracy_is_worse"] or "no family")
        for kind, examples in result[source]["accuracy"]["examples"].items():
            for example in examples[: args.show]:
                print("   ", kind, example)
    print(save("math_agreement", result))


if __name__ == "__main__":
    main()
