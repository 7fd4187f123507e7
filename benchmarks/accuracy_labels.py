"""`accuracy` on completions that a real model wrote, against labels by rules of their own; math-verify beside it.

    python benchmarks/accuracy_labels.py --data FOLDER --model models/smollm2 [--work DIR] [--seed 20]

Samples 500 completions (250 MATH-500, 170 GSM8K, 80 AMC questions, three worked examples before each) by `grpo sample`,
unless DIR holds them from before. The model hardly ever writes a box of itself, so the template opens it. A completion
is right if the content of its last box is the reference's value (accuracy_label_rules.py); answers that no rule decides
are printed, to be read and written down there.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.accuracy_label_rules import label
from benchmarks.common import save

EXAMPLES = (
    (
        "A farmer has 3 boxes with 12 eggs each and sells 7 eggs. How many eggs are left?",
        "3 boxes with 12 eggs each are 3 * 12 = 36 eggs. After selling 7, 36 - 7 = 29 eggs are left. The answer is "
        "$\\boxed{29}$.",
    ),
    (
        "What is $\\frac{1}{2} + \\frac{1}{3}$? Express your answer as a common fraction.",
        "We have $\\frac{1}{2} = \\frac{3}{6}$ and $\\frac{1}{3} = \\frac{2}{6}$, so the sum is "
        "$\\boxed{\\frac{5}{6}}$.",
    ),
    (
        "Solve $x^2 = 9$ for the positive value of $x$.",
        "Since $3^2 = 9$, the positive solution is $x = \\boxed{3}$.",
    ),
)
RECIPE = """
stage = "sample"
seed = 1
run_dir = "{work}/run"
samples = 1
rewards = [{{ name = "accuracy" }}, {{ name = "math_verify" }}]
[policy]
model = "{model}"
[data]
source = "{work}/prompts.jsonl"
duplicates = "drop"
prefill = "The answer is $\\\\boxed{{"
[sampling]
temperature = 0.6
max_tokens = 96
[engine]
chunk_groups = 125
max_sequences = 128
max_model_len = 1536
kv_cache_gib = 1.5
"""


def prompts(data: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Yield 500 questions with their references, three worked examples before each."""
    rng = random.Random(seed)
    head = [
        {"role": role, "content": text}
        for pair in EXAMPLES
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    for name, count, field in (
        ("math500", 250, "problem"),
        ("gsm8k_test", 170, "question"),
        ("amc", 80, "problem"),
    ):
        rows = [json.loads(line) for line in (data / f"{name}.jsonl").read_text().splitlines()]
        for row in rng.sample(rows, count):
            answer = row["answer"]
            if name == "gsm8k_test":
                answer = answer.split("#### ")[1].replace(",", "")
            elif isinstance(answer, float):
                answer = str(int(answer))
            yield {"prompt": [*head, {"role": "user", "content": row[field]}], "answer": answer, "kind": name}


def sample(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the samples, made now unless they are there."""
    from pyarrow import parquet

    made: Path = args.work / "run" / "samples.parquet"
    if not made.exists():
        args.work.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(row) + "\n" for row in prompts(args.data, args.seed))
        (args.work / "prompts.jsonl").write_text("".join(lines))
        recipe = args.work / "sample.toml"
        recipe.write_text(RECIPE.format(work=args.work, model=args.model))
        subprocess.run([sys.executable, "-m", "grpo.cli", "sample", str(recipe)], check=True)
    return parquet.read_table(made).to_pylist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with math500, gsm8k_test, amc (.jsonl)"
    )
    parser.add_argument("--model", default="models/smollm2")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "accuracy-labels")
    parser.add_argument("--seed", type=int, default=20, help="of the choice of questions")
    args = parser.parse_args()
    rules: Counter[str] = Counter()
    cells: Counter[str] = Counter()
    found: dict[str, list[dict[str, Any]]] = {"accuracy": [], "math_verify": []}
    open_answers = []
    for row in sample(args):
        verdict = label(row["completion"], row["answer"])
        rules[verdict.rule] += 1
        if verdict.right is None:
            open_answers.append((verdict.answer, row["answer"]))
            continue
        for reward, wrong in found.items():
            says = row[reward] == 1.0
            cells[
                f"{reward}: {'right' if verdict.right else 'wrong'} judged {'right' if says else 'wrong'}"
            ] += 1
            if says != verdict.right:
                wrong.append(
                    {"set": row["kind"], "boxed": verdict.answer, "reference": row["answer"],
                     "label": verdict.right, "rule": verdict.rule}
                )  # fmt: skip
    for answer, reference in open_answers:
        print(f"to be read: {answer!r} for {reference!r}")
    result = {
        "seed": args.seed, "model": Path(args.model).name, "completions": sum(rules.values()),
        "labels_by_rule": dict(rules.most_common()), "unlabelled": len(open_answers),
        "verdicts": dict(sorted(cells.items())), "disagreements": found,
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    print(save("accuracy_labels", result))


if __name__ == "__main__":
    main()
