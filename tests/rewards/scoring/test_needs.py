"""What a reward needs of the data is known from its signature, before anything is sampled or scored."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rewards.config import RewardConfig
from rewards.errors import RewardLoadError
from rewards.hosts.pool import check_reward
from rewards.lab.lab import Options, try_reward
from rewards.registry import BUILTINS, load_reward
from rewards.scoring.needs import check_decides, check_judged, check_prompts
from rewards.scoring.score_file import score_file
from rewards.signatures import recognise
from rewards.types import Needs
from rollout.types import Prompt


class Judge:
    def __call__(self, completions: list[str], tests: list[str], **_: Any) -> list[float]:
        return [1.0] * len(completions)


NEEDS = {
    "a required argument": (lambda completions, solution, **_: 0, {}, {"solution"}, False),
    "by keyword only": (lambda completions, *, level: 0, {}, {"level"}, False),
    "by place only": (lambda completions, k, /: 0, {}, {"k"}, False),
    "a default": (lambda completions, k=1: 0, {}, set(), False),
    "bound by params": (lambda completions, k: 0, {"k": 3}, set(), False),
    "bound by partial": (functools.partial(lambda k, completions: 0, 1), {}, set(), False),
    "a callable object": (Judge(), {}, {"tests"}, False),
    "what TRL gives anyway": (
        lambda prompts, completions, completion_ids, trainer_state, log_extra, log_metric: 0, {}, set(), False
    ),
    "the answer": (lambda completions, answer: 0, {}, set(), True),
    "verl": (lambda data_source, solution_str, ground_truth, extra_info: 0, {}, set(), True),
    "verl without a reference": (lambda solution_str: 0, {}, set(), False),
    "a row": (lambda row: 0, {}, set(), False),
    "a batch": (lambda batch: 0, {}, set(), False),
}  # fmt: skip


@pytest.mark.parametrize(("target", "params", "columns", "answer"), NEEDS.values(), ids=NEEDS.keys())
def test_needs_follow_from_the_signature(
    target: Any, params: dict[str, Any], columns: set[str], answer: bool
) -> None:
    assert recognise("r", target, params).needs == Needs(frozenset(columns), answer)


def test_builtins_that_abstain_without_something_say_so() -> None:
    for name in ("accuracy", "mcq", "language_consistency", "format"):
        assert load_reward(name).needs == BUILTINS[name].needs
    assert BUILTINS["accuracy"].needs.answer
    assert BUILTINS["language_consistency"].needs.columns == {"language"}
    assert BUILTINS["format"].needs == Needs()


def prompt(answer: object = None, source: str = "train.jsonl", **columns: object) -> Prompt:
    return Prompt(f"{source}{columns}", "q", (1,), answer, columns, source)


def test_a_missing_column_names_reward_column_columns_there_are_and_the_key() -> None:
    rewards = [RewardConfig(name="my.py:r"), RewardConfig(name="accuracy")]
    needs = [Needs(frozenset({"solution"})), Needs(answer=True)]
    with pytest.raises(RewardLoadError) as error:
        check_prompts(rewards, needs, [prompt("1", solutions="a", level=2)] * 2)
    (line,) = str(error.value).split("\n")
    assert line.startswith(
        "reward 'my.py:r' needs the column 'solution', which train.jsonl lacks; it has solutions, level; "
        'set columns = { solution = "solutions" } in the section of this data'
    )
    with pytest.raises(
        RewardLoadError, match=r"'accuracy' needs a reference answer, which b lacks.*answer_field"
    ):
        check_prompts(rewards, needs, [prompt("1", solution="a"), prompt(None, "b", solution="a")])
    check_prompts(rewards, needs, [prompt("1", solution=None)])


def test_a_reward_needs_nothing_of_prompts_that_it_does_not_apply_to() -> None:
    rewards = [RewardConfig(name="accuracy", kinds=("math",))]
    check_prompts(rewards, [Needs(answer=True)], [prompt(None, kind="general")])
    late = [RewardConfig(name="accuracy", start_step=100)]
    with pytest.raises(RewardLoadError):
        check_prompts(late, [Needs(answer=True)], [prompt(None)])


def test_an_evaluation_whose_reward_judges_no_row_is_refused() -> None:
    rewards = [RewardConfig(name="accuracy", kinds=("math", "logic")), RewardConfig(name="format")]
    for columns in ({}, {"kind": "chain"}):
        with pytest.raises(RewardLoadError, match=r"applies to the kinds math, logic.*eval.data.constants"):
            check_decides(rewards, "accuracy", [prompt("1", **columns)] * 2)
    check_decides(rewards, "accuracy", [prompt("1", kind="code"), prompt("1", kind="logic")])
    check_decides(rewards, "format", [prompt("1")])
    late = [RewardConfig(name="accuracy", start_step=7), RewardConfig(name="format")]
    with pytest.raises(RewardLoadError, match=r"counts from step 7 on"):
        check_decides(late, "accuracy", [prompt("1")])


def test_a_run_that_begins_with_no_reward_is_refused() -> None:
    maths = RewardConfig(name="accuracy", kinds=("math",))
    late = RewardConfig(name="format", start_step=3)
    with pytest.raises(
        RewardLoadError, match=r"accuracy: kinds math; format: from step 3 on.*the kinds code, stem"
    ):
        check_judged([maths, late], [prompt("1", kind="stem"), prompt("1", kind="code")])
    with pytest.raises(RewardLoadError, match=r"the rows have no kind"):
        check_judged([maths], [prompt("1")])
    check_judged([maths, late], [prompt("1", kind="stem"), prompt("1", kind="math")])
    check_judged([maths, RewardConfig(name="format")], [prompt("1")])


LANGUAGE_REWARDS = [RewardConfig(name="code", kinds=("code",)), RewardConfig(name="language_consistency")]
LANGUAGE_NEEDS = [BUILTINS[reward.name].needs for reward in LANGUAGE_REWARDS]


def test_a_programs_language_and_a_texts_language_stand_in_two_columns() -> None:
    both = prompt(None, kind="code", programming_language="cpp", language="en")
    check_prompts(LANGUAGE_REWARDS, LANGUAGE_NEEDS, [both, prompt(None, kind="math", language="zh_CN")])
    python_by_default = prompt(None, kind="code", language="en")
    check_prompts(LANGUAGE_REWARDS, LANGUAGE_NEEDS, [python_by_default])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"kind": "code", "language": "cpp", "programming_language": "cpp"},
            r'"language_consistency" reads the column "language" as natural language, but .* a programming language',
        ),
        (
            {"kind": "code", "language": "C"},
            r'"code" reads the programming language from the column .* in "language"',
        ),
        (
            {"kind": "code", "language": "en", "prog_lang": "java"},
            r'set columns = \{ programming_language = "prog_lang" \}',
        ),
        (
            {"kind": "code", "language": "en", "programming_language": "zh"},
            r'"code" reads the column "programming_language" as programming language, but .* a natural language',
        ),
    ],
)
def test_a_column_that_holds_the_other_language_is_refused(columns: dict[str, str], message: str) -> None:
    with pytest.raises(RewardLoadError, match=message):
        check_prompts(LANGUAGE_REWARDS, LANGUAGE_NEEDS, [prompt(None, **columns)])


def test_a_problem_of_every_row_is_reported_once() -> None:
    rows = [prompt(None, kind="code", language="go", number=i) for i in range(3)]
    with pytest.raises(RewardLoadError) as caught:
        check_prompts(LANGUAGE_REWARDS[:1], LANGUAGE_NEEDS[:1], rows)
    assert len(str(caught.value).splitlines()) == 1


def test_two_rewards_that_read_one_column_differently_are_refused() -> None:
    needs = [Needs(reads=(("language", "programming language"),)), LANGUAGE_NEEDS[1]]
    with pytest.raises(RewardLoadError, match="read the column 'language' differently"):
        check_prompts(LANGUAGE_REWARDS, needs, [])


def test_the_host_reports_what_its_reward_reads() -> None:
    assert check_reward("code") == BUILTINS["code"].needs


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    file = tmp_path / "r.py"
    file.write_text("def r(completions, solution, **_):\n    return [1.0 for _ in completions]\n")
    return f"{file}:r"


def test_the_host_tells_what_its_reward_needs(plugin: str) -> None:
    assert check_reward(plugin) == Needs(frozenset({"solution"}))


def test_score_and_try_find_it_before_a_row_is_scored(plugin: str, tmp_path: Path) -> None:
    data, out = tmp_path / "rows.jsonl", tmp_path / "scores.jsonl"
    data.write_text(json.dumps({"prompt": "1 + 1", "completion": "2", "answer": "2", "gold": "2"}) + "\n")
    with pytest.raises(RewardLoadError, match=r"needs the column 'solution', which .*rows\.jsonl lacks"):
        score_file(plugin, data, out)
    assert not out.exists()
    report = try_reward(plugin, data, Options({}))
    assert [(c.name, c.status) for c in report.checks if c.status == "fail"] == [("loads", "fail")]
    assert "needs the column 'solution'" in report.checks[0].detail
    data.write_text(json.dumps({"completion": "2", "solution": "2"}) + "\n")
    assert score_file(plugin, data, out).verdicts["ok"] == 1


@pytest.mark.parametrize(
    ("columns", "fix"),
    [
        (
            {"reward_model": {"style": "rule", "ground_truth": "2"}, "question": "q"},
            "reward_model.ground_truth",
        ),
        ({"extra_info": {"solution": "2"}, "question": "q"}, "extra_info.solution"),
        ({"solutions": "2", "question": "q"}, "solutions"),
        ({"question": "q", "level": 1}, "FIELD"),
    ],
)
def test_the_field_that_is_offered_may_be_nested_and_is_no_other_thing(
    columns: dict[str, object], fix: str
) -> None:
    """`solution` was answered with `question`."""
    need = Needs(columns=frozenset({"solution"}))
    with pytest.raises(RewardLoadError, match=re.escape(f'set columns = {{ solution = "{fix}" }}')):
        check_prompts([RewardConfig(name="my.py:r")], [need], [prompt("2", **columns)])
