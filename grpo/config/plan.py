"""Keys of `grpo plan`: the machine, and what the config of a stage does not state. Imports only pydantic."""

from __future__ import annotations

from pydantic import Field, model_validator

from policies.settings import Operational, Settings


class MachineConfig(Settings):
    """`[plan.machine]`: a cluster of GPUs, all of which a stage uses. Defaults describe the H800s that trained R1."""

    name: Operational[str] = "H800"
    """Name of the GPU, for the table."""
    gpus: Operational[int] = Field(ge=1)
    """Number of GPUs of the cluster."""
    peak_tflops: Operational[float] = Field(989.0, gt=0)
    """Peak throughput of dense bfloat16."""
    memory_gib: Operational[float] = Field(80.0, gt=0)
    """Memory of a GPU."""
    bandwidth_tb_s: Operational[float] = Field(3.35, gt=0)
    """Bandwidth of the GPU's memory, in 10^12 bytes per second."""
    mfu: Operational[float] = Field(0.35, gt=0, le=1)
    """Fraction of the peak reached in training and log-probs. V3's pre-training: 14.8e12 tokens × 6 × 37e9 in 2.664e6
    GPU-hours is 0.35 of the bfloat16 peak (2412.19437 table 1)."""
    bandwidth_share: Operational[float] = Field(0.6, gt=0, le=1)
    """Fraction of the bandwidth that decoding reaches."""
    engine_gpus: Operational[int] = Field(1, ge=1)
    """GPUs per engine."""
    engine_memory_share: Operational[float] = Field(0.9, gt=0, le=1)
    """Fraction of a GPU's memory for the engine's weights and cache during generation."""
    layer_latency_us: Operational[float] = Field(0.0, ge=0)
    """Latency of a decoding step per layer in addition to memory and arithmetic: all-to-all of the experts,
    launches."""
    tokens_per_pass: Operational[float] = Field(1.0, ge=1)
    """Tokens per sequence and decoding step; above 1 with speculative decoding (V3's MTP head: 1.8)."""
    phase_overhead_s: Operational[float] = Field(0.0, ge=0)
    """Overhead of an RL phase: loading and offloading models, weight sync, waiting for the last reward."""

    @model_validator(mode="after")
    def _engines_fit(self) -> MachineConfig:
        if self.engine_gpus > self.gpus:
            raise ValueError(
                f"an engine of engine_gpus = {self.engine_gpus} does not fit in gpus = {self.gpus}"
            )
        return self


class PlanConfig(Settings):
    """`[plan]`: settings of the estimate of `grpo plan`."""

    machine: MachineConfig | None = None
    """The machine. None: this machine; times then come from a run on it (`grpo plan --rates`)."""


class StagePlan(Settings):
    """`[stages.NAME.plan]`: what the config of one stage does not state."""

    prompts: Operational[int | None] = Field(None, ge=1)
    """Number of prompts, if the data set cannot be counted without reading it."""
    prompt_tokens: Operational[float] = Field(100.0, ge=0)
    """Mean tokens per prompt."""
    tokens: Operational[float | None] = Field(None, gt=0)
    """Mean tokens per completion; in a supervised stage, per example."""
    lengths: Operational[tuple[tuple[int, float], ...]] = ()
    """RL: mean tokens per completion at some steps, interpolated linearly: [[0, 500], [8000, 10000]]."""
    examples: Operational[int | None] = Field(None, ge=1)
    """Examples of a supervised stage; a pair is one example of two sequences."""
    published_gpu_hours: Operational[float | None] = Field(None, gt=0)
    """GPU-hours that the stage's authors published, for comparison with the estimate."""

    @model_validator(mode="after")
    def _ascending(self) -> StagePlan:
        steps = [step for step, _ in self.lengths]
        if steps != sorted(set(steps)):
            raise ValueError(f"lengths: steps {steps} do not ascend")
        if any(length <= 0 for _, length in self.lengths):
            raise ValueError("lengths: a mean length is above 0")
        return self


class AlonePlan(StagePlan):
    """`--set plan.…` of `grpo plan` for the recipe of one stage."""

    machine: MachineConfig | None = None
    """The cluster. None: this machine."""


class Alone(Settings):
    """The overrides of `grpo plan` for the recipe of one stage that are no keys of the recipe."""

    plan: AlonePlan = AlonePlan()
