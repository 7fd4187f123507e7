"""Data types of a rollout: prompts in, groups of samples out. No torch, Ray or vLLM is imported here.

    prompt = Prompt(id="9f2c…", text="… User: 7 * 4 + 3 Assistant:", token_ids=(5, 9, …), answer="1",
                    columns={"k": 2}, source="chain")
    group  = SampleGroup(prompt, samples=(Sample(…, index=0), …, Sample(…, index=15)))

Token ids are never re-encoded from text: what the engine sampled is what the learner trains on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal  # Any: cells of data rows

from policies.digests import digest_json
from policies.json_types import JsonMapping

if TYPE_CHECKING:
    import numpy as np

FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True)
class Prompt:
    """One question as the policy reads it, with the data that rewards need to score the reply."""

    id: str
    """Hash of source, text and answer (`prompt_id`); the same in every process and every run."""
    text: str
    """The rendered prompt template."""
    token_ids: tuple[int, ...]
    """`text` in the policy's tokens; the engine's input."""
    answer: Any
    """Reference answer (string, number, list), or None where a reward needs none."""
    columns: JsonMapping = field(default_factory=dict)
    """The other columns of the data row: language, kind, test cases, difficulty, the raw question."""
    source: str = ""
    """Name of the data set, for reports."""
    prefill: str = ""
    """Text that chat template and recipe have put into the assistant's turn (R1's `<think>`); rewards read it with the
    reply."""
    messages: tuple[JsonMapping, ...] = ()
    """The data set's conversation that `text` renders, where it is more than one question: what another policy has to
    render with its own template."""
    tools: tuple[JsonMapping, ...] = ()
    """The tools that the conversation was shown."""


@dataclass(frozen=True)
class Sample:
    """One completion of a prompt, as the engine produced it."""

    prompt_id: str
    index: int
    """Index in its group, 0 … G-1."""
    token_ids: np.ndarray
    """(L,) int32 tokens of the completion, with its stop token if it emitted one."""
    logprobs: np.ndarray
    """(L,) float32 log-probability of each token under the distribution that it was sampled from, with temperature and
    top-p applied."""
    text: str
    """Decoded completion, the text that rewards read: without the tokens that mark its end (`decode_reply`)."""
    finish_reason: FinishReason
    seed: int
    """Seed of the sampler for this sample (`sample_seed`)."""
    version_first: int
    """Policy version that sampled the first token."""
    version_last: int
    """Policy version that sampled the last token; another one only if a weight update interrupted the rollout."""

    @property
    def is_truncated(self) -> bool:
        """True if the length limit ended the sample."""
        return self.finish_reason == "length"


@dataclass(frozen=True)
class SampleGroup:
    """One prompt with its G samples, in index order."""

    prompt: Prompt
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class SamplingParams:
    """Settings of the sampler. They are part of a chunk, so that a retry gives the same tokens."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class RolloutChunk:
    """The unit of work and of retries: one engine with an empty prefix cache gets the whole chunk at once.

    Batch composition changes rounding, so a chunk is never split, merged or partly retried: the same chunk on the same
    weights gives the same samples on any worker, before or after a crash.
    """

    id: str
    """Name that is unique within a run, e.g. "train/12/3" for phase 12, chunk 3."""
    prompts: tuple[Prompt, ...]
    group_size: int
    sampling: SamplingParams
    seeds: tuple[tuple[int, ...], ...]
    """`seeds[p][g]` is the seed of sample g of prompt p."""
    policy_version: int
    """Version of the weights to sample from; an engine that holds another version raises `StaleEngine`."""


def prompt_id(source: str, text: str, answer: object) -> str:
    """Return the 16 hex digits that identify a prompt in every process and run."""
    return digest_json([source, text, answer], default=str)


def sample_seed(run_seed: int, purpose: str, step: int, prompt: str, index: int) -> int:
    """Return the 31-bit seed of one sample: a pure function of its position in the run."""
    payload = f"{run_seed}/{purpose}/{step}/{prompt}/{index}"
    return int.from_bytes(hashlib.sha256(payload.encode()).digest()[:4], "big") & 0x7FFFFFFF
