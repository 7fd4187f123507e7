"""Compares FLOP/s of the learner's update and reference pass with a bare matrix product of the same shapes and cores.

    .venv/bin/python benchmarks/learner_flops.py

A Llama of SmolLM2-135M's shape with random weights; 4 prompts of 100 tokens × 8 completions of 96, as in grpo_step.py.
FLOPs are counted for the matrix work alone (2 per weight and token forward, twice that backward; the head on completion
tokens only); attention scores, norms and the optimizer are not counted, so the share is a lower bound.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from common import save
from random_phase import random_groups

from grpo.config.algorithm import AlgorithmConfig
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.training.learner import Learner
from policies.export import save_policy
from policies.presets import new_policy

VOCABULARY, PROMPTS, GROUP, PROMPT_TOKENS, TOKENS = 49152, 4, 8, 100, 96


def model_folder(folder: Path) -> tuple[Path, float, float]:
    """Return (folder, weights in linear layers of the body, weights of the head)."""
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=VOCABULARY, tie_word_embeddings=True, max_position_embeddings=8192, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = new_policy(config, seed=0)
    body = sum(
        m.weight.numel()
        for n, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and n != "lm_head"
    )
    return save_policy(model, folder / "policy", None), float(body), float(model.lm_head.weight.numel())


def matmul_gflops(dtype: torch.dtype) -> float:
    """Return the best FLOP/s of several products of an MLP's shape: the practical peak of these cores."""
    x, w = torch.randn(868, 576, dtype=dtype), torch.randn(1536, 576, dtype=dtype)
    best = 0.0
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(10):
            torch.nn.functional.linear(x, w)
        best = max(best, 10 * 2 * 868 * 576 * 1536 / (time.perf_counter() - start) / 1e9)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder, body, head = model_folder(Path(scratch))
        learner = Learner(
            policy=PolicyConfig(model=str(folder), compute_dtype=args.dtype),
            algorithm=AlgorithmConfig(kl_coef=0.001),
            optimizer=OptimizerConfig(lr=1e-6),
            learner=LearnerConfig(tokens_per_micro_batch=1024),
            model_path=folder,
            total_steps=10,
        )
        packed, completion = PROMPTS * (PROMPT_TOKENS + GROUP * TOKENS), PROMPTS * GROUP * TOKENS
        forward = 2 * (body * packed + head * completion)
        rows = []
        for step in range(args.steps):
            data = random_groups(
                VOCABULARY, prompts=PROMPTS, prompt=PROMPT_TOKENS, samples=GROUP, tokens=TOKENS, seed=step
            )
            start = time.perf_counter()
            learner.begin_phase(data, step, 1.0)
            middle = time.perf_counter()
            learner.update(data, step, TOKENS)
            rows.append((middle - start, time.perf_counter() - middle))
    peak = matmul_gflops(getattr(torch, args.dtype))
    reference, update = (min(column) for column in zip(*rows[1:], strict=True))
    result = {
        "dtype": args.dtype,
        "threads": args.threads,
        "reference_s": [round(r, 2) for r, _ in rows],
        "update_s": [round(u, 2) for _, u in rows],
        "reference_gflops": round(forward / reference / 1e9, 1),
        "update_gflops": round(3 * forward / update / 1e9, 1),
        "matmul_gflops": round(peak, 1),
        "update_over_matmul": round(3 * forward / update / 1e9 / peak, 3),
    }
    print(json.dumps(result))
    print(save(f"learner_flops_{args.dtype}", result))


if __name__ == "__main__":
    main()
