"""The words everybody shares: prompt in, group of samples out. Plain data, no torch, no Ray, no vLLM.

    prompt = Prompt(id="9f2c…", text="… User: 7 * 4 + 3 Assistant:", token_ids=(5, 9, …), answer="1",
                    columns={"k": 2}, source="chain")
    group  = SampleGroup(prompt, samples=(Sample(…, index=0), …, Sample(…, index=15)))

Token ids are never re-encoded from text: what the engine sampled is what the learner trains on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from policies.digests import digest_json

FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True)
class Prompt:
    """One question as the policy reads it, with what a reward needs to judge the reply."""

    id: str
    """Stable hash of source, text and answer (`prompt_id`): equal in every process and every run."""
    text: str
    """The rendered template, e.g. R1-Zero's, ready for the policy."""
    token_ids: tuple[int, ...]
    """`text` in the policy's tokens; what the engine is given."""
    answer: Any
    """Reference answer (string, number, list), or None where a reward needs none."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Everything else of the data row: language, kind, test cases, difficulty, the raw question."""
    source: str = ""
    """Name of the data set, for reports."""
    prefill: str = ""
    """Text that the template has already put into the assistant's turn (R1's `<think>`); scored with the
    reply."""


@dataclass(frozen=True)
class Sample:
    """One completion of a prompt, as the engine produced it."""

    prompt_id: str
    index: int
    """Place in its group, 0 … G-1."""
    token_ids: np.ndarray
    """(L,) int32, the completion with its stop token, if it emitted one."""
    logprobs: np.ndarray
    """(L,) float32, log-probability of each token under the distribution it was sampled from (temperature
    applied)."""
    text: str
    """Decoded completion without special tokens; what rewards read."""
    finish_reason: FinishReason
    seed: int
    """The sampler's seed for this sample alone (`sample_seed`)."""
    version_first: int
    """Policy version that sampled the first token …"""
    version_last: int
    """… and the last one; they differ only for a rollout that a weight update interrupted."""

    @property
    def is_truncated(self) -> bool:
        """True if the length limit ended it."""
        return self.finish_reason == "length"


@dataclass(frozen=True)
class SampleGroup:
    """One prompt with its G samples, in index order."""

    prompt: Prompt
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class SamplingParams:
    """How to sample. Part of a chunk, so that redoing the chunk gives the same tokens."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class RolloutChunk:
    """The unit of work and of redoing: submitted whole to one engine with an empty prefix cache.

    Batch composition changes rounding, so a chunk is never split, merged or partly redone: the same chunk on
    the same weights gives the same samples on any worker, before or after a crash.
    """

    id: str
    """Unique within a run, e.g. "train/12/3" for phase 12, chunk 3."""
    prompts: tuple[Prompt, ...]
    group_size: int
    sampling: SamplingParams
    seeds: tuple[tuple[int, ...], ...]
    """`seeds[p][g]` is the seed of sample g of prompt p."""
    policy_version: int
    """The weights it must be sampled from; an engine that holds others refuses."""


def prompt_id(source: str, text: str, answer: Any) -> str:
    """Stable 16-hex-digit name of a prompt."""
    return digest_json([source, text, answer], default=str)


def sample_seed(run_seed: int, purpose: str, step: int, prompt: str, index: int) -> int:
    """Seed of one sample: a pure function of where it stands, never of who drew before it. 31 bits."""
    payload = f"{run_seed}/{purpose}/{step}/{prompt}/{index}"
    return int.from_bytes(hashlib.sha256(payload.encode()).digest()[:4], "big") & 0x7FFFFFFF
