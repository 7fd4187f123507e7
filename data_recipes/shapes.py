"""Recognises the shape of rows: which fields hold the prompt, the answer, the reply, the pair. Pure, one table.

    layout = recognise("prompts", rows, {})       rows of verl
    layout.fields                                 {"prompt": "prompt", "answer": "reward_model.ground_truth"}

RL, evaluation and sampling read "prompts", SFT "examples", a reward model "pairs" or "labels". A shape fits if the
fields that it needs are there with values of the right kind in the first rows; one that needs more fields comes before
one that needs a part of them. A field that the recipe names is taken unseen. Two shapes that fit are an error that
names the fields and the keys to set.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from data_recipes.errors import DataError
from data_recipes.fields import MISSING, look_up
from policies.json_types import JsonMapping

Task = Literal["prompts", "examples", "pairs", "labels"]
Kind = Literal["text", "messages", "turns", "other", "empty"]
TEXT: frozenset[Kind] = frozenset({"text"})
CHAT: frozenset[Kind] = frozenset({"messages", "turns"})
ANY: frozenset[Kind] = frozenset({"text", "messages", "turns", "other"})
OWN_KEYS = "the recipe's keys"
ANSWERS = ("answer", "solution", "ground_truth", "final_answer", "expected_answer", "reference", "target")
"""Fields that hold a reference answer in data sets of questions; "answer" comes before all others."""
REPLIES = ("completion", "answer", "solution", "response", "output")
"""Fields that hold a reply to learn; "completion" comes before all others."""
QUESTIONS = ("prompt", "question", "problem", "query", "instruction")
KEYS: Mapping[str, str] = {
    "prompt": "prompt_field",
    "answer": "answer_field",
    "completion": "completion_field",
    "messages": "messages_field",
    "chosen": "chosen_field",
    "rejected": "rejected_field",
    "label": "label_field",
}
"""Role → the key of a recipe that names its field."""


@dataclass(frozen=True)
class Shape:
    """A kind of rows that is known."""

    name: str
    needs: Mapping[str, frozenset[Kind]]
    """Field → the kinds of value that it may hold."""
    roles: Mapping[Task, Mapping[str, str]]
    """Task → role → field. A role in `optional` or `reference` may be absent."""
    optional: Mapping[str, str] = field(default_factory=dict)
    """Role → field that is used if it is there."""
    reference: str | None = None
    """Field that is the reference answer if there is none of `ANSWERS`: a reply to learn from."""
    is_question: bool = False
    """True if the prompt is a bare question, which a template has to put into a prompt."""


def _question(name: str) -> Shape:
    return Shape(
        f"{name} and answer",
        {name: TEXT},
        {"prompts": {"prompt": name}, "examples": {"prompt": name, "completion": AUTO_REPLY}},
        is_question=True,
    )


AUTO_REPLY = "<one of REPLIES>"
SHAPES: tuple[Shape, ...] = (
    Shape(
        "verl",
        {"prompt": TEXT | CHAT, "reward_model.ground_truth": ANY},
        {"prompts": {"prompt": "prompt", "answer": "reward_model.ground_truth"}},
    ),
    Shape(
        "samples of grpo",
        {"prompt": TEXT, "completion": TEXT, "question": TEXT},
        {"prompts": {"prompt": "question"}, "examples": {"prompt": "prompt", "completion": "completion"}},
    ),
    Shape(
        "rows of grpo curate",
        {"prompt": TEXT, "completion": TEXT, "question": TEXT, "messages": CHAT},
        {"prompts": {"prompt": "question"}, "examples": {"prompt": "prompt", "completion": "completion"}},
    ),
    Shape(
        "TRL preference pairs",
        {"chosen": TEXT | CHAT, "rejected": TEXT | CHAT},
        {"pairs": {"chosen": "chosen", "rejected": "rejected"}},
        optional={"prompt": "prompt"},
    ),
    Shape(
        "TRL labelled completions",
        {"prompt": TEXT | CHAT, "completion": TEXT | CHAT, "label": ANY},
        {"labels": {"prompt": "prompt", "completion": "completion", "label": "label"}},
    ),
    Shape(
        "TRL prompt and completion",
        {"prompt": TEXT | CHAT, "completion": TEXT | CHAT},
        {"prompts": {"prompt": "prompt"}, "examples": {"prompt": "prompt", "completion": "completion"}},
        reference="completion",
    ),
    Shape("TRL prompt", {"prompt": TEXT | CHAT}, {"prompts": {"prompt": "prompt"}}),
    Shape(
        "chat messages",
        {"messages": CHAT},
        {"prompts": {"prompt": "messages"}, "examples": {"messages": "messages"}},
    ),
    Shape(
        "ShareGPT conversations",
        {"conversations": CHAT},
        {"prompts": {"prompt": "conversations"}, "examples": {"messages": "conversations"}},
    ),
    Shape(
        "Alpaca",
        {"instruction": TEXT, "output": TEXT},
        {
            "prompts": {"prompt": "instruction"},
            "examples": {"prompt": "instruction", "completion": "output"},
        },
        optional={"context": "input"},
        reference="output",
        is_question=True,
    ),
    *(_question(name) for name in ("question", "problem", "query")),
)
"""All shapes that are known."""


@dataclass(frozen=True)
class Layout:
    """Which fields of a data set play which role in a task."""

    shape: str
    """Name of the shape, or `OWN_KEYS`."""
    fields: Mapping[str, str]
    """Role → field, dotted."""
    kinds: Mapping[str, Kind]
    """Role → kind of the field's values in the first rows."""
    is_question: bool = False
    """True if the prompt is a bare question, which a template has to put into a prompt."""

    def show(self) -> str:
        """Return "verl: prompt ← prompt (messages), answer ← reward_model.ground_truth"."""
        parts = []
        for role, name in self.fields.items():
            kind = self.kinds.get(role)
            parts.append(f"{role} ← {name}" + (f" ({kind})" if kind in CHAT else ""))
        return f"{self.shape}: {', '.join(parts)}"


def kind_of(value: object) -> Kind:
    """Return the kind of a value; None, "" and an empty list are "empty"."""
    if value is None or value is MISSING or value == "" or value == []:
        return "empty"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
        if any(item.get("role") is not None for item in value):
            return "messages"
        if any(item.get("from") is not None for item in value):
            return "turns"
    return "other"


def column_kind(rows: Sequence[JsonMapping], name: str) -> Kind | None:
    """Return the kind of a field's values in some rows: of the first that has one; None if no row has the field."""
    values = [value for row in rows if (value := look_up(row, name)) is not MISSING]
    if not values:
        return None
    return next((kind for value in values if (kind := kind_of(value)) != "empty"), "empty")


def recognise(
    task: Task,
    rows: Sequence[JsonMapping],
    given: Mapping[str, str],
    source: str = "",
    without: Collection[str] = (),
    shapes: Sequence[Shape] = SHAPES,
) -> Layout:
    """Find the layout of a data set.

    Args:
        task: what the rows are read for.
        rows: the first rows of the data set.
        given: role → field, as the recipe's keys say; they win.
        source: name of the data set, for messages.
        without: roles that nothing plays, whatever the rows have.
        shapes: the shapes that are known.

    Raises:
        DataError: no shape fits, or several do; names the fields there are and the keys to set.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if "prompt" in given or "messages" in given or {"chosen", "rejected"} & set(given):
        shape = Shape(OWN_KEYS, {}, {task: {}})
    else:
        shape = _fitting(shapes, task, rows, columns, source)
    fields = dict(shape.roles[task])
    if task in ("prompts", "examples") or "prompt" not in fields:
        there = (role for role, name in shape.optional.items() if column_kind(rows, name) is not None)
        fields |= {role: shape.optional[role] for role in there}
    fields |= given
    if fields.get("completion") == AUTO_REPLY or (
        task == "examples" and "completion" not in fields and "messages" not in fields
    ):
        fields["completion"] = _one_of(REPLIES, "completion", rows, columns, source) or REPLIES[0]
    if task == "prompts" and "answer" not in {*fields, *without}:
        name = _one_of(ANSWERS, "answer", rows, columns, source) or shape.reference
        if name is not None and name != fields["prompt"]:
            fields["answer"] = name
    fields = {role: name for role, name in fields.items() if role not in without}
    kinds = {role: kind for role, name in fields.items() if (kind := column_kind(rows, name)) is not None}
    return Layout(shape.name, fields, kinds, shape.is_question)


def _fitting(
    shapes: Sequence[Shape], task: Task, rows: Sequence[JsonMapping], columns: Sequence[str], source: str
) -> Shape:
    """Return the one shape that fits."""
    known = [shape for shape in shapes if task in shape.roles]
    fits = [shape for shape in known if all(_fits(rows, n, kinds) for n, kinds in shape.needs.items())]
    fits = [s for s in fits if not any(set(s.needs) < set(other.needs) for other in fits)]
    if len(fits) > 1:
        ways = []
        for shape in fits:
            role, name = next(iter(shape.roles[task].items()))
            ways.append(f'{KEYS[role]} = "{name}" ({shape.name})')
        raise DataError(
            f"{source}: the rows have more than one shape, with the fields {', '.join(columns)}; set "
            f"{' or '.join(ways)}"
        )
    if fits:
        return fits[0]
    there = {s.name: sum(column_kind(rows, name) is not None for name in s.needs) for s in known}
    nearest = max(known, key=lambda s: (there[s.name], -len(s.needs)))
    if there[nearest.name] or not rows:  # the errors of the rows say what is wrong with them
        return nearest
    keys = " and ".join(dict.fromkeys(KEYS[role] for shape in known[:1] for role in shape.roles[task]))
    raise DataError(
        f"{source}: the rows have none of the known shapes; they have the fields {', '.join(columns)}: set {keys} to "
        f"name yours, or rename fields (known: {'; '.join(_needed(s) for s in known)})"
    )


def _needed(shape: Shape) -> str:
    return f"{shape.name}: {', '.join(shape.needs)}"


def _fits(rows: Sequence[JsonMapping], name: str, kinds: frozenset[Kind]) -> bool:
    kind = column_kind(rows, name)
    return kind is not None and kind in kinds


def _one_of(
    names: Sequence[str], role: str, rows: Sequence[JsonMapping], columns: Sequence[str], source: str
) -> str | None:
    """Return the field among `names` that the rows have; the first comes before all others.

    Raises:
        DataError: there are several.
    """
    found = [name for name in names if column_kind(rows, name) is not None]
    if len(found) > 1 and found[0] != names[0]:
        ways = " or ".join(f'{KEYS[role]} = "{name}"' for name in found)
        raise DataError(
            f"{source}: the {role} may be {' or '.join(found)}, of the fields {', '.join(columns)}; set {ways}"
        )
    return found[0] if found else None
