"""Compares the learner's routed experts with transformers' ways: forward and backward of one layer, one CPU core.

    OMP_NUM_THREADS=1 python -m benchmarks.routed_experts

Ways: ours (policies/experts.py), and transformers' experts_implementation "eager", a loop over the experts, and
"grouped_mm". CPU seconds of the process, best of five, beside the matrix products alone at the same core's speed; the
largest difference of the outputs is reported too. "batched_mm" copies an expert's weights for every token and is left
out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Experts

from benchmarks.common import save
from policies.experts import NAME, register

SHAPES = {
    "tiny-v3": (2000, 4, 2, 64, 64),
    "mini-v3": (2000, 32, 8, 64, 32),
    "V2-Lite, widths / 4": (2000, 64, 6, 512, 352),
    "V2-Lite, widths / 2": (1000, 64, 6, 1024, 704),
}
"""Tokens, experts, experts of a token, model width, expert width."""
WAYS = {"ours": NAME, "eager": "eager", "grouped_mm": "grouped_mm"}


def best_s(run: Callable[[], object], repeats: int = 5) -> float:
    """Return the fewest CPU seconds of a call, after one to warm up; one call alone if that takes long."""
    started = time.process_time()
    run()
    first = time.process_time() - started
    if first > 20:
        return first
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return min(seconds)


def product_s(rows: int, width: int, inner: int) -> float:
    """Return the seconds of the same arithmetic as two large matrix products, forward and backward."""
    a, b, c = torch.randn(rows, width), torch.randn(width, 2 * inner), torch.randn(rows, inner)
    return 3 * (best_s(lambda: a @ b) + best_s(lambda: c @ torch.randn(inner, width)))


def measure(tokens: int, experts: int, chosen: int, width: int, inner: int) -> dict[str, Any]:
    config = SimpleNamespace(
        num_local_experts=experts, hidden_size=width, moe_intermediate_size=inner, hidden_act="silu",
        _experts_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    module = DeepseekV3Experts(config)
    for parameter in module.parameters():
        parameter.data.normal_(std=width**-0.5)
    states = torch.randn(tokens, width, requires_grad=True)
    index = torch.rand(tokens, experts).topk(chosen).indices
    weights = torch.rand(tokens, chosen, requires_grad=True)
    direction = torch.randn(tokens, width)
    outputs: dict[str, Tensor] = {}

    def step(way: str) -> None:
        config._experts_implementation = WAYS[way]
        output = module(states, index, weights)
        output.backward(direction)
        outputs[way] = output.detach()
        module.zero_grad(set_to_none=True)

    seconds = {way: best_s(lambda way=way: step(way)) for way in WAYS}
    largest = max(float((outputs[way] - outputs["eager"]).abs().max()) for way in WAYS)
    return {
        "tokens": tokens, "experts": experts, "chosen": chosen, "width": width, "inner": inner,
        "seconds": {way: round(s, 4) for way, s in seconds.items()},
        "products_alone_s": round(product_s(tokens * chosen, width, inner), 4),
        "eager_over_ours": round(seconds["eager"] / seconds["ours"], 2),
        "grouped_mm_over_ours": round(seconds["grouped_mm"] / seconds["ours"], 2),
        "largest_difference": largest,
    }  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    register()
    layers = {}
    for name, shape in SHAPES.items():
        layers[name] = measure(*shape)
        print(name, layers[name])
    print(save("routed_experts", {"layers": layers}))


if __name__ == "__main__":
    main()
