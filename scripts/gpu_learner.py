"""The checks of the learner for scripts/gpu_check.py: torch and transformers suffice. Functions of device and shape."""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from gpu_result import Check

from benchmarks.random_phase import random_groups

if TYPE_CHECKING:
    from grpo.training.learner import Learner

GIB = 2**30
UTILISATION = 0.4
"""Least share of a bare matrix product's speed that an update of the dense 1.5 B shape must reach."""
PLAN_ERROR = 0.1
"""Largest difference between planned and measured peak memory, relative to the latter."""
DENSE = {
    "tiny": {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 512},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
             "num_key_value_heads": 2, "vocab_size": 151936},
}  # fmt: skip
"""Qwen2.5-1.5B's shape, and one for a CPU."""
PACK = {"tiny": (32, 4, 56), "1.5b": (512, 4, 896)}
"""Tokens of a prompt, completions of a prompt, tokens of a completion: the 1.5 B shape packs 4,096 tokens."""


def attention(device: str, shape: str) -> Check:
    """Compare packed attention and its gradients with a dense mask in float64, at the widths of the families."""
    from policies import varlen
    from policies.attention import packed_attention
    from policies.packing import pack

    generator = torch.Generator().manual_seed(0)
    layout = pack([([1] * 70, [[1] * 130, [1] * 9]), ([1] * 5, [[1] * 40] * 3)]).layout
    ids = torch.cat([torch.full((s.length,), i) for i, s in enumerate(layout.segments)])
    prompts = torch.tensor([-1 if s.prompt is None else s.prompt for s in layout.segments])[ids]
    own = ids[:, None] == ids[None, :]
    mask = (own & (torch.arange(len(ids))[:, None] >= torch.arange(len(ids))[None, :])) | (
        prompts[:, None] == ids[None, :]
    )
    figures, bad = {}, []
    for k_width, v_width, kv_heads in ((64, 64, 2), (128, 128, 1), (192, 128, 4)):
        for dtype, limit in ((torch.float32, 1e-4), (torch.bfloat16, varlen.TOLERANCE)):
            q, k, v = (
                torch.randn(1, h, len(ids), w, generator=generator).to(dtype).to(device).requires_grad_()
                for h, w in ((4, k_width), (kv_heads, k_width), (kv_heads, v_width))
            )
            out, _ = packed_attention(
                torch.nn.Identity(), q, k, v, None, scaling=k_width**-0.5, packed_layout=layout.to(device)
            )
            weight = torch.randn(out.shape, generator=generator)
            found = [out, *torch.autograd.grad((out.float() * weight.to(device)).sum(), (q, k, v))]
            exact = [x.detach().double().cpu().requires_grad_() for x in (q, k, v)]
            keys, values = (x.repeat_interleave(4 // kv_heads, 1) for x in exact[1:])
            scores = (exact[0] @ keys.transpose(-1, -2) * k_width**-0.5).masked_fill(~mask, float("-inf"))
            expected = (scores.softmax(-1) @ values).transpose(1, 2)
            theirs = [expected, *torch.autograd.grad((expected * weight.double()).sum(), exact)]
            error = max(
                float((a.detach().double().cpu() - b.detach()).abs().max() / b.detach().abs().max())
                for a, b in zip(found, theirs, strict=True)
            )
            name = f"{k_width}/{v_width} {str(dtype).removeprefix('torch.')}"
            figures[name] = error
            bad += [name] if not error < limit else []
            if device == "cuda" and dtype == torch.bfloat16 and torch.cuda.get_device_capability() >= (8, 0):
                fused = varlen.usable(q[0].transpose(0, 1), v[0].transpose(0, 1))
                figures[f"{name} fused"] = float(fused)
                bad += [] if fused else [f"{name}: not fused"]
    worst = max(value for name, value in figures.items() if not name.endswith("fused"))
    text = f"largest error {worst:.1e} of the largest value" + (f"; FAILS: {', '.join(bad)}" if bad else "")
    return Check("attention", not bad, text, figures)


def update(device: str, shape: str) -> Check:
    """Compare an update of small policies with the CPU's: gradient norm and loss in float32."""
    figures, bad = {}, []
    for preset in ("tiny-v3", "mini-v2", "mini-qwen2", "mini-llama3"):
        with tempfile.TemporaryDirectory() as scratch:
            folder = small_policy(Path(scratch), preset)
            groups = random_groups(90, prompts=4, prompt=20, samples=4, tokens=12)
            norms = []
            for where in ("cpu", device):
                learner = make_learner(folder, where, dtype="float32", kl_coef=0.1)
                learner.begin_phase(groups, 0, 1.0)
                norms.append(learner.update(groups, 0, 12).metrics["grad_norm"])
        figures[preset] = abs(norms[1] / norms[0] - 1)
        bad += [preset] if not figures[preset] < 1e-4 else []
    text = f"gradient norms differ from the CPU's by {max(figures.values()):.1e} at most"
    return Check("update", not bad, text + (f"; FAILS: {', '.join(bad)}" if bad else ""), figures)


def moments(device: str, shape: str) -> Check:
    """Compare three updates with AdamW's moments in the host's memory with the same ones on the device, bit for bit."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = small_policy(Path(scratch), "mini-qwen2")
        states = []
        for offload in (False, True):
            learner = make_learner(folder, device, dtype="float32", offload_optimizer=offload)
            for step in range(3):
                groups = random_groups(90, prompts=2, prompt=20, samples=4, tokens=12, seed=step)
                learner.begin_phase(groups, step, 1.0)
                learner.update(groups, step, 12)
            states.append({name: tensor.cpu() for name, tensor in learner.named_tensors()})
    # Gradients may be summed in another order: the bound is a thousandth of the learning rate.
    largest = max(float((states[0][n].float() - states[1][n].float()).abs().max()) for n in states[0])
    same = all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    text = "same bits" if same else f"weights differ by {largest:.1e}"
    return Check("moments", largest < 1e-6, text, {"largest": largest})


def speed(device: str, shape: str) -> Check:
    """Measure updates of the dense shape: tokens/s, share of a bare matrix product, memory against the plan, waits."""
    from grpo.config.sections import LearnerConfig, OptimizerConfig
    from grpo.memory.model import RankRun, rank_memory

    prompt, samples, tokens = PACK[shape]
    micro = prompt + samples * tokens
    room = torch.cuda.mem_get_info()[0] if device == "cuda" else 1e18
    with tempfile.TemporaryDirectory() as scratch:
        folder = dense_policy(Path(scratch), shape)
        config = json.loads((folder / "config.json").read_text())
        learner_config = LearnerConfig(tokens_per_micro_batch=micro)
        for choice in ("float32", "bfloat16"):
            optimizer = OptimizerConfig(lr=1e-6, moments=choice)
            run = RankRun(
                config, learner_config, optimizer, None,
                has_reference=False, dtype="bfloat16", device="cuda" if device == "cuda" else "cpu",
            )  # fmt: skip
            plan = rank_memory(run)
            if plan.bytes < 0.9 * room:
                break
        else:
            learner_config = learner_config.model_copy(update={"recompute": True, "offload_optimizer": True})
        learner = make_learner(
            folder, device, dtype="bfloat16", moments=optimizer.moments, micro=micro,
            recompute=learner_config.recompute, offload_optimizer=learner_config.offload_optimizer,
        )  # fmt: skip
        vocab = config["vocab_size"]
        seconds, waits = [], 0
        for step in range(4):
            groups = random_groups(vocab, prompts=4, prompt=prompt, samples=samples, tokens=tokens, seed=step)
            learner.begin_phase(groups, step, 1.0)
            synchronize(device)
            start = time.perf_counter()
            if step == 3 and device == "cuda":
                waits = counted_waits(partial(learner.update, groups, step, tokens))
            else:
                learner.update(groups, step, tokens)
            synchronize(device)
            seconds.append(time.perf_counter() - start)
        body, head = weights_of(learner)
    best = min(seconds[1:3])
    packed = 4 * micro
    flops = 6 * (body * packed + head * 4 * samples * tokens)
    peak = matmul_flops(device)
    share = flops / best / peak
    figures = {
        "tokens_per_s": packed / best, "update_s": best, "utilisation": share, "matmul_tflops": peak / 1e12,
        "waits": float(waits),
    }  # fmt: skip
    problems = [] if share >= UTILISATION or shape == "tiny" else [f"utilisation below {UTILISATION}"]
    text = f"{packed / best:,.0f} tokens/s, {share:.2f} of a bare matrix product ({peak / 1e12:.0f} TFLOP/s)"
    if device == "cuda":
        measured = torch.cuda.max_memory_allocated()
        reserved = torch.cuda.max_memory_reserved()
        estimate = rank_memory(
            RankRun(
                config, learner_config, optimizer, None, has_reference=False, dtype="bfloat16", device="cuda"
            )
        )
        # The plan's process is outside of what torch allocates.
        planned = estimate.bytes - estimate.kinds[estimate.peak]["process"]
        figures |= {"peak_gib": measured / GIB, "reserved_gib": reserved / GIB, "planned_gib": planned / GIB}
        text += (
            f"; peak {measured / GIB:.1f} GiB ({reserved / GIB:.1f} reserved), planned {planned / GIB:.1f}"
        )
        text += f"; waits for the GPU {waits} times in an update"
        if abs(planned / measured - 1) > PLAN_ERROR:
            problems.append("plan and measurement differ by more than 10 %")
    return Check("speed", not problems, text + "".join(f"; FAILS: {p}" for p in problems), figures)


def counted_waits(run: Callable[[], object]) -> int:
    """Return how often PyTorch saw the host wait for the GPU."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchron" in str(warning.message) for warning in seen)


def synchronize(device: str) -> None:
    """Wait for what the device still computes."""
    if device == "cuda":
        torch.cuda.synchronize()


def matmul_flops(device: str) -> float:
    """Return the best FLOP/s of a bfloat16 product with the MLP's shape."""
    size = 4096 if device == "cuda" else 256
    x, w = (torch.randn(size, size, dtype=torch.bfloat16, device=device) for _ in range(2))
    best = 0.0
    for _ in range(10):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(10):
            torch.nn.functional.linear(x, w)
        synchronize(device)
        best = max(best, 10 * 2 * size**3 / (time.perf_counter() - start))
    return best


def weights_of(learner: Learner) -> tuple[float, float]:
    """Return the weights of the linear layers of the body, and those of the head."""
    linear = [(n, m) for n, m in learner.model.named_modules() if isinstance(m, torch.nn.Linear)]
    head = sum(m.weight.numel() for n, m in linear if n == "lm_head")
    return float(sum(m.weight.numel() for n, m in linear if n != "lm_head")), float(head)


def small_policy(folder: Path, preset: str) -> Path:
    """Write a random policy of a preset, logits far from uniform."""
    from policies.export import save_policy
    from policies.presets import new_policy, tiny_config

    return save_policy(new_policy(tiny_config(preset, 96, eos_token_id=1), 0, 0.2), folder / "policy", None)


def dense_policy(folder: Path, shape: str) -> Path:
    """Write a random dense policy of a shape of DENSE."""
    from transformers import Qwen2Config

    from policies.export import save_policy
    from policies.presets import new_policy

    config = Qwen2Config(
        **DENSE[shape], tie_word_embeddings=True, max_position_embeddings=8192, bos_token_id=1, eos_token_id=2
    )
    return save_policy(new_policy(config, seed=0), folder / "policy", None)


def make_learner(
    folder: Path,
    device: str | torch.device,
    *,
    dtype: str,
    kl_coef: float = 0.0,
    moments: str = "float32",
    micro: int = 256,
    recompute: bool = False,
    offload_optimizer: bool = False,
) -> Learner:
    """Return one rank on a device."""
    from grpo.config.algorithm import AlgorithmConfig
    from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
    from grpo.training.learner import Learner

    return Learner(
        policy=PolicyConfig.model_validate({"model": str(folder), "compute_dtype": dtype}),
        algorithm=AlgorithmConfig(kl_coef=kl_coef),
        optimizer=OptimizerConfig.model_validate({"lr": 1e-3, "moments": moments}),
        learner=LearnerConfig(
            tokens_per_micro_batch=micro, recompute=recompute, offload_optimizer=offload_optimizer
        ),
        model_path=folder,
        total_steps=10,
        device=device,
    )
