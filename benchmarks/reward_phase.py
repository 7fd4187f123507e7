"""Times the reward phase of an RL run as the loop sees it: groups are submitted one by one, to 1 or more workers.

    python benchmarks/reward_phase.py [--sleepers 64] [--repeat 3]

Two loads, each through `RewardHandle` on Ray as `grpo rl` does it, without rollouts beside:

* sleepers: programs that run for one second each. N of them on W workers should take about N / W seconds, whatever
  else the machine does, since they need no core.
* code-tiny: a phase of the recipe (16 questions × 16 completions, its rewards and audit), with right, wrong and broken
  programs. These need cores, so two workers gain what the machine has left.

Scores must be the same with any number of workers; the script stops if they are not.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import save
from data_recipes.procedural import CodeTinyParams
from data_recipes.worlds.code_tiny.corpus import fenced
from data_recipes.worlds.code_tiny.problems import rows
from grpo.cluster.handles import RewardHandle
from grpo.cluster.ray_session import connect
from grpo.common.config_io import load_config
from grpo.config.rl import RlConfig
from rewards.config import AuditConfig, RewardConfig
from rollout.types import Prompt, Sample, SampleGroup

SLEEPER = "import time\ntime.sleep(1)\nprint(1)\n"
BOUND = "sleepers: seconds · workers / programs ≤ 1.25 for 1, 2 and 4 workers"


def group(name: str, texts: Sequence[str], columns: dict[str, Any]) -> SampleGroup:
    """Return a prompt with its completions; token ids do not matter to these rewards."""
    prompt = Prompt(name, columns.get("question", name), (1,), "", columns, "bench", "")
    ids, logprobs = np.zeros(1, np.int32), np.zeros(1, np.float32)
    samples = [Sample(name, at, ids, logprobs, text, "stop", 0, 0, 0) for at, text in enumerate(texts)]
    return SampleGroup(prompt, tuple(samples))


def sleepers(programs: int, group_size: int = 8) -> list[SampleGroup]:
    columns = {"tests": [{"stdin": "", "stdout": "1\n"}]}
    return [
        group(f"sleep/{at}", [fenced(SLEEPER)] * min(group_size, programs - at), columns)
        for at in range(0, programs, group_size)
    ]


def code_tiny(config: RlConfig) -> list[SampleGroup]:
    """Build a phase: of each question's completions a third are right, a third are other questions' programs, and the
    rest do not compile or have no fence."""
    rng = random.Random(1)
    problems = [row for _, row in rows(1, "train", CodeTinyParams(count=64))]
    groups = []
    for at, row in enumerate(problems[: config.algorithm.questions_per_step]):
        texts = []
        for number in range(config.algorithm.group_size):
            other = rng.choice(problems)["answer"]
            broken = rng.choice([fenced(other.replace("):", ")")), other])
            texts.append([fenced(row["answer"]), fenced(other), broken][number % 3])
        groups.append(group(f"code-tiny/{at}", texts, {key: row[key] for key in row if key != "answer"}))
    return groups


def phase(
    groups: Sequence[SampleGroup], rewards: Sequence[RewardConfig], audit: AuditConfig | None, workers: int
) -> tuple[float, list[Any]]:
    """Return (seconds, scores) of one reward phase; the workers are started and warm before the clock starts."""
    handle = RewardHandle.start(rewards, workers, audit)
    try:
        warm = group("warm", [fenced("print(1)")] * 4 * workers, {"tests": [{"stdin": "", "stdout": "1\n"}]})
        handle.collect([handle.submit([warm], "rl", 0)])
        started = time.perf_counter()
        scored = handle.collect([handle.submit([one], "rl", 0) for one in groups])
        seconds = time.perf_counter() - started
    finally:
        handle.close()
    return seconds, [(score.total, score.verdict) for one in scored for score in one.scores]


def compare(
    name: str, groups: Sequence[SampleGroup], config: RlConfig, workers: Sequence[int], repeat: int
) -> dict[str, Any]:
    """Return the best seconds of a phase by number of workers, measured in turns."""
    seconds: dict[int, list[float]] = {count: [] for count in workers}
    scores: list[Any] = []
    for _ in range(repeat):
        for count in workers:
            took, found = phase(groups, config.rewards, config.audit, count)
            if scores and found != scores:
                raise SystemExit(f"{name}: {count} workers give other scores")
            scores = found
            seconds[count].append(took)
            print(f"{name}: {len(found)} programs, {count} worker(s): {took:.2f} s", flush=True)
    best = {str(count): round(min(taken), 2) for count, taken in seconds.items()}
    one = best[str(workers[0])]
    return {
        "programs": len(scores), "groups": len(groups), "right": sum(total == 1.0 for total, _ in scores),
        "seconds_by_workers": best,
        "speed_up_by_workers": {count: round(one / took, 2) for count, took in best.items()},
        "all_seconds": {str(count): [round(took, 2) for took in taken] for count, taken in seconds.items()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sleepers", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    config = load_config(RlConfig, "code-tiny")
    slow = config.model_copy(update={"rewards": (RewardConfig(name="code"),)})
    with connect("local"):
        asleep = compare("sleepers", sleepers(args.sleepers), slow, (1, 2, 4, 8), 1)
        tiny = compare("code-tiny", code_tiny(config), config, (1, 2), args.repeat)
    per_program = {
        count: round(took * int(count) / asleep["programs"], 3)
        for count, took in asleep["seconds_by_workers"].items()
    }
    result = {
        "bound": BOUND,
        "within_bound": all(per_program[count] <= 1.25 for count in ("1", "2", "4")),
        "sleepers": asleep | {"seconds_times_workers_per_program": per_program},
        "code_tiny": tiny,
    }
    print(save("reward_phase", result))


if __name__ == "__main__":
    main()
