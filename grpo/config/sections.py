"""Sections of the recipes that several stages share.

Every key takes effect and has a working default; where a default is a paper's, its source is given
(R1 = DeepSeek-R1, arXiv 2501.12948 v2 and Nature 645:633; V3 = 2412.19437; DeepSeekMath = 2402.03300).
`grpo.common.config_io` reads them and turns a pydantic error into file, key path, value and fix.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from data_recipes.config import DatasetConfig
from grpo.config.mesh import MeshConfig, mesh_of
from policies.settings import Content, Identity, Operational, Settings
from rewards.config import RewardConfig, component_labels


def _parquet(path: Path) -> Path:
    if path.suffix != ".parquet":
        raise ValueError("expected a name that ends in .parquet")
    return path


ParquetPath = Annotated[Path, AfterValidator(_parquet)]
"""The Parquet file that a stage writes."""


class LoraConfig(Settings, paths=("adapter",)):
    """Low-rank adapters (2106.09685) instead of training the full weights; policies/lora.py."""

    adapter: Content[str | None] = None
    """Folder of an adapter in peft's format, ours or peft's own, to go on from, e.g. an SFT run's policy/adapter;
    policy.model is the base that it was trained on, and rank, alpha and targets are the adapter's. In RL the reference
    is the policy with this adapter. None: new adapters, which change nothing at first."""
    rank: Identity[int] = Field(16, ge=1)
    """Rank of the two matrices of an adapter."""
    alpha: Identity[float] = Field(32.0, gt=0)
    """Scales the product of the two matrices by alpha / rank."""
    targets: Identity[tuple[str, ...]] = ()
    """Linear layers to adapt, as the checkpoint names them, e.g. "q_proj", MLA's "kv_b_proj"; "experts" stands for
    the routed experts. Empty: all of the decoder's except the routed experts."""
    frozen_dtype: Identity[Literal["float32", "bfloat16"]] = "float32"
    """Type in which the frozen matrices of layers and head are stored; embedding, router and norms stay float32.
    "bfloat16" halves their memory and needs compute_dtype = "bfloat16", which rounds them for each product anyway: the
    learner's log-probs keep their bits. Engines and exports get the rounded matrix plus the adapter's product."""


class PolicyConfig(Settings, paths=("model",)):
    """The policy, and how the learner computes with it."""

    model: Content[str]
    """Hugging Face id or folder. `grpo rl --model` overrides it."""
    compute_dtype: Identity[Literal["auto", "float32", "bfloat16"]] = "auto"
    """Type of the learner's matrix multiplications; master weights and optimizer are always float32. "auto" takes
    bfloat16 on a GPU, and on a CPU with native bfloat16 if the policy is wide enough (hidden ≥ 512) for it to be
    faster."""
    lora: LoraConfig | None = None
    """Trains adapters beside frozen weights; engines and exports get the sum. None trains all weights."""

    @model_validator(mode="after")
    def _rounds_what_is_rounded_anyway(self) -> PolicyConfig:
        if self.lora is not None and self.lora.frozen_dtype == "bfloat16" and self.compute_dtype == "float32":
            raise ValueError(
                'lora.frozen_dtype = "bfloat16" needs compute_dtype = "bfloat16"; with float32 products leave it at '
                '"float32"'
            )
        return self


class ScheduleStep(Settings):
    """A value that holds from optimizer step `from_step` on."""

    from_step: Identity[int] = Field(ge=0)
    """First optimizer step at which the value holds."""
    value: Identity[float]
    """The value from then on."""


class SamplingConfig(Settings):
    """How rollouts are sampled in training. top-p is always 1: a truncated distribution would bias every ratio."""

    temperature: Identity[float] = Field(1.0, gt=0)
    """Temperature of the rollouts."""
    temperature_schedule: tuple[ScheduleStep, ...] = ()
    """Changes of temperature by step (R1 second RL stage: 0.7)."""
    max_tokens: Identity[int] = Field(1024, ge=1)
    """Longest completion, in tokens."""
    max_tokens_schedule: tuple[ScheduleStep, ...] = ()
    """Changes of the length limit by step (R1-Zero: 32,768, from step 8,200 on 65,536)."""
    stop_tokens: Identity[tuple[str, ...]] = ()
    """Tokens that end a completion in addition to the tokenizer's EOS, each one token of the vocabulary, e.g. "\\n" for
    a base model that would otherwise continue with the next question."""

    @model_validator(mode="after")
    def _sane_schedules(self) -> SamplingConfig:
        for change in self.max_tokens_schedule:
            if change.value < 1 or change.value != int(change.value):
                raise ValueError(
                    f"max_tokens_schedule: {change.value} is not a whole number of tokens, 1 or more"
                )
        for change in self.temperature_schedule:
            if change.value <= 0:
                raise ValueError(f"temperature_schedule: {change.value} is not above 0")
        return self


class OptimizerConfig(Settings):
    """AdamW on float32 master weights."""

    lr: Identity[float] = Field(3e-6, gt=0)
    """Learning rate (R1: 3e-6 for R1-Zero and both RL stages)."""
    schedule: Identity[Literal["constant", "linear", "cosine"]] = "constant"
    """Learning rate after the warm-up: the same to the end, or falling to min_lr_ratio × lr."""
    warmup_steps: Identity[int] = Field(0, ge=0)
    """Updates in which the learning rate rises linearly from 0."""
    min_lr_ratio: Identity[float] = Field(0.0, ge=0, le=1)
    """Ratio of the last step's lr to lr, for linear and cosine."""
    beta1: Identity[float] = Field(0.9, ge=0, lt=1)
    """AdamW's decay rate of the mean of gradients."""
    beta2: Identity[float] = Field(0.95, ge=0, lt=1)
    """AdamW's decay rate of the mean of squared gradients."""
    eps: Identity[float] = Field(1e-8, gt=0)
    """AdamW's ε, added to the root of the second moment."""
    weight_decay: Identity[float] = Field(0.0, ge=0)
    """AdamW's weight decay."""
    moments: Identity[Literal["float32", "bfloat16"]] = "float32"
    """Type of AdamW's moments; V3 keeps them in bfloat16 (§3.3), which halves their memory."""
    grad_clip: Identity[float] = Field(1.0, gt=0)
    """Maximum global gradient norm (V3: 1.0)."""


class LearnerConfig(Settings):
    """Processes, threads and batch portions of the learner; they change rounding, never the mathematics."""

    ranks: Operational[int] = Field(1, ge=1)
    """Number of learner workers. Together they hold one copy of the policy, or as many as mesh.replicate says."""
    threads: Operational[int | None] = Field(None, ge=1)
    """Torch threads per rank; None: the node's cores / ranks."""
    tokens_per_micro_batch: Operational[int] = Field(4096, ge=1)
    """Packed tokens per forward/backward pass; this controls peak memory."""
    recompute: Operational[bool] = False
    """Keep only each layer's input and recompute the layer in the backward pass: a third more time, but memory for the
    activations of one layer instead of all; for long completions or little memory."""
    offload_optimizer: Operational[bool] = False
    """AdamW's moments are in the host's memory and pass over the GPU piece by piece, with the same bits: 8 bytes a
    parameter less on the GPU (4 with bfloat16 moments). On a CPU, where they are there anyway, it changes nothing."""
    logit_chunk_tokens: Operational[int] = Field(512, ge=1)
    """Number of tokens whose logits are in memory at one time."""

    mesh: MeshConfig = MeshConfig()

    @model_validator(mode="after")
    def _ranks_divide(self) -> LearnerConfig:
        mesh_of(self)
        return self


class EvalConfig(Settings):
    """Held-out evaluation during and after RL."""

    data: DatasetConfig | None = None
    """The held-out questions; none: no evaluation."""
    every_steps: Operational[int] = Field(0, ge=0)
    """Steps between evaluations; 0: only before the first and after the last step."""
    samples: Identity[int] = Field(16, ge=1)
    """Samples per question, k: pass@1 is the mean over k samples (R1: 64 for AIME, 16 for MATH)."""
    temperature: Identity[float] = Field(1.0, ge=0)
    """Sampling temperature; R1 evaluates at 0.6."""
    top_p: Identity[float] = Field(1.0, gt=0, le=1)
    """Nucleus: the smallest set of tokens with this probability is sampled from; 1: all. R1 evaluates at 0.95."""
    max_tokens: Identity[int | None] = Field(None, ge=1)
    """Length limit in tokens; None takes the training limit."""
    correct: Identity[str] = "accuracy"
    """The reward whose value 1 means a right answer. A recipe with one reward takes that one."""


def settled(section: EvalConfig, rewards: Sequence[RewardConfig]) -> EvalConfig:
    """Return the section with the name of the only reward as `correct`, unless the recipe says one.

    Raises:
        ValueError: there are questions, and `correct` is none of the rewards.
    """
    labels = component_labels(rewards)
    if len(labels) == 1 and "correct" not in section.model_fields_set:
        return section.model_copy(update={"correct": labels[0]})
    if section.data is not None and section.correct not in labels:
        raise ValueError(
            f"eval.correct = {section.correct!r} is none of the rewards: {', '.join(labels)}; set it to the one "
            "that decides if an answer is right"
        )
    return section


def _known_trackers(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in TRACKERS and ":" not in name:
            near = difflib.get_close_matches(name, TRACKERS, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(
                f'{name!r} is none of {", ".join(TRACKERS)}{hint}; a tracker of your own is "module:Class"'
            )
    return tuple(dict.fromkeys(names))


TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
TrackerNames = Annotated[tuple[str, ...], AfterValidator(_known_trackers)]
"""Where a run is shown while it goes on."""


class CheckpointConfig(Settings):
    """What is saved so that a run survives a crash."""

    every_phases: Operational[int] = Field(5, ge=1)
    """Phases between checkpoints."""
    keep: Operational[int] = Field(2, ge=1)
    """Number of newest checkpoints that are kept."""


class GuardConfig(Settings):
    """Limits at which a run without a usable training signal warns or stops, judged over the last `window` phases.

    `max_*` stops, `warn_*` warns. What is never right (a value that is not finite, a log-prob mismatch, stale samples)
    stops the run after its first phase. docs/algorithm.md explains each limit.
    """

    window: Operational[int] = Field(5, ge=1)
    """Number of newest phases that a limit is judged over."""
    max_truncated: Operational[float] = Field(0.9, ge=0, le=1)
    """Fraction of the samples that the length limit ended."""
    max_zero_variance: Operational[float] = Field(1.0, ge=0, le=1)
    """Fraction of the groups with equal rewards. 1 only warns: a run that has learnt everything ends like this."""
    max_abstained: Operational[float] = Field(0.5, ge=0, le=1)
    """Fraction of the samples without a verdict."""
    max_zero_gradient: Operational[float] = Field(0.95, ge=0, le=1)
    """Fraction of the updates whose gradient is exactly zero, in phases in which some group has variance. 1: off."""
    warn_clip_frac: Operational[float] = Field(0.3, ge=0, le=1)
    """Fraction of the tokens whose ratio is clipped."""
    max_clip_frac: Operational[float] = Field(1.0, ge=0, le=1)
    """The same fraction; 1 never stops."""
    warn_entropy_fall: Operational[float] = Field(0.15, gt=0)
    """Fall of ln(entropy) per update while the reward does not rise; 0.15 is a fall to 55% in 4 updates. Entropies
    below 0.05 nats count as 0.05, and at least 5 phases are judged."""
    max_entropy_fall: Operational[float | None] = Field(None, gt=0)
    """The same fall; None never stops."""
    warn_entropy_rise: Operational[float] = Field(0.2, gt=0)
    """Rise of ln(entropy) per update while the reward does not rise."""
    max_entropy_rise: Operational[float | None] = Field(0.5, gt=0)
    """The same rise; 0.5 is a rise to 7.4 times in 4 updates. None never stops."""
    max_staleness: Operational[int | None] = Field(None, ge=1)
    """Number of updates from the version that sampled a sample's first token to the end of the phase that trains on it.
    None: algorithm.mini_batches, which alternating sampling and training never exceed."""
    max_logprob_mismatch: Operational[float | None] = Field(None, gt=0)
    """Mean |Δ log-prob| between engine and learner on the sampled tokens; None: 0.001 for float32, 0.1 for bfloat16."""
