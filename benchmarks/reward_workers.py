"""Measures the speed of `accuracy`, the gain from a second worker, and the cost of hostile completions.

    python benchmarks/reward_workers.py [--rows 3000]        # on a quiet machine

Ordinary rows are the cases of math_agreement_cases.py. A hostile row is made to hang, to blow up or to fill the memory
of a verifier; each is scored alone, then 200 of them together by two workers, all with an answer that must score 0.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import save
from benchmarks.math_agreement_cases import generated
from rewards.config import RewardConfig
from rewards.math.accuracy import accuracy
from rewards.rows import RewardRow
from rewards.scoring.scorer import Scorer
from rewards.types import Score

MIB = 2**20
BIG = 5 * MIB
ANSWERS: dict[str, str] = {
    "tower of powers": r"10^{10^{10}}", "tower of nines": r"9^{9^{9^{9^9}}}", "python power": "9**9**9**9",
    "huge exponent": r"2^{9999999999}", "huge factorial": "99999999!", "factorials": "9!!!!!!!",
    "nested fractions": r"\frac{" * 400 + "1" + "}{2}" * 400, "brackets": "(" * 900 + "1" + ")" * 900,
    "digits": "1" * 1900, "scientific": "1e999999999", "letters": "x" * 1900, "root": r"\sqrt[99999999]{2}",
    "expand": r"(x+y+z+a+b+c)^{600}", "expand more": r"(a+b)^{99}(c+d)^{99}(x+y)^{99}-1",
    "binomial": r"\binom{99999999}{50000000}", "power of a factorial": r"(999!)^{999!}",
    "sum": r"\sum_{i=1}^{10^{9}} \frac{1}{i!}", "product": r"\prod_{i=1}^{999999} i^i", "integral": r"\int_0^1 x^x dx",
    "limit": r"\lim_{n\to\infty} (1+1/n)^n", "nested integral": r"\int\int\int e^{x^2+y^2} dx dy dz",
    "sines": r"\sin(" * 12 + "x" + ")" * 12, "exponentials": r"\exp(\exp(\exp(9)))",
    "floor": r"\lfloor 10^{9999} \rfloor",
    "matrix": r"\begin{pmatrix}" + " \\\\ ".join(["1 & 2 & 3"] * 60) + r"\end{pmatrix}",
    "list": ", ".join(map(str, range(400))), "list of roots": ", ".join(rf"\sqrt{{{n}}}+x" for n in range(2, 120)),
    "set": r"\{" + ", ".join(rf"\frac{{{n}}}{{7}}" for n in range(200)) + r"\}",
    "chain": "=".join(["1+1"] * 200), "fraction chain": "1/" * 500 + "1", "minus signs": "-" * 1900 + "1",
    "code": "__import__('os').system('sleep 60')", "lambda": "(lambda f: f(f))(lambda f: f(f))",
    "modulus": r"7^{7^{7}} \bmod 1000", "logarithms": r"\log(\log(\log(\log(10^{9999}))))",
    "polynomials": "+".join(f"{n}x^{n}" for n in range(1, 40)), "radicals": r"\sqrt{2+" * 12 + "2" + "}" * 12,
    "trigonometry": "+".join(rf"\sin^{n}(x)\cos^{n}(y)" for n in range(2, 9)),
    "rational": "+".join(rf"\frac{{1}}{{x^{n}+{n}}}" for n in range(1, 15)),
    "equations": ", ".join(f"x_{{{n}}} = {n}" for n in range(100)), "intervals": r" \cup ".join(["(1,2)"] * 150),
}  # fmt: skip
COMPLETIONS: dict[str, str] = {
    "answers opened": "<answer>" * (BIG // 8), "answers closed": "</answer>" * (BIG // 9),
    "empty answers": "<answer></answer>" * (BIG // 17), "thoughts opened": "<think>" * (BIG // 7),
    "thoughts closed": "</think>" * (BIG // 8), "boxes opened": r"\boxed{" * (BIG // 7),
    "boxes": r"\boxed{1} " * (BIG // 10), "braces": "{" * BIG, "closing braces": r"\boxed{1}" + "}" * BIG,
    "one long answer": f"<answer>{'7' * BIG}</answer>", "one long word": f"<answer>{'a' * BIG}</answer>",
    "one long box": rf"\boxed{{{'1+' * (BIG // 2)}1}}", "white space": f"<answer>{' ' * BIG}</answer>",
    "invisible": f"<answer>{chr(0x200B) * (BIG // 3)}43</answer>",
    "Chinese": "思考" * (BIG // 6) + "<answer>错</answer>",
    "surrogates": "\ud800" * (BIG // 3), "entities": "&lt;answer&gt;" * (BIG // 14), "backslashes": "\\" * BIG,
    "dollars": "$" * BIG, "newlines": "\n" * BIG + "<answer>43</answer>",
}  # fmt: skip
REFERENCES = ("42", r"\frac{\sqrt{3}}{2}", "x^2+1", "(0, 1)", r"\{1, 2, 3\}")


def hostile() -> list[tuple[str, RewardRow]]:
    """Return every hostile answer against several references, and every large completion."""
    rows = [
        (name, RewardRow(f"<think>x</think><answer>{text}</answer>", "Find it.", reference))
        for name, text in ANSWERS.items()
        for reference in REFERENCES
    ]
    return [*rows, *((name, RewardRow(text, "Find it.", "42")) for name, text in COMPLETIONS.items())]


def scored(rows: Sequence[RewardRow], workers: int) -> tuple[list[Score], float]:
    """Return the scores, and the seconds without the start of the workers."""
    with Scorer([RewardConfig(name="accuracy")], workers) as scorer:
        scorer.score_rows(rows[: 4 * workers])  # warm up every worker's parser
        started = time.perf_counter()
        scores = scorer.score_rows(rows)
        return scores, time.perf_counter() - started


def bare(rows: Sequence[RewardRow], processes: int) -> float:
    """Return the seconds in which this many independent processes score the rows: the upper bound for these cores."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(processes + 1)
    parts = [rows[at::processes] for at in range(processes)]
    running = [context.Process(target=_score_alone, args=(part, barrier)) for part in parts]
    for process in running:
        process.start()
    barrier.wait()
    started = time.perf_counter()
    for process in running:
        process.join()
    return time.perf_counter() - started


def _score_alone(rows: Sequence[RewardRow], barrier: Any) -> None:
    for row in rows[:4]:
        accuracy(row)
    barrier.wait()
    for row in rows:
        accuracy(row)


def throughput(count: int, repeat: int) -> dict[str, Any]:
    """Return rows per second of ordinary answers, best of `repeat`, with one and two workers, beside bare processes."""
    cases = random.Random(0).sample(generated(9, 120), count)
    reasoning = "Let me think about it step by step. " * 60
    rows = [
        RewardRow(
            f"<think>{reasoning}</think><answer>{c.answer}</answer>", c.prompt, c.reference, group_index=n
        )
        for n, c in enumerate(cases)
    ]
    best = {workers: min(scored(rows, workers)[1] for _ in range(repeat)) for workers in (1, 2)}
    for workers, seconds in best.items():
        print(f"{workers} worker(s): {count / seconds:,.0f} rows/s", flush=True)
    limit = {processes: min(bare(rows, processes) for _ in range(repeat)) for processes in (1, 2)}
    speed_up, bare_speed_up = best[1] / best[2], limit[1] / limit[2]
    print(f"two workers are {speed_up:.2f} times one, two bare processes {bare_speed_up:.2f}", flush=True)
    return {
        "rows": count, "rows_per_s_one_worker": round(count / best[1], 1),
        "rows_per_s_two_workers": round(count / best[2], 1), "speed_up": round(speed_up, 3),
        "rows_per_s_bare_process": round(count / limit[1], 1),
        "rows_per_s_two_bare_processes": round(count / limit[2], 1),
        "speed_up_bare": round(bare_speed_up, 3),
    }  # fmt: skip


def hostility(count: int) -> dict[str, Any]:
    """Return seconds of each hostile row alone, and of `count` of them with two workers."""
    rows = hostile()
    alone: list[tuple[float, str, Score]] = []
    with Scorer([RewardConfig(name="accuracy")], 1) as scorer:
        scorer.score_rows([RewardRow("<answer>1</answer>", answer="2")])
        for name, row in rows:
            started = time.perf_counter()
            (score,) = scorer.score_rows([row])
            alone.append((time.perf_counter() - started, name, score))
    slowest = sorted(alone, key=lambda item: -item[0])[:5]
    accepted = [name for _, name, score in alone if score.total not in (0.0, None)]
    chosen = [rows[i % len(rows)][1] for i in random.Random(1).sample(range(max(count, len(rows))), count)]
    scores, seconds = scored(chosen, 2)
    verdicts = Counter(score.verdict for _, _, score in alone)
    print(f"{len(rows)} hostile rows alone: slowest {slowest[0][0]:.2f} s ({slowest[0][1]}), "
          f"verdicts {dict(verdicts)}, accepted {accepted}", flush=True)  # fmt: skip
    print(f"{count} of them by two workers: {seconds:.1f} s", flush=True)
    return {
        "kinds": len(ANSWERS) + len(COMPLETIONS), "largest_completion_mib": 5, "rows_alone": len(rows),
        "slowest_alone_s": [{"seconds": round(s, 3), "kind": name, "verdict": score.verdict, "reason": score.reason}
                            for s, name, score in slowest],
        "verdicts": dict(verdicts), "accepted": accepted, "rows_together": count,
        "seconds_together_two_workers": round(seconds, 2),
        "verdicts_together": dict(Counter(score.verdict for score in scores)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--hostile", type=int, default=200)
    args = parser.parse_args()
    result = {"throughput": throughput(args.rows, args.repeat), "hostile": hostility(args.hostile)}
    print(save("reward_workers", result))


if __name__ == "__main__":
    main()
