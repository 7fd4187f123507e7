"""One sampled completion as it stands on disk: the columns of every sample file, whichever stage wrote it.

`SampleRow` is the schema. A Parquet file of samples has its fields as columns, in their order; then a float column for
each reward component, and a string column for each prompt column that the recipe keeps. docs/data_stages.md shows the
columns as a table; a test compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, get_args, get_origin, get_type_hints

import numpy as np

from policies.json_types import JsonDict
from rewards.types import ScoredGroup

Text = Annotated[str, "string"]
Int32 = Annotated[int, "int32"]
Int64 = Annotated[int, "int64"]
Float64 = Annotated[float, "float64"]
Bool = Annotated[bool, "bool"]
TokenIds = Annotated[np.ndarray, "list<int32>"]
"""Types of columns: in Python, and in Parquet."""

NO_ADVANTAGES: Mapping[int, float] = {}


def group_rows(
    scored: ScoredGroup,
    *,
    stage: str,
    step: int,
    group_id: str,
    model: str | None,
    advantages: Mapping[int, float] = NO_ADVANTAGES,
    discarded: bool | None = None,
    keep: Sequence[str] = (),
) -> list[SampleRow]:
    """Make the rows of one group, in index order.

    Args:
        scored: the group with a score per sample.
        stage, step, model, discarded: as the columns say.
        group_id: unique in the run; a sample's id is `<group_id>/<index>`.
        advantages: by sample index; a sample that did not train is missing.
        keep: names of prompt columns to keep.

    Raises:
        ValueError: the prompt has no column of a name in `keep`.
    """
    prompt = scored.group.prompt
    missing = [name for name in keep if name not in prompt.columns]
    if missing:
        raise ValueError(f"keep_columns: prompt {prompt.id} of {prompt.source} has no column {missing[0]!r}")
    question, kind, language = (as_text(prompt.columns.get(c)) for c in ("question", "kind", "language"))
    return [
        SampleRow(
            id=f"{group_id}/{sample.index}",
            stage=stage,
            step=step,
            prompt_id=prompt.id,
            index=sample.index,
            prompt=prompt.text,
            question=question,
            messages=as_text(list(prompt.messages) or None),
            tools=as_text(list(prompt.tools) or None),
            prefill=prompt.prefill,
            completion=prompt.prefill + sample.text,
            prompt_ids=np.asarray(prompt.token_ids, dtype=np.int32),
            completion_ids=sample.token_ids,
            answer=as_text(prompt.answer),
            kind=kind,
            language=language,
            source=prompt.source,
            total=score.total,
            verdict=score.verdict,
            reason=score.reason,
            advantage=advantages.get(sample.index),
            discarded=discarded,
            finish_reason=sample.finish_reason,
            tokens=len(sample.token_ids),
            version_first=sample.version_first,
            version_last=sample.version_last,
            seed=sample.seed,
            mean_logprob=float(sample.logprobs.mean(dtype="float64")) if len(sample.logprobs) else None,
            model=model,
            components=dict(score.components),
            kept={name: as_text(prompt.columns[name]) for name in keep},
        )
        for sample, score in zip(scored.group.samples, scored.scores, strict=True)
    ]


def as_text(value: object) -> str | None:
    """Return a string as it is, None as None, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def component_column(name: str) -> str:
    """Return the column of a reward component: its name, or `reward/<name>` if a column of the schema has that name."""
    return f"reward/{name}" if name in COLUMNS else name


def component_of(column: str) -> str:
    """Return the component that a column holds; inverse of `component_column`."""
    name = column.removeprefix("reward/")
    return name if name in COLUMNS else column


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleRow:
    """One sample. None where the stage has no such value."""

    id: Text
    """Unique among the samples of a run."""
    stage: Text
    """`rl`, `eval` or `sample`; `sft`: a training example that the report shows."""
    step: Int64
    """Optimizer updates done: after the phase, or of the evaluated policy."""
    prompt_id: Text
    """Hash of the prompt's source, text and answer; equal in every run."""
    index: Int32
    """Index of the sample in its group, 0 … G-1."""
    prompt: Text
    """Rendered prompt as the policy read it, the prefill included."""
    question: Text | None = None
    """Question, as the data set has it."""
    messages: Text | None = None
    """Conversation of the prompt as JSON, where it is more than `question`."""
    tools: Text | None = None
    """Tools that the conversation was shown, as JSON."""
    prefill: Text | None = None
    """Start of the reply that the template wrote; `prompt` ends with it."""
    completion: Text
    """Reply as rewards read it: the prefill, then the generated text."""
    prompt_ids: TokenIds | None = None
    """Tokens of the prompt."""
    completion_ids: TokenIds | None = None
    """Generated tokens, the stop token included."""
    answer: Text | None = None
    """Reference answer; JSON where it is not a string."""
    kind: Text | None = None
    """The data set's column `kind`."""
    language: Text | None = None
    """The data set's column `language`: the natural language of the text."""
    source: Text | None = None
    """Name of the data set."""
    total: Float64 | None = None
    """Weighted sum of the rewards; null unless the verdict is `ok`."""
    verdict: Text | None = None
    """`ok`, `abstain`, `timeout` or `error`; `abstain` without rewards."""
    reason: Text | None = None
    """Why the verdict is not `ok`, or a reward's remark."""
    advantage: Float64 | None = None
    """Advantage in the update; null for a sample that did not train."""
    discarded: Bool | None = None
    """True if dynamic sampling drew the group and left it out of training; null outside `rl`."""
    finish_reason: Text | None = None
    """`stop`, `length` (the limit cut it) or `abort`."""
    tokens: Int32
    """Number of generated tokens."""
    version_first: Int64 | None = None
    """Policy version that sampled the first token."""
    version_last: Int64 | None = None
    """Policy version that sampled the last token."""
    seed: Int64 | None = None
    """The sampler's seed for this sample."""
    mean_logprob: Float64 | None = None
    """Mean log-probability of the tokens by the engine, in nats."""
    model: Text | None = None
    """Hash of the files of the policy that the run began with."""
    components: Mapping[str, float | None] = field(default_factory=dict)
    """Unweighted value of each reward, None where it gave none; a float column each."""
    kept: Mapping[str, str | None] = field(default_factory=dict)
    """Prompt columns that the recipe keeps (`keep_columns`), as text; a string column each."""

    def as_dict(self) -> JsonDict:
        """Return the row with a key per column."""
        row = {name: getattr(self, name) for name in COLUMNS}
        row |= {component_column(name): value for name, value in self.components.items()}
        return row | dict(self.kept)


def _parquet_types() -> dict[str, str]:
    """Read the Parquet type of each column from its annotation; the two mappings are no columns."""
    found = {}
    for name, hint in get_type_hints(SampleRow, include_extras=True).items():
        for part in (hint, *get_args(hint)):
            if get_origin(part) is Annotated:
                found[name] = part.__metadata__[0]
    return found


COLUMNS: Mapping[str, str] = _parquet_types()
"""Name and Parquet type of every column that a sample file always has, in order."""
REQUIRED: tuple[str, ...] = tuple(
    f.name for f in fields(SampleRow) if f.name in COLUMNS and f.default is MISSING
)
"""The columns that are never null; of a file without one of the others, that column is null throughout."""
