"""Measures infilling of a tiny Coder-V2 policy with and without fill in the middle in its corpus.

    .venv/bin/python benchmarks/fim.py --seeds 1 2 3

Pre-training of tiny V2 policies on code-tiny with `[fim] rate` 0 and 0.5 (Coder-V2-Lite's), from the same weights and
on the same documents. Judged on held-out problems: a line is taken out of the right program; given question and
program around the hole in PSM order, would the policy write exactly that line and then end? Beside it the share of
train problems whose whole program it writes greedily from left to right, which infilling must not cost.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import sweep, sweep_parser

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}
RATES = (0.0, 0.5)
PROBLEMS = 256


def main() -> None:
    parser = sweep_parser(__doc__, "fim", steps=1000)
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    parser.add_argument("--preset", default="tiny-v2")
    args = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    shared = {"steps": args.steps, "preset": args.preset, "corpus": "code-tiny"}
    ways = {f"rate {rate}": rate for rate in args.rates}
    print(
        sweep(
            args.name,
            shared,
            list(ways),
            args.seeds,
            lambda way, seed: run(ways[way], seed, args.steps, args.preset),
        )
    )


def run(rate: float, seed: int, steps: int, preset: str) -> dict[str, float]:
    """Train one policy; returns the figures of its beginning and end."""
    from grpo.config.pretrain import PretrainConfig
    from grpo.pretrain import trainer as pretrain

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        config = PretrainConfig(
            run_dir=Path(folder),
            seed=seed,
            corpus="code-tiny",
            preset=preset,
            preset_overrides=ROPE,
            fim={"rate": rate},  # at rate 0 the vocabulary, and with it the weights, are the same
            max_steps=steps,
            decay_steps=steps // 4,
        )
        trainer, state = pretrain.start(config)
        before = exact_match(trainer)
        for step in range(steps):
            pretrain.update(trainer, replace(state, step=step))
        return {
            "infilling_before": before,
            "infilling": exact_match(trainer),
            "left_to_right": statistics.mean(pretrain.measure(trainer).values()),
            "seconds": time.perf_counter() - began,
        }


def exact_match(trainer: Any) -> float:
    """Return the share of held-out problems whose missing line is infilled exactly, greedily."""
    import torch

    from data_recipes.fim import Cut, fim_tokens, psm
    from data_recipes.worlds.code_tiny.corpus import fenced
    from data_recipes.worlds.code_tiny.problems import program, question, random_problem
    from data_recipes.worlds.probes.greedy_probe import GreedyProbe, greedy_accuracy
    from policies.packing import pack_documents

    rng, tokenizer = random.Random("fim"), trainer.tokenizer
    documents: list[list[int]] = []
    judged: list[bool] = []
    for number in range(PROBLEMS):
        problem = random_problem(rng, 1 + number % 4, "held-out")
        lines = program(problem).splitlines(keepends=True)
        at = rng.randrange(1, len(lines))
        text = question(problem) + fenced(program(problem))
        start = len(question(problem)) + len("```python\n") + sum(map(len, lines[:at]))
        end = start + len(lines[at])
        given, middle = psm(fim_tokens(tokenizer), tokenizer, Cut(text[:start], text[start:end], text[end:]))
        before = [*tokenizer.encode("", add_special_tokens=True), *given]
        documents.append([*before, *middle, tokenizer.eos_id])
        judged += [False] * (len(before) - 1) + [True] * (len(middle) + 1)
    return greedy_accuracy(trainer.model, GreedyProbe(pack_documents(documents), torch.tensor(judged)))


if __name__ == "__main__":
    main()
