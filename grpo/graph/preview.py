"""`grpo run --dry-run`: one row of every data set of every stage, rendered as that stage's policy will read it.

stage dev1, data: cold-rows/rows.parquet, …: prompt ← messages, completion ← completion; template chat (stand-in)
  '<|user|>What is 6 times 7?<|assistant|>'▸'<think> …'
  math: accuracy reads answer; format_r1

What a stage would refuse hours later (a template that is missing, a column that no reward finds) is refused here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.markup import escape

from data_recipes.config import DatasetConfig, source_kind, source_name, sources_of
from data_recipes.errors import DataError
from data_recipes.sft.config import SftSource
from grpo.common.console import say
from grpo.common.errors import ConfigError
from grpo.graph.foreseen import Foreseen, NotYet
from grpo.graph.parse import Graph, Node
from grpo.graph.policies import KnownPolicy, known_policies
from grpo.graph.policy_checks import data_sections
from grpo.stages.launch_data import shown
from grpo.stages.preview import BEGINS
from policies.errors import PolicyError
from policies.tokenizer import Tokenizer
from rewards.config import RewardConfig
from rewards.errors import RewardLoadError
from rewards.types import Needs
from rollout.types import Prompt

PROBLEMS = (DataError, PolicyError, RewardLoadError)
LoadedNeeds = dict[tuple[str, str], Needs]
"""(reward, its parameters) → what it needs: the stages of a graph share rewards, and each is loaded in a process."""


def preview(graph: Graph) -> None:
    """Print a rendered row of each data set of each stage, and which reward reads what.

    Raises:
        ConfigError: lists every data set that its stage would refuse.
    """
    errors: list[str] = []
    unknown: dict[str, list[str]] = {}
    loaded: LoadedNeeds = {}
    with tempfile.TemporaryDirectory() as place:
        policies = known_policies(graph, Path(place) / "policies")
        (Path(place) / "rows").mkdir()
        foreseen = Foreseen(graph, Path(place) / "rows")
        for node in graph.nodes.values():
            try:
                needs = _Needs(node, loaded)
                for reason in _stage(node, policies.get(node.name), foreseen, needs):
                    unknown.setdefault(reason, []).append(node.name)
            except PROBLEMS as error:
                errors.append(f"{graph.name}, stage {node.name}: {error}")
    for reason, stages in unknown.items():
        say(f"[yellow]not rendered[/] {escape(', '.join(dict.fromkeys(stages)))}: {escape(reason)}")
    if errors:
        raise ConfigError("\n".join(errors))


def _stage(node: Node, known: KnownPolicy | None, foreseen: Foreseen, needs: _Needs) -> Iterator[str]:
    """Print the rows of one stage; yields why a row cannot be shown."""
    for key, data in data_sections(node.config):
        if known is None or known.tokenizer is None:
            name = "its policy" if known is None else known.name
            yield f"{name} is not here yet, or the hub cannot be reached"
            continue
        try:
            section, is_stand_in = foreseen.section(data)
        except NotYet as reason:
            yield str(reason)
            continue
        if isinstance(section, DatasetConfig):
            try:
                prompts = _show_prompts(node, key, data, section, known.tokenizer, is_stand_in, needs)
            except DataError as error:
                if "the hub gave no split" not in str(error):
                    raise
                yield f"the hub did not give {source_name(data.source)}"
                continue
            if not key.startswith("eval"):
                foreseen.draw(node, prompts)
        else:
            _show_example(node, key, data, section, known.tokenizer, is_stand_in)


def _show_prompts(
    node: Node,
    key: str,
    data: DatasetConfig | SftSource,
    section: DatasetConfig,
    tokenizer: Tokenizer,
    is_stand_in: bool,
    needs: _Needs,
) -> list[Prompt]:
    from data_recipes.prompts.datasets import read_prompts
    from rewards.scoring.needs import check_decides, check_prompts

    loaded = read_prompts(section, tokenizer)
    first = loaded.prompts[0]
    how = f"{loaded.layout.show()}; template {loaded.template}"
    answer = "no reference answer" if first.answer is None else f"answer {shown(str(first.answer))}"
    _title(node, key, data, how, is_stand_in)
    correct = getattr(getattr(node.config, "eval", None), "correct", None)
    if key.startswith("eval") and correct is not None:
        check_decides(needs.rewards, correct, loaded.prompts, key)
    say(escape(f"    {shown(first.text)}{BEGINS}; {answer}"))
    if needs.rewards:
        check_prompts(needs.rewards, needs.needs, loaded.prompts)
        for kind, by in needs.by_kind(loaded.prompts):
            say(escape(f"    {kind}: {by}"))
    return loaded.prompts


def _show_example(
    node: Node,
    key: str,
    data: DatasetConfig | SftSource,
    section: SftSource,
    tokenizer: Tokenizer,
    is_stand_in: bool,
) -> None:
    from data_recipes.sft.examples import read_examples

    examples, counts = read_examples(section, tokenizer, max_tokens=1 << 30)
    if not examples:
        raise DataError(f"{key}: no example of {counts.rows} rows")
    first = int(examples[0].is_target.argmax())
    ids = examples[0].token_ids.tolist()
    read, learnt = (tokenizer.decode(part, skip_special=False) for part in (ids[:first], ids[first:]))
    _title(node, key, data, counts.layouts[-1].partition(", ")[2] or counts.layouts[-1], is_stand_in)
    say(escape(f"    {shown(read)}{BEGINS}{shown(learnt)}"))


def _title(node: Node, key: str, data: DatasetConfig | SftSource, how: str, is_stand_in: bool) -> None:
    names = ["/".join(Path(s).parts[-2:]) if source_kind(s) == "file" else s for s in sources_of(data.source)]
    note = "; a stand-in for the row to come" if is_stand_in else ""
    where = f"{key} = {', '.join(names)}: {how}{note}"
    say(f"  [bold]{node.name}[/] {escape(where)}")


class _Needs:
    """What the rewards of a stage read."""

    def __init__(self, node: Node, loaded: LoadedNeeds) -> None:
        found = getattr(node.config, "rewards", ())
        self.rewards: Sequence[RewardConfig] = tuple(found)
        self.needs: list[Needs] = [_needs(reward, loaded) for reward in self.rewards]

    def by_kind(self, prompts: Sequence[Prompt]) -> Iterator[tuple[str, str]]:
        """Yield (kind, the rewards that apply at any step and what they read), in order of first appearance."""
        from rewards.registry import BUILTINS
        from rewards.scoring.scorer import applies

        first = {str(p.columns.get("kind") or "every row"): p for p in reversed(prompts)}
        for kind, prompt in sorted(first.items()):
            parts = []
            for reward, need in zip(self.rewards, self.needs, strict=True):
                if not applies(reward, prompt.columns, reward.start_step):
                    continue
                builtin = BUILTINS.get(reward.name)
                read = [n for n, _ in need.reads] + list(builtin.also_reads if builtin else ())
                names = dict.fromkeys([*(["answer"] if need.answer else []), *sorted(need.columns), *read])
                has = [name for name in names if name == "answer" or prompt.columns.get(name) is not None]
                start = f" from step {reward.start_step:,}" if reward.start_step else ""
                parts.append(f"{reward.name}{start}" + (f" reads {', '.join(has)}" if has else ""))
            yield kind, "; ".join(parts) or "no reward applies"


def _needs(reward: RewardConfig, loaded: LoadedNeeds) -> Needs:
    from rewards.hosts.pool import check_reward
    from rewards.registry import BUILTINS

    builtin = BUILTINS.get(reward.name)
    if builtin is not None:
        return builtin.needs
    key = reward.name, repr(reward.arguments)
    if key not in loaded:
        loaded[key] = check_reward(reward.name, reward.arguments)
    return loaded[key]
