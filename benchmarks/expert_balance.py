"""Measures what `[router]` does to the load of experts and to what is learnt, on a corpus that loads them unevenly.

    .venv/bin/python benchmarks/expert_balance.py --seeds 1 2 3

Pre-training of tiny V3 and V2 policies (8 experts, 2 of them a token; V2 in 4 groups of which a token reaches 3) on
code-tiny, whose documents repeat a few phrases and lines: without balancing a few experts take most tokens. Each way of
balancing trains from the same weights on the same documents. Reported over the last tenth of the steps and on
documents that none of them has seen: load of the heaviest expert over the mean, share dropped, held-out loss, and the
share of held-out programs that the policy would write greedily.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import UNSEEN, sweep, sweep_parser

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
EXPERTS = {"n_routed_experts": 8, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}
GROUPS = {"n_group": 4, "topk_group": 3, "topk_method": "group_limited_greedy"}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "V3": ("tiny-v3", EXPERTS),
    "V2": ("tiny-v2", EXPERTS | GROUPS),
}
LOSSES = {"expert_loss": 0.003, "device_loss": 0.05, "communication_loss": 0.02}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "V3, none": ("V3", {"bias_rate": 0.0}),
    "V3, bias 0.001": ("V3", {"bias_rate": 0.001}),
    "V3, bias 0.001 and sequence loss 0.0001": ("V3", {"bias_rate": 0.001, "sequence_loss": 1e-4}),
    "V2, none": ("V2", {}),
    "V2, three losses": ("V2", LOSSES),
    "V2, three losses and capacity 1.0": ("V2", LOSSES | {"capacity": 1.0}),
}


def main() -> None:
    parser = sweep_parser(__doc__, "expert_balance", steps=100)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    args = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    shared = {"steps": args.steps, "corpus": "code-tiny"}
    print(sweep(args.name, shared, args.ways, args.seeds, lambda way, seed: run(way, seed, args.steps)))


def run(way: str, seed: int, steps: int) -> dict[str, float]:
    """Train one policy; returns the figures of its end."""
    from grpo.config.pretrain import PretrainConfig
    from grpo.pretrain import trainer as pretrain

    family, router = WAYS[way]
    preset, shape = FAMILIES[family]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        config = PretrainConfig(
            run_dir=Path(folder),
            seed=seed,
            corpus="code-tiny",
            preset=preset,
            preset_overrides=shape,
            router=router,
            max_steps=steps,
            decay_steps=steps // 4,
            gate_problems=64,
        )
        trainer, state = pretrain.start(config)
        rows = []
        for step in range(steps):
            state = replace(state, step=step)
            rows.append(pretrain.update(trainer, state))
        last = rows[-steps // 10 :]
        accuracy = pretrain.measure(trainer)
        return {
            "max_over_mean": 1 + statistics.mean(row["router/max_violation"] for row in last),
            "dropped_share": statistics.mean(row.get("router/dropped_share", 0.0) for row in last),
            "heldout_loss": statistics.mean(unseen_losses(trainer)),
            "accuracy": statistics.mean(accuracy.values()),
            "seconds": time.perf_counter() - began,
        }


def unseen_losses(trainer: Any) -> Iterator[float]:
    """Yield the loss of documents that were not trained on, batch by batch; nothing is dropped."""
    import torch

    from grpo.pretrain.trainer import encode, next_token_loss
    from policies.logprobs import hidden_states
    from policies.packing import pack_documents

    for batch in range(UNSEEN, UNSEEN + 4):
        texts = trainer.corpus.texts(trainer.config.seed, batch, 128)
        packed = pack_documents([encode(trainer, text, "") for text in texts])
        with torch.no_grad():
            yield float(next_token_loss(trainer.model, packed, hidden_states(trainer.model, packed)))


if __name__ == "__main__":
    main()
