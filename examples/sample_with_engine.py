"""Sample completions from a policy with the engine that training uses.

    python examples/sample_with_engine.py runs/demo/policy "7 * 4 + 3"

Without arguments it makes an untrained tiny policy, whose completions are noise.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from data_recipes.templates import render
from data_recipes.worlds.chain.tokenizer import build_tokenizer, pieces
from policies.export import save_policy
from policies.presets import new_policy, tiny_config
from policies.tokenizer import load_tokenizer
from rollout.config import EngineConfig
from rollout.types import Prompt, RolloutChunk, SamplingParams, prompt_id, sample_seed
from rollout.vllm_engine import VllmEngine

GROUP_SIZE = 4


def main(model: Path, question: str) -> None:
    """Print GROUP_SIZE completions of one question with their mean log-probability."""
    tokenizer = load_tokenizer(model)
    rendered = render("r1-zero", question, tokenizer)
    name = prompt_id("example", rendered.text, None)
    token_ids = tokenizer.encode(rendered.text, add_special_tokens=rendered.add_special_tokens)
    prompt = Prompt(id=name, text=rendered.text, token_ids=tuple(token_ids), answer=None)
    chunk = RolloutChunk(
        id="example/0",
        prompts=(prompt,),
        group_size=GROUP_SIZE,
        sampling=SamplingParams(max_tokens=32, stop_token_ids=tokenizer.stop_token_ids),
        seeds=(tuple(sample_seed(1, "example", 0, name, index) for index in range(GROUP_SIZE)),),
        policy_version=0,
    )
    engine = VllmEngine(model, EngineConfig(dtype="float32", max_model_len=256, kv_cache_gib=0.1), version=0)
    try:
        for groups in engine.generate(chunk):
            for sample in (sample for group in groups for sample in group.samples):
                print(f"{sample.finish_reason} {sample.logprobs.mean():.2f} {sample.text!r}")
    finally:
        engine.close()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(Path(sys.argv[1]), sys.argv[2])
    else:
        with tempfile.TemporaryDirectory() as folder:
            build_tokenizer(Path(folder, "tokenizer"))
            stop = load_tokenizer(Path(folder, "tokenizer")).stop_token_ids[0]
            policy = new_policy(tiny_config("tiny-v3", len(pieces()), eos_token_id=stop), seed=1)
            main(save_policy(policy, Path(folder, "policy"), Path(folder, "tokenizer")), "7 * 4 + 3")
