"""Measures the log-prob mismatch of a bfloat16 engine and a bfloat16 learner, by the precision of their routers.

    .venv/bin/python benchmarks/router_precision.py

Untrained tiny V3 policies of several seeds; the engine is vLLM. "before": the learner's routers under autocast
(bfloat16 logits and scores), the engine's as vLLM builds them (bfloat16 weight and logits, float32 scores). "after":
both as the toolkit sets them, in float32. The two mixed cases show that both sides matter.

A route is the set of experts that one token takes in one layer. `routes_differing` compares whole forwards, whose
hidden states differ by bfloat16's rounding before any router sees them; `routes_differing_same_input` gives the
learner's routers the hidden states of the engine, so that only the routers' arithmetic is left.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import save

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SHAPES: dict[str, tuple[str, dict[str, int]]] = {
    "tiny-v3": ("tiny-v3", {}),
    "tiny-v3, 8 of 64 experts": ("tiny-v3", {"n_routed_experts": 64, "num_experts_per_tok": 8}),
    "tiny-v3-mla512": ("tiny-v3-mla512", {}),
}
CASES = {
    "before": ("bfloat16", "bfloat16"),
    "float32 learner only": ("float32", "bfloat16"),
    "float32 engine only": ("bfloat16", "float32"),
    "after": ("float32", "float32"),
}
"""Name → router precision of (learner, engine)."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="router_precision")
    args = parser.parse_args()

    result: dict[str, Any] = {"seeds": args.seeds, "dtype": "bfloat16"}
    with tempfile.TemporaryDirectory() as scratch:
        for shape in SHAPES:
            result[shape] = measure(shape, args.seeds, args.threads, Path(scratch))
            print(shape, json.dumps(result[shape], indent=1))
    print(save(args.name, result))


def measure(shape: str, seeds: int, threads: int, scratch: Path) -> dict[str, Any]:
    """Return the figures of one shape over all seeds, by case."""
    import numpy as np

    from tests.rollout.families import policy
    from tests.rollout.families import save as save_folder

    preset, overrides = SHAPES[shape]
    found: dict[str, list[tuple[Any, Any, Any]]] = {case: [] for case in CASES}
    learner_flips: list[float] = []
    backend = ""
    for seed in range(seeds):
        folder = save_folder(policy(preset, seed, **overrides), scratch / f"{preset}-{len(overrides)}-{seed}")
        learner = {precision: run_learner(folder, precision) for precision in ("bfloat16", "float32")}
        engine = {}
        for precision in ("bfloat16", "float32"):
            engine[precision], backend = run_engine(folder, precision, threads)
        for case, (learner_precision, engine_precision) in CASES.items():
            ours, theirs = learner[learner_precision], engine[engine_precision]
            alone = routes_for(folder, learner_precision, theirs.router_inputs)
            found[case].append(
                (
                    np.abs(ours.logprobs - theirs.logprobs),
                    (ours.routes != theirs.routes).any(-1),
                    (alone != theirs.routes).any(-1),
                )
            )
        learner_flips.append(float((learner["bfloat16"].routes != learner["float32"].routes).any(-1).mean()))
    rows = {}
    for case, parts in found.items():
        mismatch, whole, same_input = (np.concatenate(column) for column in zip(*parts, strict=True))
        rows[case] = {
            "mean_nats": round(float(mismatch.mean()), 5),
            "max_nats": round(float(mismatch.max()), 3),
            "routes_differing": round(float(whole.mean()), 5),
            "routes_differing_same_input": round(float(same_input.mean()), 5),
        }
    return {
        "attention_backend": backend,
        "tokens": sum(len(mismatch) for mismatch, *_ in found["before"]),
        "routes": sum(whole.size for _, whole, _ in found["before"]),
        "learner_routes_changed_by_precision": round(float(np.mean(learner_flips)), 4),
        **rows,
    }


def prompts() -> list[tuple[int, ...]]:
    """Return random tokens, the same in every call."""
    import numpy as np

    from tests.rollout.families import VOCABULARY

    rng = np.random.default_rng(0)
    return [tuple(int(i) for i in rng.integers(2, VOCABULARY, 120)) for _ in range(16)]


@dataclass(frozen=True)
class Forwards:
    """Teacher-forced forward passes of all prompts by one side."""

    logprobs: Any
    """(tokens - prompts,) log-prob of every token except the first of each prompt."""
    routes: Any
    """(tokens, layers, experts) bool, True for a chosen expert."""
    router_inputs: Any
    """(tokens, layers, width) bfloat16 hidden states of the engine; None for the learner."""


def load_learner(folder: Path, precision: str) -> Any:
    """Load the learner's policy, with routers in float32, or as transformers leaves them to autocast ("bfloat16")."""
    from policies.fused import fuse
    from policies.load import load_policy
    from policies.router import routers

    model = load_policy(folder)
    fuse(model)
    if precision == "bfloat16":
        for _, router in routers(model):
            del router.forward
    return model


def run_learner(folder: Path, precision: str) -> Forwards:
    """Run the learner under bfloat16 autocast."""
    import numpy as np
    import torch

    from policies.logprobs import sequence_logprobs
    from policies.router import routers

    model = load_learner(folder, precision)
    chosen: list[Any] = []
    for _, router in routers(model):
        router.register_forward_hook(lambda module, _, output: chosen.append(one_hot(output[2], module)))
    logprobs, routes = [], []
    for prompt in prompts():
        chosen.clear()
        with torch.autocast("cpu", torch.bfloat16):
            logprobs.append(sequence_logprobs(model, prompt).numpy())
        routes.append(np.stack(chosen, axis=1))
    return Forwards(np.concatenate(logprobs), np.concatenate(routes), None)


def routes_for(folder: Path, precision: str, router_inputs: Any) -> Any:
    """Return (tokens, layers, experts) bool, the learner's routes for given (tokens, layers, width) inputs."""
    import numpy as np
    import torch

    from policies.router import routers

    found = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for layer, (_, router) in enumerate(routers(load_learner(folder, precision))):
            found.append(one_hot(router(router_inputs[:, layer])[2], router))
    return np.stack(found, axis=1)


def run_engine(folder: Path, precision: str, threads: int) -> tuple[Forwards, str]:
    """Return a bfloat16 vLLM engine, and the name of its attention backend."""
    import numpy as np
    import torch

    from rollout.config import EngineConfig
    from rollout.vllm_engine import VllmEngine

    config = EngineConfig(
        dtype="bfloat16", threads=threads, kv_cache_gib=0.1, max_sequences=4, max_batched_tokens=1024
    )
    with vllm_gates(precision), recorded_routes() as calls:
        engine = VllmEngine(folder, config, 0)
        backend = engine._engine.collective_rpc(attention_backend)[0]
        logprobs, routes, inputs = [], [], []
        for prompt in prompts():
            calls.clear()
            logprobs.extend(engine.prompt_logprobs([prompt]))
            inputs.append(torch.stack([states[: len(prompt)] for states, _ in calls], dim=1))
            routes.append(np.stack([chosen[: len(prompt)] for _, chosen in calls], axis=1))
        engine.close()
    return Forwards(np.concatenate(logprobs), np.concatenate(routes), torch.cat(inputs)), backend


def attention_backend(worker: Any) -> str:
    """Return the name of the backend of the first attention layer of a vLLM worker."""
    for module in worker.model_runner.get_model().modules():
        if hasattr(module, "attn_backend"):
            return str(module.attn_backend.get_name())
    raise LookupError("the engine has no attention layer")


@contextmanager
def vllm_gates(precision: str) -> Iterator[None]:
    """Build engines with vLLM's own routers ("bfloat16") or the toolkit's ("float32") inside this context."""
    from vllm.model_executor.custom_op import op_registry_oot

    import rollout.vllm_router  # noqa: F401

    ours = op_registry_oot.pop("GateLinear")
    try:
        if precision == "float32":
            op_registry_oot["GateLinear"] = ours
        yield
    finally:
        op_registry_oot["GateLinear"] = ours


@contextmanager
def recorded_routes() -> Iterator[list[Any]]:
    """Record (hidden states, (tokens, experts) choice) of every router call of an engine in this process."""
    from unittest import mock

    from vllm.model_executor.layers.fused_moe.router.cpu_router import CPURouter

    calls: list[Any] = []
    compute = CPURouter._compute_routing

    def recording(self: Any, hidden_states: Any, router_logits: Any, *rest: Any, **keywords: Any) -> Any:
        weights, ids = compute(self, hidden_states, router_logits, *rest, **keywords)
        calls.append((hidden_states.clone(), one_hot(ids.long(), self, router_logits.shape[-1])))
        return weights, ids

    with mock.patch.object(CPURouter, "_compute_routing", recording):
        yield calls


def one_hot(ids: Any, router: Any, experts: int | None = None) -> Any:
    """Convert (T, K) expert ids to a (T, E) bool mask."""
    import torch

    table = torch.zeros(len(ids), experts or router.num_experts, dtype=torch.bool)
    return table.scatter_(1, ids, True).numpy()


if __name__ == "__main__":
    main()
