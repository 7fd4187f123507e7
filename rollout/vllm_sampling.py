"""vLLM's CPU sampler without what it does for nothing: the same tokens and log-probs, bit for bit.

    SeedStreams        a decoding step asks each request's generator for one number, by a tensor call of its own, which
                       costs a tiny policy a tenth of its time; here a generator is asked once in 64 steps
    sampled_logprobs   asked for the sampled token's log-prob alone, vLLM still orders the vocabulary (its top 0) and
                       counts how many tokens are likelier

A GPU samples by other code and is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

SEEDS_AT_A_TIME = 64


class SeedStreams:
    """The numbers that the requests' generators give, drawn ahead of the steps that need them.

    A generator belongs to its stream from the first number on. Forget them between chunks only: a stream that is
    begun again goes on behind the numbers that were drawn ahead.
    """

    def __init__(self) -> None:
        self._streams: dict[int, Iterator[int]] = {}

    def draw(self, generators: Mapping[int, torch.Generator], batch: int) -> Tensor:
        """(batch,) int64 in [0, 2³¹): the next number of each row's generator; rows without one draw from torch's."""
        if len(generators) == batch:
            seeds = [0] * batch
        else:
            seeds = torch.randint(0, 2**31, (batch,), dtype=torch.long).tolist()
        for row, generator in generators.items():
            stream = self._streams.get(id(generator))
            if stream is None:
                stream = self._streams[id(generator)] = numbers(generator)
            seeds[row] = next(stream)
        return torch.tensor(seeds, dtype=torch.long)

    def forget(self) -> None:
        """Let go of all generators."""
        self._streams.clear()


def numbers(generator: torch.Generator) -> Iterator[int]:
    """What one draw after the other would give; holds on to the generator, so that its id stays its own."""
    while True:
        yield from torch.randint(0, 2**31, (SEEDS_AT_A_TIME,), generator=generator, dtype=torch.long).tolist()


def quicken(sampler: Any, streams: SeedStreams) -> None:
    """Replace both parts of a vLLM CPU sampler (vllm.v1.sample.sampler.Sampler) in place."""
    from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p

    choose = sampler.topk_topp_sampler
    if choose.logprobs_mode != "processed_logprobs" or choose.use_fp64_gumbel:
        raise ValueError(
            "only for processed log-probs and float32 noise: rollout/vllm_settings.py asks for them"
        )

    def forward(
        logits: Tensor, generators: Mapping[int, torch.Generator], k: Tensor | None, p: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        logits = apply_top_k_top_p(logits, k, p)
        seeds = streams.draw(generators, len(logits))
        chosen = torch.ops._C.fused_gumbel_argmax(logits.float(), seeds)
        return chosen, logits.log_softmax(dim=-1, dtype=torch.float32)

    whole = sampler.gather_logprobs

    def gather(logprobs: Tensor, num_logprobs: int, token_ids: Tensor) -> Any:
        if num_logprobs:
            return whole(logprobs, num_logprobs, token_ids)
        return sampled_logprobs(logprobs, token_ids)

    choose.forward, sampler.gather_logprobs = forward, gather


def sampled_logprobs(logprobs: Tensor, token_ids: Tensor) -> Any:
    """vLLM's form of the log-probs of (B,) tokens alone under (B, V); their ranks, which nobody reads, are 0."""
    from vllm.v1.outputs import LogprobsTensors

    places = token_ids.unsqueeze(-1)
    return LogprobsTensors(places.int(), logprobs.gather(-1, places), torch.zeros_like(token_ids))


class QuickSampling:
    """Mixed into vLLM's worker class; `model_runner` is the worker's."""

    model_runner: Any
    _streams: SeedStreams | None = None

    def quicken_sampling(self) -> None:
        """Once, after the start, on a CPU."""
        self._streams = SeedStreams()
        quicken(self.model_runner.sampler, self._streams)

    def forget_seeds(self) -> None:
        """Before a chunk."""
        if self._streams is not None:
            self._streams.forget()
