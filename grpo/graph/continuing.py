"""When a stage of a graph goes on in its folder, and when it runs from the start.

    keys since it was last run             begun          done
    the same, or operational ones          goes on        is kept
    a raised length (`steps`, `epochs`)    goes on        goes on: it is made longer, as `grpo rl` does
    identity keys, with --allow-change     goes on        from the start, unless a length is raised too
    what it reads, a lowered length        from the start

A change of the length alone costs what is added to it; the stages that read it run again, for it leaves something new.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from pydantic import ValidationError

from grpo.common.config_io import differences
from grpo.config.kinds import is_marked
from grpo.graph.keys import decides_outcome, node_key
from grpo.graph.parse import Node
from grpo.graph.references import leaves
from grpo.graph.state import NodeState
from policies.settings import KeyMark


def goes_on(
    node: Node, state: NodeState, artefacts: Mapping[tuple[str, str], str], allow_change: bool = False
) -> bool:
    """Return True if a stage that is not up to date goes on in its folder.

    Args:
        node: the stage as it is to run now.
        state: of its folder.
        artefacts: (stage, output) → hash, of all that it needs.
        allow_change: identity keys may have changed.
    """
    before = _as_it_was(node, state)
    if before is None or node_key(before, artefacts) != state.key:
        return False
    kind, now = type(node.config), node.config.model_dump(mode="json")
    changed = [change for change in differences(state.config, now) if decides_outcome(kind, change[0])]
    lengths = [(old, new) for key, old, new in changed if is_marked(kind, key, KeyMark.LENGTH)]
    if any(_is_less(new, old) for old, new in lengths):
        return False
    if len(lengths) < len(changed) and not allow_change:
        return False
    return state.state == "begun" or bool(lengths)


def _as_it_was(node: Node, state: NodeState) -> Node | None:
    """Return the stage with its folder's config; None if it read other artefacts, or if its keys are others now."""
    needed = {need.key for need in node.needs}
    now, then = (
        {key: value for value, key in leaves(config) if key in needed}
        for config in (node.config.model_dump(mode="json"), state.config)
    )
    if now != then:
        return None
    try:
        config = type(node.config).model_validate_json(json.dumps(state.config), strict=True)
    except ValidationError:
        return None
    return replace(node, config=config)


def _is_less(new: object, old: object) -> bool:
    """Return True for a number below the old one, where None is no limit."""
    if isinstance(new, int | float):
        return old is None or (isinstance(old, int | float) and new < old)
    return False
