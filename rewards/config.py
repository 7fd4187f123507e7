"""The config of a reward. Pydantic alone, so that a config is checked without loading a plug-in.

[[rewards]]
name = "accuracy"            # built in; or an entry point, "package.module:function", "path/file.py:function"
weight = 1.0
kinds = ["math"]
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from policies.json_types import JsonDict
from policies.settings import Code, Identity, Operational, Settings
from rewards.llm.config import LlmConfig


class RewardConfig(Settings, paths=("name", "params")):
    """One component of the reward: total = Σ weight · component over those that apply."""

    name: Code[str] = Field(min_length=1)
    """Built-in name, entry point of group `grpo.rewards`, `package.module:function` or `path/file.py:function`."""
    weight: Identity[float] = Field(default=1.0, allow_inf_nan=False)
    """Factor in the total (R1: accuracy and format weigh the same, Nature eq. 4)."""
    start_step: Identity[int] = Field(default=0, ge=0)
    """First optimizer step at which it counts; before it, it is not applicable (not an abstention)."""
    kinds: Identity[tuple[str, ...]] = ()
    """Values of the prompt's column `kind` it applies to; empty: all prompts."""
    params: Identity[JsonDict] = Field(default_factory=dict)
    """Keyword arguments bound to the function, e.g. `max_tokens` of `overlong`."""
    llm: LlmConfig | None = None
    """The language model that a judge asks; a function of yours gets the section as its argument `llm`, a dict."""
    timeout_s: Operational[float] = Field(default=10.0, gt=0, le=3600)
    """Deadline of one call: of one row for functions that take one row, of the whole batch for those that take lists.
    After it the process is killed and the rows still open get the verdict `timeout`. The built-in judges run in threads
    and not in processes; theirs is llm.deadline_s."""

    @property
    def arguments(self) -> JsonDict:
        """Return `params`, and `llm` as JSON has it if there is one."""
        return self.params if self.llm is None else {**self.params, "llm": self.llm.model_dump(mode="json")}


class AuditConfig(Settings, paths=("verifier", "params")):
    """The audit of the rewards while a run trains. It warns and never changes a reward.

    [audit]
    verifier = "math_verify"     # a second opinion on 1 group in 20
    """

    verifier: Operational[str | None] = Field(default=None, min_length=1)
    """A reward, named as in `rewards`, that judges a sample of the training groups beside `of`. None: none."""
    params: Operational[JsonDict] = Field(default_factory=dict)
    """Keyword arguments bound to it."""
    timeout_s: Operational[float] = Field(default=10.0, gt=0, le=3600)
    """Its deadline, as a reward's."""
    of: Operational[str] = "accuracy"
    """The component it is compared with. Both accept an answer from 0.5 on."""
    share: Operational[float] = Field(default=0.05, gt=0, le=1)
    """Share of the groups it judges, drawn by prompt and step."""
    max_disagreement: Operational[float] = Field(default=0.1, ge=0, le=1)
    """Share of the judged samples on which the two may differ."""
    max_component_share: Operational[float] = Field(default=0.95, ge=0)
    """Share of the differences inside groups that one component other than eval.correct may make."""
    max_length_correlation: Operational[float] = Field(default=0.65, ge=0, le=1)
    """|Pearson correlation| inside groups of a component with the completion's length. A reward of 0 and 1 that pays
    for nothing but length reaches about 0.75; honest runs were seen at 0.6, where short replies skipped steps."""
    max_component_abstained: Operational[float] = Field(default=0.1, ge=0, le=1)
    """Share of the samples on which a component may give no verdict."""


def component_label(name: str) -> str:
    """Return a short name for metrics and tables: the part after the colon, else the whole name."""
    return name.rpartition(":")[2] or name


def component_labels(rewards: Sequence[RewardConfig]) -> list[str]:
    """Names of the components in `Score.components`: short, and numbered from the second of a kind on."""
    seen: dict[str, int] = {}
    labels: list[str] = []
    for config in rewards:
        label = component_label(config.name)
        seen[label] = seen.get(label, 0) + 1
        labels.append(label if seen[label] == 1 else f"{label}#{seen[label]}")
    return labels
