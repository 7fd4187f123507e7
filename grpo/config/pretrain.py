"""Config of `grpo pretrain`: trains a tiny base from scratch on a procedural corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from data_recipes.fim import FimConfig
from grpo.config.mtp import PretrainMtp
from grpo.config.router import PretrainRouter
from grpo.config.sections import TrackerNames
from policies.settings import Identity, Length, Operational, Settings


class PretrainFim(FimConfig):
    """Fill in the middle for the toy corpora, whose tokenizers know whole words alone."""

    unit: Identity[Literal["character", "token"]] = "token"


class PretrainConfig(Settings):
    """Config of `grpo pretrain`. The learning rate warms up, stays constant until the gate opens, then decays to the
    end."""

    stage: Identity[Literal["pretrain"]] = "pretrain"
    """Marks a recipe of `grpo pretrain`."""
    seed: Identity[int] = Field(0, ge=0)
    """Seed of weights and corpus."""
    run_dir: Operational[Path]
    """Folder of the run; its policy/ is the base."""
    corpus: Identity[Literal["chain", "r1-world", "code-tiny"]] = "chain"
    """The task world whose corpus and tokenizer are used (data_recipes/worlds/)."""
    preset: Identity[str] = "tiny-v3"
    """Name of a preset in `policies.families.registry.PRESETS`."""
    preset_overrides: Identity[dict[str, int | float | str | dict[str, str | float]]] = Field(
        default_factory=dict
    )
    """Overrides of fields of the preset's transformers config."""
    weight_std: Identity[float] = Field(0.05, gt=0)
    """Standard deviation of the initial weights. V3's 0.006 is for width 7,168; a narrow model learns sooner from
    larger ones."""
    threads: Operational[int | None] = Field(None, ge=1)
    """Torch threads; None: the machine's cores. The number changes rounding, so only a run with the same number repeats
    bit for bit."""

    documents_per_step: Identity[int] = Field(64, ge=1)
    """Documents per update."""
    lr: Identity[float] = Field(2e-3, gt=0)
    """Highest learning rate, after the warm-up and until the decay."""
    warmup_steps: Identity[int] = Field(50, ge=0)
    """Updates in which the learning rate rises linearly from 0."""
    decay_steps: Identity[int] = Field(500, ge=1)
    """Number of final steps in which the learning rate and the router bias rate decay linearly to 0."""
    beta1: Identity[float] = Field(0.9, ge=0, lt=1)
    """AdamW's decay rate of the mean of gradients."""
    beta2: Identity[float] = Field(0.98, ge=0, lt=1)
    """AdamW's decay rate of the mean of squared gradients."""
    weight_decay: Identity[float] = Field(0.01, ge=0)
    """AdamW's weight decay."""
    grad_clip: Identity[float] = Field(1.0, gt=0)
    """Maximum global gradient norm."""
    fim: PretrainFim | None = None
    """Fill in the middle for a share of the documents; its tokens join the vocabulary. None: documents stay whole."""
    router: PretrainRouter = PretrainRouter()
    mtp: PretrainMtp = PretrainMtp()

    max_steps: Length[int] = Field(6000, ge=1)
    """Maximum number of steps, decay included; if the gate has not opened by then, the decay starts anyway."""
    gate_every_steps: Identity[int] = Field(250, ge=1)
    """Updates between evaluations of the gate."""
    gate_open: Identity[float] = Field(0.7, gt=0, le=1)
    """The decay starts when the trace accuracy (data_recipes/worlds/probes/trace_accuracy.py) reaches this value for
    every length."""
    gate_pass: Operational[float] = Field(0.9, ge=0, le=1)
    """Trace accuracy that every length must reach by the end: RL cannot reinforce what the base never does. 0 for a
    student that is meant not to have learnt it."""
    restart_after_steps: Identity[int] = Field(750, ge=1)
    """Steps after which an attempt is judged, a multiple of gate_every_steps."""
    restart_below: Identity[float] = Field(0.25, ge=0, le=1)
    """An attempt whose trace accuracy on the shortest, easiest chains is below this value when judged restarts from new
    weights. Some attempts find a shortcut (operations by their distance, right for the longest chains only) and stay in
    it: seed 103 stayed at 0.1 for two operations from step 750 to step 5,000; others reach 0.4 to 0.9 by step 750."""
    restarts: Identity[int] = Field(3, ge=0)
    """Maximum number of attempts after the first."""
    gate_problems: Identity[int] = Field(128, ge=1)
    """Problems per length that the gate evaluates."""
    checkpoint_every_steps: Operational[int] = Field(250, ge=1)
    """Updates between checkpoints."""
    trackers: Operational[TrackerNames] = ("tensorboard",)
    """Where the metrics are shown: tensorboard, wandb, mlflow, trackio, or a "module:Class" of your own. Project,
    server and offline mode are set by each one's own environment variables (docs/tracking.md)."""

    @model_validator(mode="after")
    def _room_for_decay(self) -> PretrainConfig:
        if self.decay_steps >= self.max_steps:
            raise ValueError(f"decay_steps = {self.decay_steps} must be below max_steps = {self.max_steps}")
        if self.restart_after_steps % self.gate_every_steps:
            raise ValueError(
                f"restart_after_steps = {self.restart_after_steps} is not a multiple of "
                f"gate_every_steps = {self.gate_every_steps}"
            )
        return self
