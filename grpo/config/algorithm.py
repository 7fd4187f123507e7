"""Defines the section [algorithm] of a recipe, and the registry of the functions that it can name.

    FORMS["policy_loss"]["clip"]       the function behind algorithm.policy_loss = "clip"

`grpo.algorithm.registry` imports them. To add one, write the function and add its line here; its name is then accepted
in a recipe. docs/algorithm.md shows each formula and the contract of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from policies.json_types import JsonDict
from policies.settings import Code, Identity, Settings

FORMS: Mapping[str, Mapping[str, str]] = {
    "advantage": {
        "std": "grpo.algorithm.advantages:std",
        "mean": "grpo.algorithm.advantages:mean",
        "leave_one_out": "grpo.algorithm.advantages:leave_one_out",
    },
    "ratio": {
        "token": "grpo.algorithm.ratios:token",
        "sequence": "grpo.algorithm.ratios:sequence",
        "gspo": "grpo.algorithm.ratios:gspo",
    },
    "policy_loss": {
        "clip": "grpo.algorithm.policy_losses:clip",
        "cispo": "grpo.algorithm.policy_losses:cispo",
    },
    "aggregation": {
        "sample_mean": "grpo.algorithm.aggregations:sample_mean",
        "token_mean": "grpo.algorithm.aggregations:token_mean",
        "fixed_length": "grpo.algorithm.aggregations:fixed_length",
    },
    "kl_estimator": {
        "k1": "grpo.algorithm.kl:k1",
        "k2": "grpo.algorithm.kl:k2",
        "k3": "grpo.algorithm.kl:k3",
    },
    "importance": {
        "none": "grpo.algorithm.importance:none",
        "token_tis": "grpo.algorithm.importance:token_tis",
        "sequence_tis": "grpo.algorithm.importance:sequence_tis",
        "token_mis": "grpo.algorithm.importance:token_mis",
        "sequence_mis": "grpo.algorithm.importance:sequence_mis",
    },
}
"""Key of [algorithm] → name in a recipe → location of the function."""

ZeroVariance = Literal["keep", "drop"]

OPEN_KEYS = ("advantage", "policy_loss", "kl_estimator")
"""Keys that also accept a user's function, as `package.module:function` or `path/file.py:function`."""


class AlgorithmConfig(Settings, paths=OPEN_KEYS):
    """GRPO as printed in the papers; docs/algorithm.md gives each formula."""

    group_size: Identity[int] = Field(16, ge=2)
    """G outputs per question (R1: 16; DeepSeekMath: 64)."""
    questions_per_step: Identity[int] = Field(32, ge=1)
    """Questions in one mini-batch, i.e. in one optimizer update (R1: 32, so 512 outputs)."""
    mini_batches: Identity[int] = Field(1, ge=1)
    """M: updates per rollout phase. A phase generates questions_per_step × M questions × G outputs, splits the outputs
    at random into M mini-batches and passes over them once (R1: 16, i.e. 8,192 outputs per phase). 1 is on-policy."""
    advantage: Code[str] = "std"
    """Advantage function. "std": (r−mean)/std as printed; "mean": Dr. GRPO; "leave_one_out": r_i − mean of the others;
    or a function of your own."""
    advantage_params: Identity[JsonDict] = Field(default_factory=dict)
    """Keyword arguments of the advantage function, any TOML values."""
    zero_variance: Identity[ZeroVariance] = "keep"
    """Treatment of a group with equal rewards, whose advantage is 0. "keep": it stays in the denominator and the KL
    term, as printed; "drop": it is left out of both."""
    ratio: Identity[str] = "token"
    """Level of π_θ/π_old: token (DeepSeekMath), sequence (R1, V3 as printed), or length-normalised sequence (GSPO)."""
    policy_loss: Code[str] = "clip"
    """Use of the ratio. "clip": min(ρA, clip(ρ)A), with dual clip if that is set; "cispo": the clipped ratio is a
    constant weight of A log π_θ; or a function of your own."""
    policy_loss_params: Identity[JsonDict] = Field(default_factory=dict)
    """Keyword arguments of the policy loss."""
    clip_low: Identity[float] = Field(0.2, gt=0)
    """ε below 1: the ratio is clipped to at least 1 − ε (R1 stage 1: 10, so that this bound never binds)."""
    clip_high: Identity[float] = Field(0.2, gt=0)
    """ε above 1 (R1 stage 1: 10)."""
    dual_clip: Identity[float | None] = Field(None, gt=1)
    """c of dual-clip PPO: for A<0 the objective is at least c·A. None turns it off."""
    aggregation: Identity[str] = "sample_mean"
    """Reduction of token terms to one number: mean per sample, then over samples (DeepSeekMath); mean over all tokens
    of the mini-batch (DAPO); sum over tokens / (samples × fixed_length) (Dr. GRPO)."""
    fixed_length: Identity[int | None] = Field(None, ge=1)
    """Divisor of "fixed_length"; None takes the step's max_tokens."""
    kl_coef: Identity[float] = Field(0.001, ge=0)
    """β (R1: 0.001; DeepSeekMath: 0.04). 0 skips the reference pass."""
    kl_estimator: Code[str] = "k3"
    """KL estimator. k3 = π_ref/π_θ − log(π_ref/π_θ) − 1, as printed; k1 and k2 for study; or a function of your own."""
    kl_estimator_params: Identity[JsonDict] = Field(default_factory=dict)
    """Keyword arguments of the KL estimator."""
    reference_refresh_steps: Identity[int] = Field(0, ge=0)
    """Sets π_ref ← π_θ every N steps (R1: 400). 0: never."""
    importance: Identity[str] = "none"
    """Correction of the engine/learner mismatch. Weights min(π_old/π_engine, C) (TIS), masks outside [1/C, C] (MIS)."""
    importance_cap: Identity[float] = Field(2.0, gt=1)
    """C of the correction."""
    dynamic_sampling: Identity[bool] = False
    """DAPO's dynamic sampling: draw more questions until the phase holds only groups with unequal rewards."""
    dynamic_sampling_max_rounds: Identity[int] = Field(4, ge=1)
    """Maximum number of drawing rounds; after them the phase continues with the groups that it has."""

    @field_validator(*FORMS)
    @classmethod
    def _known(cls, name: str, info: ValidationInfo) -> str:
        key = str(info.field_name)
        if name in FORMS[key] or (key in OPEN_KEYS and ":" in name):
            return name
        raise ValueError(f"expected {_choices(key)}{_elsewhere(name)}")

    @model_validator(mode="after")
    def _consistent(self) -> AlgorithmConfig:
        if self.fixed_length is not None and self.aggregation != "fixed_length":
            raise ValueError('fixed_length is only read with aggregation = "fixed_length"')
        if self.kl_estimator_params and not self.kl_coef:
            raise ValueError("kl_estimator_params is only read with kl_coef > 0")
        return self


def is_builtin(key: str, name: str) -> bool:
    """Return True if `name` is one of this toolkit's functions for `key`."""
    return name in FORMS[key]


def _choices(key: str) -> str:
    names = ", ".join(f"'{name}'" for name in FORMS[key])
    return names + (", package.module:function or path/file.py:function" if key in OPEN_KEYS else "")


def _elsewhere(name: str) -> str:
    """Return a hint for a name that belongs to another key, such as ratio = "cispo" of version 0.1."""
    keys = [key for key, names in FORMS.items() if name in names]
    return f"; {name!r} is a value of algorithm.{keys[0]}" if keys else ""
