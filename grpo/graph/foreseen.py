"""Rows as the stages of a graph will read them, before any stage has run: real ones, and stand-ins made of them.

A file is read as it is. What a stage will make is made of the rows that the stage reads, by its `sketch`; samples are
its rendered prompts, with the question and its answer in place of the replies that are not drawn yet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from data_recipes.config import DatasetConfig, sources_of
from data_recipes.prompts.rows import PEEKED, read_rows
from data_recipes.sft.config import SftSource
from grpo.graph.parse import Graph, Node
from policies.json_types import JsonDict
from rollout.types import Prompt


class NotYet(Exception):
    """The rows cannot be known now; the text says why."""


@dataclass
class Foreseen:
    """The rows of a graph's files."""

    graph: Graph
    place: Path
    """Folder for the stand-ins."""
    samples: dict[str, list[JsonDict]] = field(default_factory=dict)
    """Stage → rows like the samples that it will draw."""
    _known: dict[str, list[JsonDict]] = field(default_factory=dict)

    def section(self, data: DatasetConfig | SftSource) -> tuple[DatasetConfig | SftSource, bool]:
        """Return the section with a source that can be read now and a limit of rows, and True if they are stand-ins.

        Raises:
            NotYet: its rows are not known yet.
            DataError: they cannot be read.
        """
        limit = min(data.limit or PEEKED, PEEKED)
        made = [self._maker(source) for source in sources_of(data.source)]
        if all(node is None for node, _ in made):
            return data.model_copy(update={"limit": limit}), False
        rows = [row for source in sources_of(data.source) for row in self.rows(source)]
        if not rows:
            raise NotYet("no row of its stage is known yet")
        path = self.place / f"{len(list(self.place.iterdir()))}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return data.model_copy(update={"source": str(path), "limit": limit}), True

    def rows(self, source: str) -> list[JsonDict]:
        """Return the first rows of a source.

        Raises:
            NotYet: a stage will make it of what is not known yet.
            DataError: it cannot be read.
        """
        if source not in self._known:
            self._known[source] = self._read(source)
        return self._known[source]

    def draw(self, node: Node, prompts: list[Prompt]) -> None:
        """Add stand-ins for the samples that a stage will draw of these prompts."""
        components = dict.fromkeys(node.stage.components(node.config), 1.0)
        self.samples.setdefault(node.name, []).extend(stand_in(prompt, components) for prompt in prompts)

    def _read(self, source: str) -> list[JsonDict]:
        node, is_there = self._maker(source)
        if node is None or is_there:
            return [dict(row) for _, row in islice(read_rows(DatasetConfig(source=source)), PEEKED)]
        if node.stage.sketch is not None:
            return node.stage.sketch(node.config, self.rows)
        if node.name not in self.samples:
            raise NotYet(f"stage {node.name} has not made it")
        return self.samples[node.name]

    def _maker(self, source: str) -> tuple[Node | None, bool]:
        """Return the stage that makes a file, None for a file of the user; and True if it is there already."""
        path = Path(source)
        if not path.is_relative_to(self.graph.run_dir):
            return None, path.exists()
        name = path.relative_to(self.graph.run_dir).parts[0]
        return self.graph.nodes.get(name), path.exists()


def stand_in(prompt: Prompt, components: dict[str, float]) -> JsonDict:
    """Return a sample of the prompt as `grpo sample` writes it, with the question and its answer as the reply."""
    columns = {name: prompt.columns.get(name) for name in ("question", "kind", "language")}
    reply = (
        f"<think> {columns['question']} </think> {prompt.answer if prompt.answer is not None else ''}".strip()
    )
    return {
        "id": f"{prompt.id}/0",
        "prompt_id": prompt.id,
        "index": 0,
        "prompt": prompt.text,
        **{name: value if isinstance(value, str) else None for name, value in columns.items()},
        "messages": json.dumps(list(prompt.messages), ensure_ascii=False) if prompt.messages else None,
        "tools": json.dumps(list(prompt.tools), ensure_ascii=False) if prompt.tools else None,
        "prefill": prompt.prefill,
        "completion": prompt.prefill + reply.removeprefix("<think>") if prompt.prefill else reply,
        "source": prompt.source,
        "finish_reason": "stop",
        **components,
    }
