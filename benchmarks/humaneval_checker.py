"""Tests the reward `code` on HumanEval: do canonical solutions pass, and do programs one edit away from them fail?

A mutant is judged twice, both times in the sandbox: by the data set's own check (prompt + program + test + check(f) in
one process, exit code 0 is a pass) and by the reward. A mutant that passes the first is equivalent as far as these
tests show, and left out of the fraction. The reward sees only the completion and keeps the tests outside; the result is
how often both agree.

.venv/bin/python benchmarks/humaneval_checker.py HumanEval.jsonl.gz
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import save

from data_recipes.code_tests.mutants import mutants
from rewards.code.reward import Code
from rewards.rows import RewardRow
from rewards.sandbox.shared import shared_sandbox
from rewards.sandbox.types import Limits

BOUNDS = "164 of 164 canonical solutions right; at least 95 % of the non-equivalent mutants fail"
_TEST_S = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--mutants", type=int, default=8, help="of each problem, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    opener = gzip.open if args.data.suffix == ".gz" else open
    with opener(args.data, "rt", encoding="utf-8") as file:
        problems = [json.loads(line) for line in file]
    reward = Code(test_s=_TEST_S, total_s=3 * _TEST_S)
    with ThreadPoolExecutor(args.threads) as threads:
        started = time.perf_counter()
        canonical = list(threads.map(lambda p: judged(reward, p, whole(p)), problems))
        seconds = time.perf_counter() - started
        cases = [
            (problem, text)
            for problem in problems
            for text in mutants(whole(problem), args.mutants, args.seed, problem["entry_point"])
        ]
        rows = list(threads.map(lambda case: compare(reward, *case), cases))
    counts = Counter((row["own"], row["reward"]) for row in rows)
    wrong = [row for row in rows if not row["own"]]
    caught = sum(row["reward"] == 0.0 for row in wrong)
    result = {
        "bounds": BOUNDS,
        "canonical": {
            "right": sum(score == 1.0 for score, _ in canonical),
            "of": len(problems),
            "seconds": round(seconds, 1),
            "not_right": [p["task_id"] for p, (s, _) in zip(problems, canonical, strict=True) if s != 1.0],
        },
        "mutants": {
            "made": len(rows),
            "equivalent": len(rows) - len(wrong),
            "non_equivalent": len(wrong),
            "caught": caught,
            "caught_share": round(caught / len(wrong), 4),
            "no_verdict": sum(row["reward"] is None for row in rows),
            "equivalent_that_the_reward_fails": counts[(True, 0.0)],
            "disagreements": [row for row in rows if float(row["own"]) != row["reward"]][:20],
        },
        "seed": args.seed,
        "tier": shared_sandbox().tier.name,
    }
    print(json.dumps(result, indent=2))
    print(save("humaneval_checker", result))


def whole(problem: dict[str, Any]) -> str:
    """Return the canonical program, with the code that the problem gives."""
    return str(problem["prompt"] + problem["canonical_solution"])


def judged(reward: Code, problem: dict[str, Any], program: str) -> tuple[float | None, str]:
    """Return (score, reason) of a program written as a chat model writes it."""
    columns = {"question": problem["prompt"], "test": problem["test"], "entry_point": problem["entry_point"]}
    score = reward(RewardRow(f"Here it is:\n```python\n{program}\n```\n", columns=columns))
    return score.total, score.reason


def compare(reward: Code, problem: dict[str, Any], program: str) -> dict[str, Any]:
    """Return how the data set's own check and the reward judge a program."""
    own = f"{program}\n\n{problem['test']}\n\ncheck({problem['entry_point']})\n"
    outcome = shared_sandbox().run("python", own, limits=Limits(wall_s=_TEST_S))
    score, reason = judged(reward, problem, program)
    passes = outcome.verdict == "ok"
    row = {"task_id": problem["task_id"], "own": passes, "reward": score}
    return (
        row
        if float(passes) == score
        else row | {"reason": reason, "program": program, "said": outcome.reason}
    )


if __name__ == "__main__":
    main()
