"""The policy of every stage, as far as it is known before anything runs: its shape, context, tokenizer and template.

A stage that trains leaves a policy of its base's shape, so one description holds for all stages behind it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from grpo.graph.parse import Graph, Node
from policies.description import find_description
from policies.json_types import JsonDict, JsonMapping
from policies.sizes import CONFIGS
from policies.tokenizer import Tokenizer, load_tokenizer
from policies.variant import with_changes


@dataclass(frozen=True)
class KnownPolicy:
    """What a stage starts from."""

    name: str
    """The checkpoint that it was made of, or "the policy of stage NAME"."""
    maker: str
    """For messages: the stage that makes it from nothing, or the key that names it."""
    config: JsonMapping
    """Content of its config.json."""
    folder: Path | None = None
    """A folder with its config and tokenizer; None where there is none yet, or the hub cannot be reached."""

    @property
    def positions(self) -> int | None:
        """Longest sequence of its position embedding, if the config says."""
        found = self.config.get("max_position_embeddings")
        return found if isinstance(found, int) else None

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """Its tokenizer with the chat template that it will have; None if it is not known."""
        return None if self.folder is None else load_tokenizer(self.folder)


def known_policies(graph: Graph, place: Path) -> dict[str, KnownPolicy]:
    """Return stage → policy, for the stages whose policy is known.

    Args:
        graph: the graph.
        place: a folder for policies whose context or chat template a stage changes.

    Raises:
        PolicyError: a stage names a chat template that does not exist.
    """
    found: dict[str, KnownPolicy] = {}
    described: dict[str, Path | None] = {}
    for node in graph.nodes.values():
        parent = next((need.stage for need in node.needs if need.key == "policy.model"), None)
        known = found.get(parent) if parent is not None else _own(node, described, place)
        if known is not None:
            found[node.name] = _changed(node, known, place)
    return found


def _own(node: Node, described: dict[str, Path | None], place: Path) -> KnownPolicy | None:
    """Return the policy that the stage makes from nothing, or names."""
    if node.stage.new_policy is not None:
        made = node.output("policy") if "policy" in node.stage.outputs else None
        name = f"the policy of stage {node.name}"
        if made is not None and (made / "config.json").is_file():
            return KnownPolicy(name, name, _config(made), made)
        config = node.stage.new_policy(node.config)
        if node.stage.write_tokenizer is None:
            return KnownPolicy(name, name, config)
        fresh = place / f"{node.name}-new"
        fresh.mkdir(parents=True)
        node.stage.write_tokenizer(node.config, fresh)
        (fresh / "config.json").write_text(json.dumps(dict(config)), encoding="utf-8")
        return KnownPolicy(name, name, config, fresh)
    model = getattr(getattr(node.config, "policy", None), "model", None)
    if not model:
        return None
    if model not in described:
        described[model] = find_description(model)
    folder = described[model]
    shape = _config(folder) if folder is not None else CONFIGS.get(model)
    return None if shape is None else KnownPolicy(model, f"policy.model = {model!r}", shape, folder)


def _changed(node: Node, known: KnownPolicy, place: Path) -> KnownPolicy:
    policy = getattr(node.config, "policy", None)
    positions, template = (getattr(policy, key, None) for key in ("max_positions", "chat_template"))
    if positions is None and template is None:
        return known
    if known.folder is None:
        more = {} if positions is None else {"max_position_embeddings": positions}
        return replace(known, config={**known.config, **more})
    folder = with_changes(known.folder, place / node.name, max_positions=positions, chat_template=template)
    return replace(known, config=_config(folder), folder=folder)


def _config(folder: Path) -> JsonDict:
    content: JsonDict = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return content
