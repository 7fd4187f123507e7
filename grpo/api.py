"""The stable Python API: the names below keep their meaning until a minor version that says otherwise in CHANGELOG.md.

    from grpo.api import Learner, Scorer, VllmEngine, load_prompts

docs/api.md lists them with what each is for. Everything else in these packages is private: it may move or change in any
version.
"""

from __future__ import annotations

from data_recipes.config import DatasetConfig
from data_recipes.prompts.datasets import load_prompts
from data_recipes.prompts.prompt_stream import PromptStream
from grpo.algorithm.batching import to_train_groups
from grpo.algorithm.losses import grpo_loss
from grpo.algorithm.policy_losses import PolicyBatch, PolicyTerm
from grpo.algorithm.registry import advantage_estimator
from grpo.algorithm.types import StepReport, TrainGroup, TrainSample
from grpo.common.config_io import load_config
from grpo.config.algorithm import AlgorithmConfig
from grpo.config.rl import RlConfig
from grpo.config.sections import LearnerConfig, LoraConfig, OptimizerConfig, PolicyConfig
from grpo.tracking.samples import read_samples
from grpo.training.learner import Learner
from policies.export import save_policy
from policies.load import load_policy
from policies.logprobs import sequence_logprobs
from policies.tokenizer import Tokenizer, load_tokenizer
from rewards.config import RewardConfig
from rewards.rows import RewardRow
from rewards.scoring.scorer import Scorer
from rewards.types import Score, ScoredGroup
from rollout.canary import Canary
from rollout.chunks import make_chunks
from rollout.config import EngineConfig
from rollout.publication import Publication, SyncReport
from rollout.transport.sender import publish
from rollout.types import Prompt, RolloutChunk, Sample, SampleGroup, SamplingParams
from rollout.vllm_engine import VllmEngine

__all__ = [
    "AlgorithmConfig",
    "Canary",
    "DatasetConfig",
    "EngineConfig",
    "Learner",
    "LearnerConfig",
    "LoraConfig",
    "OptimizerConfig",
    "PolicyBatch",
    "PolicyConfig",
    "PolicyTerm",
    "Prompt",
    "PromptStream",
    "Publication",
    "RewardConfig",
    "RewardRow",
    "RlConfig",
    "RolloutChunk",
    "Sample",
    "SampleGroup",
    "SamplingParams",
    "Score",
    "ScoredGroup",
    "Scorer",
    "StepReport",
    "SyncReport",
    "Tokenizer",
    "TrainGroup",
    "TrainSample",
    "VllmEngine",
    "advantage_estimator",
    "grpo_loss",
    "load_config",
    "load_policy",
    "load_prompts",
    "load_tokenizer",
    "make_chunks",
    "publish",
    "read_samples",
    "save_policy",
    "sequence_logprobs",
    "to_train_groups",
]
