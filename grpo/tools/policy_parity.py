"""Measures one small policy per family: engine against learner, routing, weight update, export.

    python -m grpo.tools.policy_parity '[["mini-v3", "float32"]]'      a JSON line per policy; `grpo doctor` runs it

A process of its own: vLLM keeps global state, and a crash must not take the table with it.
"""

from __future__ import annotations

import json
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from rollout.vllm_engine import VllmEngine

VOCABULARY = 96
WEIGHT_STD = 0.21
"""Keeps logits far from uniform, where a wrong model would look like a right one."""
LENGTHS = (5, 17, 40, 70, 110)
"""Tokens of the prompts; the original context of the mini presets is 32."""


@dataclass(frozen=True)
class Parity:
    """A row of the table."""

    preset: str
    dtype: str
    family: str = ""
    largest: float = math.nan
    """Largest |Δ log-prob| between engine and learner over all prompts, before and after an update, in nats."""
    mean: float = math.nan
    """Mean of the same, in nats."""
    routing: float | None = None
    """Share of (token, layer) for which both choose the same set of experts; None without routed experts."""
    synced: int = 0
    """Tensors of an update whose digests the engine confirmed."""
    read_back: int = 0
    """Of these, found bit for bit in the engine's parameters; it keeps the others in a packed form alone."""
    round_trip: bool = False
    """A saved policy loads, and saves again, with the same bits and the same config."""
    error: str = ""
    """What went wrong, if anything did."""


def measure(preset: str, dtype: str, folder: Path) -> Parity:
    """Make two random policies of the preset, start the engine on one, update it to the other, and compare.

    Args:
        preset: of `policies.families.registry.PRESETS`.
        dtype: of the engine and of the learner's matrix products, "float32" or "bfloat16".
        folder: an empty folder for the policies.
    """
    import numpy as np

    from rollout.canary import Canary
    from rollout.config import EngineConfig
    from rollout.transport.sender import publish
    from rollout.vllm_engine import VllmEngine

    drawn = random.Random(0)
    prompts = [tuple(drawn.randrange(2, VOCABULARY) for _ in range(n)) for n in LENGTHS]
    first, second = _random_policy(preset, 1), _random_policy(preset, 2)
    family, round_trip = _round_trip(first, folder)
    settings = {
        "dtype": dtype,
        "threads": 1,
        "kv_cache_gib": 0.1,
        "max_sequences": 8,
        "max_batched_tokens": 1024,
    }
    # A compiled forward would not call the routers' hook.
    config = EngineConfig.model_validate(settings | {"enforce_eager": True})
    engine = VllmEngine(folder / "policy", config, version=0)
    try:
        gaps, same = _compare(engine, first, prompts, dtype)
        canary = [Canary(ids, _learner(second, ids, dtype)[0]) for ids in prompts[:1]]
        wire = _torch_dtype(dtype)
        sync = engine.load_weights(publish(_published(second), 1, canary=canary, wire_dtype=wire))
        more_gaps, more_same = _compare(engine, second, prompts, dtype)
    finally:
        engine.close()
    all_gaps, all_same = np.concatenate(gaps + more_gaps), same + more_same
    return Parity(
        preset=preset,
        dtype=dtype,
        family=family,
        largest=float(all_gaps.max()),
        mean=float(all_gaps.mean()),
        routing=sum(all_same) / len(all_same) if all_same else None,
        synced=sync.tensors,
        read_back=sync.read_back,
        round_trip=round_trip,
    )


def _random_policy(preset: str, seed: int) -> nn.Module:
    """Return a policy whose norms, biases and router bias are random too."""
    import torch

    from policies.presets import new_policy, tiny_config

    model = new_policy(tiny_config(preset, VOCABULARY, eos_token_id=1), seed, WEIGHT_STD)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("norm.weight"):
                tensor.copy_(1 + 0.3 * torch.randn(tensor.shape, generator=generator))
            elif name.endswith("kv_b_proj.weight"):
                # Keys as large as with a latent of 32: sharper attention would turn rounding into other tokens.
                tensor *= (32 / tensor.shape[1]) ** 0.5
            elif name.endswith(("proj.bias", "e_score_correction_bias")):
                tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
    return model


def _round_trip(model: nn.Module, folder: Path) -> tuple[str, bool]:
    """Save the policy with a tokenizer of single words; return its family, and whether load and save keep all bits."""
    from policies.export import save_policy
    from policies.facts import read_facts
    from policies.load import load_policy

    words = {f"w{i}": i for i in range(VOCABULARY)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "w0"},
    }
    source = folder / "tokenizer"
    source.mkdir(parents=True)
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    (source / "tokenizer_config.json").write_text(json.dumps({"eos_token": "w1"}))
    policy = save_policy(model, folder / "policy", source)
    again = save_policy(load_policy(policy), folder / "again", source)
    files = sorted(path.name for path in policy.iterdir())
    same = files == sorted(path.name for path in again.iterdir()) and all(
        (policy / name).read_bytes() == (again / name).read_bytes() for name in files
    )
    return read_facts(policy).family, same


def _compare(
    engine: VllmEngine, model: nn.Module, prompts: list[tuple[int, ...]], dtype: str
) -> tuple[list[np.ndarray], list[bool]]:
    """Return |Δ log-prob| of each prompt, and for each token and layer whether the experts are the same set."""
    import numpy as np

    gaps, same = [], []
    for ids, found in zip(prompts, engine.prompt_logprobs(prompts), strict=True):
        expected, experts = _learner(model, ids, dtype)
        gaps.append(np.abs(found - expected))
        chosen = engine.prompt_experts(ids)
        if chosen.keys() != experts.keys():
            raise RuntimeError(
                f"the engine routes in layers {sorted(chosen)}, the learner in {sorted(experts)}"
            )
        for layer, rows in experts.items():
            same += [set(a) == set(b) for a, b in zip(rows.tolist(), chosen[layer].tolist(), strict=True)]
    return gaps, same


def _learner(model: nn.Module, ids: tuple[int, ...], dtype: str) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Return the learner's log-probs of tokens 1 …, and (n, K) experts by layer."""
    import torch

    from policies.logprobs import sequence_logprobs
    from policies.router import routers

    experts: dict[int, np.ndarray] = {}

    def note(layer: int, _module: nn.Module, _inputs: object, output: Sequence[Tensor]) -> None:
        experts[layer] = output[2].numpy()

    hooks = [
        router.register_forward_hook(partial(note, int(name.split(".")[2])))  # model.layers.N.mlp.gate
        for name, router in routers(model)
    ]
    try:
        with torch.no_grad(), torch.autocast("cpu", _torch_dtype(dtype), enabled=dtype != "float32"):
            logprobs = sequence_logprobs(model, ids).numpy()
    finally:
        for hook in hooks:
            hook.remove()
    return logprobs, experts


def _published(model: nn.Module) -> dict[str, Tensor]:
    from policies.hf_names import named_tensors
    from policies.model import causal_lm
    from policies.mtp import is_mtp_tensor

    main = causal_lm(model).config.num_hidden_layers
    return {name: tensor for name, tensor in named_tensors(model) if not is_mtp_tensor(name, main)}


def _torch_dtype(dtype: str) -> torch.dtype:
    import torch

    found: torch.dtype = getattr(torch, dtype)
    return found


def main(asked: str) -> None:
    """Print a JSON line for every (preset, dtype)."""
    for preset, dtype in json.loads(asked):
        with tempfile.TemporaryDirectory(prefix="parity.") as scratch:
            try:
                row = measure(preset, dtype, Path(scratch))
            except Exception as error:  # a row of the table says what went wrong, and the others go on
                lines = str(error).strip().splitlines() or [""]
                row = Parity(preset, dtype, error=f"{type(error).__name__}: {lines[0]}")
        print(json.dumps(asdict(row)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
