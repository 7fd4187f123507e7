"""Measures an RL update of one small policy per family: tokens/s, time of its parts, peak memory of the process.

    .venv/bin/python benchmarks/family_update.py

Policies are random, in float32. `mini-*` are the published shapes at small sizes (docs/policies.md); "MLA of V2-Lite"
and "MLA of V3" have an attention layer at its published widths (latent 512 and 64, heads 16 or 128 of 128 + 64, with
V3's query latent of 1,536) and hardly anything else. Every policy runs in a process of its own. A phase is 2 prompts of
64 tokens with 8 completions of 96 each; the reference pass and the update are timed, the fastest of three.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import sweep
from random_phase import random_groups

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
MLA = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}
DENSE = {"num_hidden_layers": 1, "first_k_dense_replace": 1, "intermediate_size": 256}
LITE_WIDTHS = {"hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 16}
V3_WIDTHS = {
    "hidden_size": 7168,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "q_lora_rank": 1536,
    "num_nextn_predict_layers": 0,
}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "mini-v3": ("mini-v3", {}),
    "mini-v2": ("mini-v2", {}),
    "mini-v2-lite": ("mini-v2-lite", {}),
    "mini-llama3": ("mini-llama3", {}),
    "mini-qwen2": ("mini-qwen2", {}),
    "mini-qwen3": ("mini-qwen3", {}),
    "MLA of V2-Lite, one layer": ("mini-v2-lite", MLA | DENSE | LITE_WIDTHS),
    "MLA of V3, one layer": ("mini-v3", MLA | DENSE | V3_WIDTHS),
}  # fmt: skip
VOCABULARY, PROMPTS, GROUP, PROMPT_TOKENS, TOKENS = 512, 2, 8, 64, 96


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="family_update")
    parser.add_argument("--one", choices=list(SHAPES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.threads)))
        return
    shared = {"threads": args.threads, "prompts": PROMPTS, "group": GROUP, "tokens": TOKENS}
    print(sweep(args.name, shared, args.shapes, [0], lambda shape, _: in_own_process(shape, args.threads)))


def in_own_process(shape: str, threads: int) -> dict[str, float]:
    """Return what `measure` prints there."""
    command = [sys.executable, str(Path(__file__).resolve()), "--one", shape, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(shape: str, threads: int) -> dict[str, float]:
    """Return the figures of one policy."""
    import torch

    from grpo.config.algorithm import AlgorithmConfig
    from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
    from grpo.training.learner import Learner
    from policies.export import save_policy
    from policies.presets import new_policy, tiny_config

    torch.set_num_threads(threads)
    preset, fields = SHAPES[shape]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "policy"
        model = new_policy(tiny_config(preset, VOCABULARY, eos_token_id=1, **fields), 0)
        parameters = sum(p.numel() for p in model.parameters())
        save_policy(model, folder, None)
        del model
        learner = Learner(
            policy=PolicyConfig(model=str(folder), compute_dtype="float32"),
            algorithm=AlgorithmConfig(kl_coef=0.001),
            optimizer=OptimizerConfig(lr=1e-6),
            learner=LearnerConfig(tokens_per_micro_batch=1024),
            model_path=folder,
            total_steps=10,
        )
        packed = PROMPTS * (PROMPT_TOKENS + GROUP * TOKENS)
        times = []
        for step in range(3):
            data = random_groups(
                VOCABULARY, prompts=PROMPTS, prompt=PROMPT_TOKENS, samples=GROUP, tokens=TOKENS, seed=step
            )
            start = time.perf_counter()
            learner.begin_phase(data, step, 1.0)
            middle = time.perf_counter()
            learner.update(data, step, TOKENS)
            times.append((middle - start, time.perf_counter() - middle))
    reference, update = (min(column) for column in zip(*times, strict=True))
    return {
        "parameters": float(parameters),
        "reference_tokens_per_s": packed / reference,
        "update_tokens_per_s": packed / update,
        "peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


if __name__ == "__main__":
    main()
