"""One update of GRPO by hand: sample with the engine, score, update the learner, put its weights into the engine.

    python examples/one_update.py runs/demo-base/policy

Every name it takes from `grpo.api` is stable (docs/api.md).
"""

from __future__ import annotations

import sys
from contextlib import closing

from grpo import api

ALGORITHM = api.AlgorithmConfig(group_size=8, kl_coef=0.0)
ENGINE = api.EngineConfig(dtype="float32", max_model_len=256, kv_cache_gib=0.1)
REWARDS = [api.RewardConfig(name="accuracy"), api.RewardConfig(name=f"{__file__}:brevity", weight=0.1)]


def brevity(completions: list[str], **_: object) -> list[float]:
    """Return 1 for an empty completion, 0 for one of 200 characters."""
    return [1.0 - len(text) / 200 for text in completions]


def main(model: str) -> None:
    """Print the reward, the loss, and how well the engine's new weights agree with the learner's."""
    tokenizer = api.load_tokenizer(model)
    prompts = api.load_prompts(api.DatasetConfig(source="chain", params={"count": 8}), tokenizer)
    learner = api.Learner(
        policy=api.PolicyConfig(model=model, compute_dtype="float32"), algorithm=ALGORITHM, model_path=model,
        optimizer=api.OptimizerConfig(lr=1e-3), learner=api.LearnerConfig(), total_steps=1,
    )  # fmt: skip
    with closing(api.VllmEngine(model, ENGINE, version=0)) as engine, api.Scorer(REWARDS) as scorer:
        sampling = api.SamplingParams(max_tokens=48, stop_token_ids=tokenizer.stop_token_ids)
        (chunk,) = api.make_chunks(prompts, "train/0", 1, 0, sampling, ALGORITHM.group_size, len(prompts))
        groups = [group for ended in engine.generate(chunk) for group in ended]
        scored = scorer.score(groups, "train", 0)
        totals = [score.total for group in scored for score in group.scores if score.total is not None]
        print(f"reward {sum(totals) / len(totals):.3f} over {len(totals)} samples")

        batch, _ = api.to_train_groups(scored, api.advantage_estimator(ALGORITHM), ALGORITHM.zero_variance)
        learner.begin_phase(batch, step=0, temperature=1.0)
        report = learner.update(batch, step=0, max_tokens=sampling.max_tokens)
        print(f"loss {report.metrics['loss']:.4f}, gradient norm {report.metrics['grad_norm']:.3f}")

        canary = api.Canary(prompts[0].token_ids, learner.canary_logprobs(prompts[0].token_ids))
        publication = api.publish(learner.named_tensors, 1, canary=[canary])
        mismatch = engine.load_weights(publication).canary_max_mismatch
        print(f"engine at version {engine.version}: log-probs within {mismatch:.1e} of the learner's")


if __name__ == "__main__":
    main(sys.argv[1])
