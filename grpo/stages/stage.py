"""What a stage is: one object that the commands, the graph and the planner ask instead of knowing stages by name.

    STAGE = Stage(name="sft", help="…", example="grpo sft …", config=SftConfig, run=run, outputs={…}, key_figure=…)

A stage's file loads neither torch nor Ray nor vLLM when it is imported: `grpo --help` reads every stage. What a run
needs of them, `run` imports. CONTRIBUTING.md shows how to add a stage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from pydantic import BaseModel

from grpo.common.config_io import apply_overrides, check, read_recipe, refuse_other_stage
from grpo.common.console import say
from grpo.common.errors import ConfigError
from grpo.common.recipe_paths import inputs_beside, recipe_file
from grpo.config.evaluation_text import EvaluationText
from grpo.config.kinds import check_kinds
from grpo.config.plan import StagePlan
from grpo.stages.figures import Figures, Finished, TokenTime
from grpo.stages.workload import Workload
from policies.json_types import JsonDict, JsonMapping

if TYPE_CHECKING:
    from grpo.tracking.run_once import Summary

ConfigT = TypeVar("ConfigT", bound=BaseModel)
Tree = JsonDict
"""A config as TOML has it, a tree of tables, lists and values."""
POLICY_OUTPUTS = {"policy": "policy", "summary": "summary.json"}
"""The outputs of a stage that trains a policy."""
REWARD_INPUTS = ("rewards.*.name", "rewards.*.params.*", "rewards.*.llm.policy")
"""The inputs of a stage whose config has rewards."""


@dataclass(frozen=True)
class Option:
    """A command-line option that sets one config key."""

    flag: str
    """E.g. "--samples"."""
    key: str
    """The config key that it sets, e.g. "eval.samples"."""
    kind: type[str] | type[int] | type[float] | type[Path]
    """What the option takes."""
    help: str

    def override(self, value: str | int | float | Path) -> str:
        """Return the `--set` that the option with this value stands for."""
        # JSON's quotes and escapes are TOML's, but for DEL: a path with a quote or a backslash stays what it is.
        literal = json.dumps(value if isinstance(value, int | float) else str(value), ensure_ascii=False)
        return f"{self.key}={literal}".replace("\x7f", "\\u007f")


MODEL = Option("--model", "policy.model", str, "Hugging Face id or folder; same as `--set policy.model=…`.")


def _no_workload(config: BaseModel, plan: StagePlan, mean: float | None) -> Workload:
    return Workload()


def _no_components(config: BaseModel) -> Sequence[str]:
    return ()


def _no_sets(config: BaseModel) -> Sequence[EvaluationText]:
    return ()


def _no_preview(config: BaseModel) -> None:
    say("the recipe is valid; this stage shows no more before it runs")


def _no_tokens(finished: Finished) -> TokenTime:
    return TokenTime()


@dataclass(frozen=True)
class Stage(Generic[ConfigT]):
    """One stage of the pipeline."""

    name: str
    """The command's name, which is also the value of `stage` in its recipes."""
    help: str
    """What `grpo NAME --help` prints; the first line stands in `grpo --help`."""
    example: str
    """A command line for the help, e.g. "grpo sft smollm2-gsm8k-sft --set epochs=1"."""
    config: type[ConfigT]
    """The keys of its recipes; has the key `stage`, whose only value is the name, and the key `output_key`."""
    run: Callable[[ConfigT, str | None], Summary]
    """(config, address of the Ray cluster) → the summary. Leaves the outputs in the stage's folder."""
    outputs: Mapping[str, str]
    """Name → path in the stage's folder; "summary" names the JSON file of its figures."""
    key_figure: Callable[[Figures], str]
    """What the stage achieved, in a few words, from the summary."""
    inputs: tuple[str, ...] = ()
    """Key paths (`*` for any one part) whose value may name a file or folder. Its content is part of what the graph
    compares to decide if the stage is up to date."""
    output_key: Literal["run_dir", "out"] = "run_dir"
    """The key that says where the stage writes: a folder, or the file of the main output."""
    main_output: str = "policy"
    """The output that the stage is for; `output_key` = "out" names its file."""
    takes_address: bool = True
    """True if the stage runs on Ray; its command then has `--address`."""
    options: tuple[Option, ...] = ()
    """Options of its command besides `--set` and `--address`."""
    preview: Callable[[ConfigT], None] = _no_preview
    """For `--dry-run`: reads and checks all that `run` does before it starts something, prints the plan and examples.
    It starts no actor and writes nothing."""
    workload: Callable[[ConfigT, StagePlan, float | None], Workload] = _no_workload
    """(config, the recipe's plan, mean tokens of a completion or example or None) → what `grpo plan` estimates."""
    observe: Callable[[Finished], TokenTime] = _no_tokens
    """How long the tokens of a finished run took. A KeyError says that one of its files is not complete."""
    components: Callable[[ConfigT], Sequence[str]] = _no_components
    """The reward components that its samples have."""
    reads_components: Callable[[ConfigT], Sequence[str]] = _no_components
    """The reward components of which the samples that it reads must have one."""
    compares_with: Callable[[ConfigT], Sequence[EvaluationText]] = _no_sets
    """The evaluation sets that none of its rows shares text with."""
    sketch: Callable[[ConfigT, Callable[[str], list[JsonDict]]], list[JsonDict]] | None = None
    """(config, function that returns the first rows of a source) → rows like those that it will leave, for the dry run
    of a graph in which no stage has run. None: samples of its prompts, or nothing that can be told."""
    new_policy: Callable[[ConfigT], JsonMapping] | None = None
    """The transformers config of a policy that the stage makes from nothing; None: it starts from `policy.model`."""
    write_tokenizer: Callable[[ConfigT, Path], None] | None = None
    """(config, folder) → writes the tokenizer of the policy that the stage makes from nothing, as its run does."""
    is_evaluation: bool = False
    """True if the summary holds a policy's evaluation, which may be a row of the graph's tables."""
    adapts: Mapping[str, Callable[[Tree], Tree]] = field(default_factory=dict)
    """Other stages whose recipes it reads too: name → the function from such a tree to one of its own."""

    def __post_init__(self) -> None:
        """Check what the type checker cannot.

        Raises:
            ValueError: the fields contradict each other, or a key of the config has no kind.
        """
        fields = self.config.model_fields
        if "stage" not in fields or fields["stage"].default != self.name:
            raise ValueError(f'{self.config.__name__}: write stage: Literal["{self.name}"] = "{self.name}"')
        if self.output_key not in fields:
            raise ValueError(
                f"{self.config.__name__} has no key {self.output_key}, where the stage would write"
            )
        check_kinds(self.config)
        for output in ("summary", self.main_output):
            if output not in self.outputs:
                raise ValueError(
                    f"stage {self.name}: outputs has no {output!r}, only {', '.join(self.outputs)}"
                )

    @property
    def summary(self) -> str:
        """The path of the summary in the stage's folder."""
        return self.outputs["summary"]

    def adapt(self, tree: Tree) -> Tree:
        """Return the tree as one of this stage: that of another stage in `adapts` is converted.

        Where the other stage writes is its own: that key is left out.
        """
        convert = self.adapts.get(str(tree.get("stage")))
        if convert is None:
            return tree
        return {key: value for key, value in convert(tree).items() if key != self.output_key}

    def load(self, recipe: str, overrides: Sequence[str] = ()) -> ConfigT:
        """Read a recipe of this stage, or of one that it `adapts`, apply `--set` overrides and check the whole.

        Args:
            recipe: TOML file or shipped name.
            overrides: "a.b=c" each; c is a TOML literal, or else taken as a string.

        Raises:
            ConfigError: names file, line, key path, the value found and the fix; every error in one message.
        """
        name, text, found = read_recipe(recipe)
        inputs_beside(found, self.inputs, recipe_file(name))
        tree = self.adapt(found)
        refuse_other_stage(name, tree, self.name)
        set_from = apply_overrides(tree, overrides)
        if tree.get(self.output_key) is None and found.get("stage") in self.adapts:
            flag = next(
                (o.flag for o in self.options if o.key == self.output_key), f"--set {self.output_key}="
            )
            raise ConfigError(
                f"{name}: where to? Add {flag} FOLDER; {self.output_key} of an `{found['stage']}` recipe is the "
                "training's own"
            )
        return check(self.config, tree, name, text, set_from)
