"""Compares shared-prefix attention with copying each prompt's keys per completion: forward and backward, one CPU core.

    OMP_NUM_THREADS=1 python -m benchmarks.packed_attention

Both compute the same values (the largest difference is printed). CPU seconds of the process, best of six.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from policies import kernels
from policies.attention import packed_attention
from policies.packing import pack

SHAPES = (
    # groups, samples, prompt tokens, completion tokens, heads, head width
    (32, 16, 100, 22, 2, 32),  # the tiny V3 of the demo
    (4, 8, 90, 80, 9, 64),  # SmolLM2-135M
    (2, 4, 100, 1000, 9, 64),
)


def best_ms(run: Callable[[], object], repeats: int = 6) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return 1e3 * min(seconds)


class Copied:
    """Gathers the keys of [prompt | completion] for each completion in one masked call; prompts in a causal one."""

    def __init__(self, groups: list[tuple[list[int], list[list[int]]]]):
        start, prompts, samples = 0, [], []
        for prompt, completions in groups:
            prompts.append((start, len(prompt)))
            prompt_start, start = start, start + len(prompt)
            for completion in completions:
                samples.append((prompt_start, len(prompt), start, len(completion)))
                start += len(completion)
        longest_prompt = max(n for _, n in prompts)
        longest = max(length for *_, length in samples)
        longest_keys = max(n + length for _, n, _, length in samples)
        self.prompts = torch.zeros(len(prompts), longest_prompt, dtype=torch.long)
        self.queries = torch.zeros(len(samples), longest, dtype=torch.long)
        self.keys = torch.zeros(len(samples), longest_keys, dtype=torch.long)
        self.mask = torch.zeros(len(samples), 1, longest, longest_keys, dtype=torch.bool)
        self.place = torch.zeros(start, dtype=torch.long)
        for i, (first, n) in enumerate(prompts):
            self.prompts[i, :n] = torch.arange(first, first + n)
            self.place[first : first + n] = i * longest_prompt + torch.arange(n)
        causal = torch.ones(longest, longest).tril().bool()
        for i, (first, n, own, length) in enumerate(samples):
            self.queries[i, :length] = torch.arange(own, own + length)
            self.keys[i, :n] = torch.arange(first, first + n)
            self.keys[i, n : n + length] = torch.arange(own, own + length)
            self.mask[i, 0, :, :n] = True
            self.mask[i, 0, :, n:] = causal[:, : longest_keys - n] if longest_keys - n <= longest else False
            self.mask[i, 0, :, n : n + length] = causal[:, :length]
            self.place[own : own + length] = self.prompts.numel() + i * longest + torch.arange(length)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        def rows(x: Tensor, index: Tensor) -> Tensor:
            flat = x[0].transpose(0, 1).index_select(0, index.flatten())
            return flat.view(*index.shape, *flat.shape[1:]).transpose(1, 2)

        outs = [
            F.scaled_dot_product_attention(*(rows(x, self.prompts) for x in (q, k, v)), is_causal=True),
            F.scaled_dot_product_attention(
                rows(q, self.queries), rows(k, self.keys), rows(v, self.keys), attn_mask=self.mask
            ),
        ]
        return torch.cat([out.transpose(1, 2).flatten(0, 1) for out in outs]).index_select(0, self.place)


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)

    def tokens(mean: int, spread: float) -> list[int]:
        return [1] * int(rng.integers(mean * (1 - spread), mean * (1 + spread)))

    for count, samples, prompt, completion, heads, width in SHAPES:
        groups = [
            (tokens(prompt, 0.15), [tokens(completion, 0.4) for _ in range(samples)]) for _ in range(count)
        ]
        packed = pack(groups)
        size = packed.layout.token_count
        q, k, v = (
            torch.randn(1, size, heads, width).transpose(1, 2).detach().requires_grad_() for _ in range(3)
        )
        copied = Copied(groups)

        def shared(q: Tensor = q, k: Tensor = k, v: Tensor = v, layout: object = packed.layout) -> Tensor:
            return packed_attention(torch.nn.Identity(), q, k, v, None, packed_layout=layout)[0][0]

        def by_copy(q: Tensor = q, k: Tensor = k, v: Tensor = v, copied: Copied = copied) -> Tensor:
            return copied(q, k, v)

        gap = (shared() - by_copy()).abs().max().item()
        times = [best_ms(lambda f=f: f().sum().backward()) for f in (shared, by_copy)]
        fused = kernels.attend, kernels.attend_backward
        import policies.attention as module

        module.attend, module.attend_backward = kernels.attend_plain, kernels.attend_plain_backward
        times.append(best_ms(lambda f=shared: f().sum().backward()))
        module.attend, module.attend_backward = fused
        print(
            f"{count}x{samples} prompt {prompt} completion {completion} heads {heads}x{width} T={size}: "
            f"shared {times[0]:.0f} ms, copied {times[1]:.0f} ms, shared by plain products {times[2]:.0f} ms "
            f"(max |difference| {gap:.1e})"
        )


if __name__ == "__main__":
    main()
