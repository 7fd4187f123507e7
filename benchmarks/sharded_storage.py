"""Measures the host memory of load, save and export of a policy that is divided over ranks, against a rank's part.

    .venv/bin/python benchmarks/sharded_storage.py                       # a random Llama of 1.1 B over 4 ranks

Each rank is a process of its own. Before each of the three it sets the kernel's record of its largest resident set back
(/proc/self/clear_refs), so that a figure is the growth in that part alone: at the load beyond the process without a
policy, afterwards beyond what it holds. Pages of files that it maps count. A load may take the rank's part of weights
and moments and two decoder layers; save, export and resume two layers. More than that is an error.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import save
from memory_plan import RANDOM, random_policy

LAYERS_ALLOWED = 2
MIB = 2**20


def status_mib(field: str) -> float:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def growth(work: Any) -> float:
    """Return by how many MiB the largest resident set during work() exceeds the one before it."""
    before = status_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    work()
    return status_mib("VmHWM") - before


def rank_process(rank: int, ranks: int, meet: str, folder: Path) -> None:
    """Load, save and export as one rank; print what each took."""
    import torch

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=ranks)
    from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
    from grpo.training.checkpoint import save_checkpoint
    from grpo.training.trained_policy import TrainedPolicy
    from policies.attention import register

    register()
    from transformers import AutoModelForCausalLM  # noqa: F401  # its libraries belong to the process

    trained: TrainedPolicy
    found: dict[str, float] = {}

    def load() -> None:
        nonlocal trained
        trained = TrainedPolicy(
            policy=PolicyConfig(model=str(folder / "policy"), compute_dtype="bfloat16"),
            optimizer=OptimizerConfig(moments="bfloat16"),
            learner=LearnerConfig(ranks=ranks),
            model_path=folder / "policy",
            rank=rank,
        )

    found["load"] = growth(load)
    own = sum(p.to_local().nbytes for p in trained.model.parameters()) / MIB
    found["held"] = own
    moments = sum(shard.part.nbytes for shard in trained.optimizer.state()) / MIB

    def checkpoint() -> None:
        save_checkpoint(
            folder / "checkpoints", 1, {}, lambda to: trained.save(to, None), 1, team=trained.team
        )

    found["save"] = growth(checkpoint)
    found["export"] = growth(lambda: trained.export(folder / "export"))
    found["resume"] = growth(lambda: trained.load(folder / "checkpoints" / "step-000001", None))
    found["moments"] = moments
    print(json.dumps(found), flush=True)
    torch.distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--name", default="sharded_storage")
    parser.add_argument("--rank", nargs=3, help=argparse.SUPPRESS, metavar=("RANK", "MEET", "FOLDER"))
    args = parser.parse_args()
    if args.rank:
        rank_process(int(args.rank[0]), args.ranks, args.rank[1], Path(args.rank[2]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, __file__, "--make", scratch], check=True)
        meet = f"file://{scratch}/store"
        command = [sys.executable, __file__, "--ranks", str(args.ranks), "--rank"]
        processes = [
            subprocess.Popen([*command, str(rank), meet, scratch], stdout=subprocess.PIPE, text=True)
            for rank in range(args.ranks)
        ]
        outputs = [process.communicate()[0] for process in processes]
        if any(process.returncode for process in processes):
            raise SystemExit("a rank failed")
    rows = [json.loads(text.splitlines()[-1]) for text in outputs]
    layer = layer_mib()
    part, moments = (max(row[k] for row in rows) for k in ("held", "moments"))
    result: dict[str, Any] = {
        "policy": "random Llama, 1.1 B", "ranks": args.ranks, "policy_mib": round(sum(r["held"] for r in rows)),
        "part_mib": round(part), "moments_of_a_part_mib": round(moments), "layer_mib": round(layer),
        "allowed_mib": {
            "load": round(part + moments + LAYERS_ALLOWED * layer), "others": round(LAYERS_ALLOWED * layer),
        },
        "growth_mib": {k: round(max(r[k] for r in rows)) for k in ("load", "save", "export", "resume")},
    }  # fmt: skip
    print(json.dumps(result))
    print(save(args.name, result))
    allowed = result["allowed_mib"]
    over = [k for k, grown in result["growth_mib"].items() if grown > allowed.get(k, allowed["others"])]
    if over:
        raise SystemExit(f"more than allowed: {', '.join(over)}")


def layer_mib() -> float:
    """Return the float32 size of a decoder layer."""
    hidden, inner = RANDOM["hidden_size"], RANDOM["intermediate_size"]
    kv = hidden * RANDOM["num_key_value_heads"] // RANDOM["num_attention_heads"]
    return 4 * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * inner + 2 * hidden) / MIB


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:  # in a process of its own, whose memory goes with it
        random_policy(Path(sys.argv[2]) / "policy")
    else:
        main()
