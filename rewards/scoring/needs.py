"""Checks before launch that the data has what the rewards cannot judge without.

needs = [check_reward(reward.name, reward.arguments) for reward in rewards]
check_prompts(rewards, needs, prompts)          raises a RewardLoadError that names reward, column and key
check_decides(rewards, correct, prompts)        … if the reward that decides an evaluation judges none of its prompts
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from policies.json_types import JsonMapping
from rewards.config import RewardConfig, component_labels
from rewards.errors import RewardLoadError
from rewards.scoring.meanings import find_misread
from rewards.scoring.scorer import applies
from rewards.types import Needs
from rollout.types import Prompt

REFERENCES = (
    "ground_truth",
    "answer",
    "solution",
    "final_answer",
    "expected_answer",
    "reference",
    "target",
    "gold",
)
"""Names under which data sets keep the reference; a reward that asks for one of them is offered another."""


def check_prompts(rewards: Sequence[RewardConfig], needs: Sequence[Needs], prompts: Iterable[Prompt]) -> None:
    """Check that every prompt has what the rewards that apply to it need, at whatever step, and in the right column.

    Raises:
        RewardLoadError: names the reward, what it needs, the data set, its columns and the key to set.
    """
    prompts = list(prompts)
    reported: set[tuple[int, str, str]] = set()
    problems = find_misread(rewards, needs, prompts)
    for prompt in prompts:
        for number, (reward, need) in enumerate(zip(rewards, needs, strict=True)):
            if not applies(reward, prompt.columns, reward.start_step):
                continue
            for name in missing(need, prompt.answer, prompt.columns):
                if (number, name, prompt.source) not in reported:
                    reported.add((number, name, prompt.source))
                    what = _problem(reward.name, name, prompt.source, prompt.columns)
                    problems.append(f"{what}; {_key(name, prompt.columns)}, or limit the reward with kinds")
    if problems:
        raise RewardLoadError("\n".join(problems))


def check_decides(
    rewards: Sequence[RewardConfig], correct: str, prompts: Sequence[Prompt], key: str = "eval.data"
) -> None:
    """Check that the reward that decides an evaluation judges a prompt, from the first step on.

    Args:
        rewards: of the run.
        correct: eval.correct, the name of one of them.
        prompts: of the evaluation.
        key: the section of the evaluation's data, for the message.

    Raises:
        RewardLoadError: it judges none, so that nothing would be measured; names the keys to set.
    """
    by_label = dict(zip(component_labels(rewards), rewards, strict=True))
    reward = by_label.get(correct)
    if reward is None:
        return
    if reward.start_step:
        raise RewardLoadError(
            f"eval.correct = {correct!r} counts from step {reward.start_step} on (start_step), and a run is evaluated "
            "at step 0 as well; set eval.correct to another reward, or leave out its start_step"
        )
    if prompts and not any(applies(reward, p.columns, 0) for p in prompts):
        raise RewardLoadError(
            f"eval.correct = {correct!r} applies to the kinds {', '.join(reward.kinds)}, and no row of {key} has one "
            f'of them; set {key}.constants = {{ kind = "{reward.kinds[0]}" }}'
        )


def check_judged(rewards: Sequence[RewardConfig], prompts: Sequence[Prompt]) -> None:
    """Check that some reward applies to some prompt that a run begins with.

    Raises:
        RewardLoadError: none does, so that the first phase would have no rewards.
    """
    if not prompts or any(applies(reward, p.columns, 0) for reward in rewards for p in prompts):
        return
    there = sorted({str(p.columns["kind"]) for p in prompts if "kind" in p.columns})
    wanted = "; ".join(
        f"{label}: {f'from step {r.start_step} on' if r.start_step else 'kinds ' + ', '.join(r.kinds)}"
        for label, r in zip(component_labels(rewards), rewards, strict=True)
    )
    raise RewardLoadError(
        f"no reward applies to any row of the data at step 0 ({wanted}); the rows have "
        f"{'the kinds ' + ', '.join(there) if there else 'no kind'}; set data.constants = {{ kind = … }}, or the "
        "rewards' kinds and start_step"
    )


def check_rows(reward: str, need: Needs, rows: Sequence[tuple[object, JsonMapping]], source: str) -> None:
    """Check that some row (answer, columns) of a file has what the reward needs.

    Raises:
        RewardLoadError: there are rows and none has it; names the reward, what it needs and the columns of the file.
    """
    columns: JsonMapping = {name: None for _, row in rows for name in row}
    answer = next((answer for answer, _ in rows if answer is not None), None)
    lacking = missing(need, answer, columns) if rows else []
    if lacking:
        fixes = [f"rename {_nearest(name, columns, 'a column')} to {name}" for name in lacking]
        raise RewardLoadError(
            "\n".join(
                f"{_problem(reward, name, source, columns)}; {fix}"
                for name, fix in zip(lacking, fixes, strict=True)
            )
        )


def missing(need: Needs, answer: object, columns: JsonMapping) -> list[str]:
    """Return the names of what a row lacks; the reference answer is called "answer"."""
    lacking = sorted(name for name in need.columns if name not in columns)
    return [*lacking, *(["answer"] if need.answer and answer is None else [])]


def _problem(reward: str, name: str, source: str, columns: JsonMapping) -> str:
    what = "a reference answer" if name == "answer" else f"the column {name!r}"
    return (
        f"reward {reward!r} needs {what}, which {source} lacks; it has {', '.join(columns) or 'no columns'}"
    )


def _key(name: str, columns: JsonMapping) -> str:
    """Return the key of a recipe that gives the reward what it needs."""
    if name == "answer":
        return 'set answer_field = "FIELD" in the section of this data'
    return (
        f'set columns = {{ {name} = "{_nearest(name, columns, "FIELD")}" }} in the section of this data, or give the '
        "argument a default"
    )


def _nearest(name: str, columns: JsonMapping, default: str) -> str:
    """Return the field, dotted, that probably holds what the reward calls so."""
    inner = [
        f"{outer}.{key}" for outer, value in columns.items() if isinstance(value, Mapping) for key in value
    ]
    fields = [*columns, *inner]
    leaves = {field.rpartition(".")[2]: field for field in reversed(fields)}
    alike = [name, *(REFERENCES if name in REFERENCES else ())]
    found = next((leaves[leaf] for leaf in alike if leaf in leaves), None)
    return found or next(iter(difflib.get_close_matches(name, fields, n=1, cutoff=0.75)), default)
