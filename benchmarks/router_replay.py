"""Measures what other experts add to the mismatch of log-probs in bfloat16, and what router replay removes.

    .venv/bin/python benchmarks/router_replay.py --seeds 1 2 3

Policies are pre-trained on code-tiny, then judged on documents that they have not seen. A copy in bfloat16 with
float32 routers stands for the engine: vLLM on a CPU returns no routed experts. The learner computes under autocast as
in RL, once with its own choices and once with the copy's, replayed.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import UNSEEN, sweep, sweep_parser

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SHAPES: dict[str, dict[str, Any]] = {
    "tiny-v3": {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
    "tiny-v2": {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
}


def main() -> None:
    parser = sweep_parser(__doc__, "router_replay", steps=60)
    parser.add_argument("--presets", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    args = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    shared = {"steps": args.steps, "corpus": "code-tiny", "documents": 64}
    print(
        sweep(args.name, shared, args.presets, args.seeds, lambda preset, seed: run(preset, seed, args.steps))
    )


def run(preset: str, seed: int, steps: int) -> dict[str, float]:
    """Train one policy and compare; returns nats, and the share of (token, layer) with another set of experts."""
    import torch

    from grpo.config.pretrain import PretrainConfig
    from grpo.pretrain import trainer as pretrain
    from grpo.pretrain.trainer import encode
    from policies.logprobs import sequence_logprobs
    from policies.router_replay import RouterReplay, RoutingRecord, bfloat16_copy

    with tempfile.TemporaryDirectory() as folder:
        config = PretrainConfig(
            run_dir=Path(folder),
            seed=seed,
            corpus="code-tiny",
            preset=preset,
            preset_overrides=SHAPES[preset],
            max_steps=steps,
            decay_steps=steps // 4,
            gate_problems=64,
        )
        trainer, state = pretrain.start(config)
        for step in range(steps):
            pretrain.update(trainer, replace(state, step=step))
    model = trainer.model
    engine = bfloat16_copy(model)
    own_gaps, replayed_gaps, others, places = [], [], 0, 0
    for text in trainer.corpus.texts(seed, UNSEEN, 64):
        tokens = encode(trainer, text, "")
        with torch.no_grad(), RoutingRecord(engine) as theirs:
            wanted = sequence_logprobs(engine, tokens).float()
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            with RoutingRecord(model) as mine:
                own_gaps.append((sequence_logprobs(model, tokens).float() - wanted).abs())
            with RouterReplay(model) as replay:
                replay.expect(theirs.choices)
                replayed_gaps.append((sequence_logprobs(model, tokens).float() - wanted).abs())
        for layer, chosen in mine.choices.items():
            differs = chosen.sort().values != theirs.choices[layer].sort().values
            others += int(differs.any(-1).sum())
            places += len(chosen)
    own, replayed = torch.cat(own_gaps), torch.cat(replayed_gaps)
    return {
        "other_experts": others / places,
        "own_mean": float(own.mean()),
        "own_max": float(own.max()),
        "replayed_mean": float(replayed.mean()),
        "replayed_max": float(replayed.max()),
        "tokens": float(len(own)),
    }


if __name__ == "__main__":
    main()
