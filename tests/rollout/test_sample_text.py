"""The text of a sample is what a reader sees, also where tags are special tokens; no engine starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rewards.rows import RewardRow
from rewards.text.format import format_reward
from rollout.types import Prompt, RolloutChunk, SamplingParams
from rollout.vllm_engine import VllmEngine
from tests.policies.test_tokenizer import with_special


def test_rewards_read_tags_that_are_special_tokens(tmp_path: Path) -> None:
    tokenizer = with_special(tmp_path, "<think>", "</think>", "<answer>", "</answer>")
    engine = VllmEngine.__new__(VllmEngine)
    engine._tokenizer = tokenizer
    text = "<think>12 + 34</think> <answer>46</answer>"
    ids = tokenizer.encode(text + "<|im_end|>")
    chunk = RolloutChunk(
        "train/0/0", (Prompt("p", "", (1,), "46"),), 1, SamplingParams(99), ((1,),), policy_version=0
    )
    sample = engine._sample(chunk, 0, 0, token_ids=ids, logprobs=[0.0] * len(ids), reason="stop")
    assert sample.text == text
    assert format_reward(RewardRow(sample.text)).total == 1.0
    assert np.array_equal(sample.token_ids, ids)
