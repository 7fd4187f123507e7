"""What a stage's policy lacks for its recipe: context, chat template, a shape that the learner's ranks can divide.

A dense student of R1 has other heads, positions and templates than V3; a recipe that suits one does not suit the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from data_recipes.config import DatasetConfig
from data_recipes.sft.config import SftSource
from grpo.common.errors import ConfigError
from grpo.config.mesh import check_launch
from grpo.config.sections import LearnerConfig, SamplingConfig
from grpo.config.sft import SftSettings
from grpo.graph.parse import Graph, Node
from grpo.graph.policies import KnownPolicy

DataSection = DatasetConfig | SftSource


def policy_errors(graph: Graph, policies: Mapping[str, KnownPolicy]) -> Iterator[str]:
    """Yield what each stage's policy lacks, with the key to change."""
    for node in graph.nodes.values():
        if (known := policies.get(node.name)) is None:
            continue
        where = f"{graph.name}, stage {node.name}"
        yield from (f"{where}: {error}" for error in _mesh(node, known))
        yield from (f"{where}: {error}" for error in _context(node, known))
        yield from (f"{where}: {error}" for error in _template(node, known))


def data_sections(config: BaseModel, path: str = "") -> Iterator[tuple[str, DataSection]]:
    """Yield (key path, section) of every data set that a stage renders for its policy."""
    for name in type(config).model_fields:
        value, key = getattr(config, name), f"{path}.{name}" if path else name
        items = enumerate(value) if isinstance(value, tuple) else [(None, value)]
        for number, item in items:
            here = key if number is None else f"{key}.{number}"
            if isinstance(item, DatasetConfig | SftSource):
                yield here, item
            elif isinstance(item, BaseModel):
                yield from data_sections(item, here)


def _mesh(node: Node, known: KnownPolicy) -> Iterator[str]:
    learner = getattr(node.config, "learner", None)
    if isinstance(learner, LearnerConfig):
        try:
            check_launch(learner, known.config)
        except ConfigError as error:
            yield str(error)


def _context(node: Node, known: KnownPolicy) -> Iterator[str]:
    """Yield lengths of the recipe that the policy's positions do not hold."""
    config, positions = node.config, known.positions
    if positions is None:
        return
    if (
        isinstance(config, SftSettings)
        and "max_tokens" in config.model_fields_set
        and config.max_tokens > positions
    ):
        yield (
            f"max_tokens = {config.max_tokens:,}, but {known.name} has {positions:,} positions, and longer examples "
            f"would be left out; set policy.max_positions to {config.max_tokens} or more, or max_tokens to {positions}"
        )
    sampling = getattr(config, "sampling", None)
    if isinstance(sampling, SamplingConfig):
        longest = max(sampling.max_tokens, *(int(s.value) for s in sampling.max_tokens_schedule), 0)
        if longest >= positions:
            yield (
                f"sampling.max_tokens = {longest:,} leaves no room for a prompt in the {positions:,} positions of "
                f"{known.name}; lower it, or set policy.max_positions of the stage that trains the policy"
            )


def _template(node: Node, known: KnownPolicy) -> Iterator[str]:
    """Yield sections with the chat template of a policy that has none."""
    if known.tokenizer is None or known.tokenizer.has_chat_template:
        return
    key = "policy.chat_template" if isinstance(node.config, SftSettings) else None
    fix = (
        f'set {key} = "deepseek-v2" or a file'
        if key
        else "set policy.chat_template of the stage that trains it"
    )
    for section, data in data_sections(node.config):
        if data.template == "chat":
            yield (
                f'{section}.template = "chat", but {known.name} has no chat template; {fix}, or take '
                f'{section}.template = "r1-zero"'
            )
