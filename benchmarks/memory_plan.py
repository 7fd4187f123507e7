"""Compares the memory that `grpo plan` predicts for a learner's rank with what an update takes on this machine.

    .venv/bin/python benchmarks/memory_plan.py --model models/smollm2                  # full and LoRA, 1 and 2 ranks
    .venv/bin/python benchmarks/memory_plan.py --random 1b --cases lora                # a random Llama of 1.1 B

Each rank of a case is a process of its own: it loads the policy, makes two updates on full micro-batches of random
tokens with a KL term, and reports the largest resident set that the kernel saw (VmHWM, libraries included).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import RESULTS, save

from grpo.config.sections import LearnerConfig, LoraConfig, OptimizerConfig
from grpo.memory.model import MIB, RankRun, rank_memory

RANDOM = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 2048, "intermediate_size": 5632,
    "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000,
    "max_position_embeddings": 2048, "tie_word_embeddings": False,
}  # fmt: skip
"""TinyLlama's shape: 1.1 B parameters."""
CASES = {
    "full": {"lora": 0, "recompute": False},
    "full-recompute": {"lora": 0, "recompute": True},
    "lora": {"lora": 16, "recompute": False},
    "lora-recompute": {"lora": 16, "recompute": True},
}
GROUP = 4
PROMPT = 64


def peak_mib() -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def rank_process(case: dict[str, Any]) -> None:
    """Make two updates as one rank, and print the peak."""
    import numpy as np

    from grpo.algorithm.types import TrainGroup, TrainSample
    from grpo.config.algorithm import AlgorithmConfig
    from grpo.config.sections import PolicyConfig

    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):  # as grpo/cluster/actor.py
        os.environ.setdefault(cache, "64")
    import torch

    torch.set_num_threads(case["threads"])
    if case["ranks"] > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=case["meet"], rank=case["rank"], world_size=case["ranks"]
        )
    from grpo.training.learner import Learner

    learner = Learner(
        policy=PolicyConfig(model=case["model"], compute_dtype="bfloat16", lora=lora_of(case)),
        algorithm=AlgorithmConfig(group_size=GROUP, questions_per_step=2 * case["ranks"], kl_coef=0.001),
        optimizer=OptimizerConfig(moments=case["moments"]),
        learner=learner_of(case),
        model_path=case["model"],
        total_steps=10,
        rank=case["rank"],
    )
    rng = np.random.default_rng(0)
    vocab = learner.model.config.vocab_size
    length = (case["tokens"] - PROMPT) // GROUP

    def sample(question: int, index: int) -> TrainSample:
        ids = rng.integers(5, vocab, length).astype(np.int32)
        return TrainSample(ids, np.full(length, -8, np.float32), float((-1) ** index), str(question), index)

    groups = [
        TrainGroup(
            rng.integers(5, vocab, PROMPT).astype(np.int32), tuple(sample(q, i) for i in range(GROUP)), q
        )
        for q in range(2 * case["ranks"])
    ]
    for step in range(2):
        learner.begin_phase(groups, step, 1.0)
        learner.update(groups, step, length)
    print(json.dumps({"peak_mib": peak_mib()}), flush=True)


def lora_of(case: dict[str, Any]) -> LoraConfig | None:
    return LoraConfig(rank=case["lora"]) if case["lora"] else None


def learner_of(case: dict[str, Any]) -> LearnerConfig:
    return LearnerConfig(
        ranks=case["ranks"], tokens_per_micro_batch=case["tokens"], recompute=case["recompute"]
    )


def measure(case: dict[str, Any]) -> int:
    """Run all ranks of a case; returns the largest peak, in MiB."""
    command = [sys.executable, __file__, "--rank"]
    with tempfile.TemporaryDirectory() as folder:
        case = case | {"meet": f"file://{folder}/store"}
        ranks = [
            subprocess.Popen([*command, json.dumps(case | {"rank": r})], stdout=subprocess.PIPE, text=True)
            for r in range(case["ranks"])
        ]
        outputs = [process.communicate()[0] for process in ranks]
    if any(process.returncode for process in ranks):
        raise SystemExit(f"{case}: a rank failed")
    return max(json.loads(text.splitlines()[-1])["peak_mib"] for text in outputs)


def compare(case: dict[str, Any]) -> dict[str, Any]:
    config = json.loads((Path(case["model"]) / "config.json").read_text())
    run = RankRun(
        config, learner_of(case), OptimizerConfig(moments=case["moments"]), lora_of(case),
        has_reference=True, dtype="bfloat16", device="cpu",
    )  # fmt: skip
    memory = rank_memory(run)
    measured = measure(case)
    predicted = memory.bytes / MIB
    return {
        **{k: v for k, v in case.items() if k not in ("model", "threads")},
        "predicted_mib": round(predicted),
        "measured_mib": measured,
        "error": round(predicted / measured - 1, 3),
        "by_kind_mib": {k: round(v / MIB) for k, v in memory.kinds[memory.peak].items()},
    }


def random_policy(folder: Path) -> Path:
    """Write a random policy of RANDOM's shape."""
    from transformers import LlamaConfig

    from policies.export import save_policy
    from policies.presets import new_policy

    config = LlamaConfig(**{k: v for k, v in RANDOM.items() if k not in ("model_type", "architectures")})
    return save_policy(new_policy(config, seed=0), folder, tokenizer_from=None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--random", choices=["1b"], help="a random policy instead of --model")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--moments", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--name", default="memory_plan")
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank:
        rank_process(json.loads(args.rank))
        return
    with tempfile.TemporaryDirectory() as scratch:
        model = args.model or random_policy(Path(scratch) / "policy")
        rows = []
        for ranks in args.ranks:
            for name in args.cases:
                case = {"case": name, **CASES[name], "ranks": ranks, "tokens": args.tokens}
                case |= {"policy": args.random or args.model.name}
                case |= {"moments": args.moments, "model": str(model), "threads": max(1, 2 // ranks)}
                rows.append(compare(case))
                print(json.dumps(rows[-1]), flush=True)
    print(save(args.name, {"cases": merged(args.name, rows)}))


def merged(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows beside those of earlier calls for other cases: a large policy is measured when memory allows."""
    path = RESULTS / f"{name}.json"
    earlier = json.loads(path.read_text())["cases"] if path.exists() else []
    keys = ("policy", "case", "ranks", "tokens", "moments")
    new = {tuple(row[k] for k in keys) for row in rows}
    return [row for row in earlier if tuple(row[k] for k in keys) not in new] + rows


if __name__ == "__main__":
    main()
