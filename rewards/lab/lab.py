"""The reward laboratory tests whether a reward is fit for training: `grpo reward try PLUGIN --data cases.jsonl`.

    report = try_reward("my_rewards.py:exact", Path("cases.jsonl"))
    report.passed, report.checks

All scoring runs in reward hosts, as in training: a plug-in that hangs, crashes or forges results loses its rows.
One host gives the first scores, the repetition, another order and other batches; two fresh hosts run concurrently;
one more runs the reward in threads. `checks.MEANINGS` lists the checks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from policies.json_types import JsonDict, JsonMapping
from rewards.errors import RewardLoadError
from rewards.hosts.pool import HostPool, HostSpec
from rewards.lab.cases import Case, Judges, Scores, gold_cases, make_cases, template_text
from rewards.lab.checks import (
    MEANINGS,
    Check,
    all_pass,
    judge_deadline,
    judge_tidy,
    judge_values,
    judge_verdicts,
    tables,
)
from rewards.lab.rows import FOR_ANSWERS, FOR_OWN, SLOT, TEMPLATES, LabData, LabRow, read_data
from rewards.lab.stability import by_group, stability, threaded_spec
from rewards.registry import BUILTINS
from rewards.rows import RewardRow
from rewards.scoring.needs import check_rows
from rewards.types import Score

_VALUE_CHECKS = (
    "gold", "perturbed", "labels", "empty", "garbled", "truncated", "echo", "contained", "padding", "hedged", "sums",
    "tags",
)  # fmt: skip
_FIRST_BUDGET_S = 60.0
"""Time limit of the first scores in seconds. The report says how many rows a slow reward left unscored."""
_PROBE_ROWS = 6
MAX_TRACES = 3
_MAX_TIMEOUTS = 3


@dataclass(frozen=True)
class Options:
    """Settings of a trial."""

    params: JsonMapping
    judges: Judges | None = None
    """What the reward judges. None: the registry's entry for a built-in reward, "answer" for a plug-in."""
    template: str = "auto"
    """A name of `rows.TEMPLATES`, or a text with {answer}; "auto": the first template in which right answers score."""
    timeout_s: float = 10.0
    max_rows: int = 32
    scores: Scores = field(default_factory=Scores)


@dataclass(frozen=True)
class LabReport:
    """The result of a trial."""

    reward: str
    style: str
    judges: str
    rows: int
    templates: Mapping[str, str]
    """Name or text of the template by kind of row: "answers", "own completions"."""
    checks: tuple[Check, ...]
    verdicts: Mapping[str, int]
    rows_per_s: float | None
    slowest_s: float | None
    cases: int = 0
    """Number of completions built from the rows."""
    tried: int = 0
    """Number of completions scored; lower if the reward is slow or hangs."""
    traces: tuple[str, ...] = ()
    """The traceback of each different error that the reward raised, with file and line; at most `MAX_TRACES`."""

    @property
    def passed(self) -> bool:
        """True if no check failed; warnings do not count."""
        return all_pass(self.checks)

    def as_json(self) -> JsonDict:
        """Return the report as JSON types, for `--json`."""
        return {**vars(self), "passed": self.passed, "checks": tables(self.checks)}


def try_reward(name: str, data: Path, options: Options) -> LabReport:
    """Run every check that applies and return the report.

    Raises:
        OSError: the file cannot be read.
        ValueError: a template or a parameter of the laboratory is invalid.
    """
    if options.template != "auto":
        template_text(options.template)
    judges: Judges = options.judges or (BUILTINS[name].judges if name in BUILTINS else "answer")
    found = read_data(data, options.max_rows)
    checks = [_data_check(found)]
    if not found.rows and not found.labelled:
        return LabReport(name, "", judges, 0, {}, tuple(checks), {}, None, None)
    spec = HostSpec(name, options.params, options.timeout_s, gives_up=True)
    with ThreadPoolExecutor(4) as threads:
        pools = [HostPool(spec, 1) for _ in range(3)]
        threaded = HostPool(threaded_spec(spec), 1)
        loading = [threads.submit(pool.start) for pool in (*pools, threaded)]
        try:
            loading[0].result()
            usable = [(row.answer, row.columns) for row in found.rows]
            usable += [(row.answer, row.columns) for row in found.labelled]
            check_rows(name, pools[0].needs, usable, str(data))
        except RewardLoadError as error:
            for future in loading:
                future.exception()
            _close((*pools, threaded))
            check = Check("loads", "fail", 1, 1, str(error))
            return LabReport(name, "", judges, len(found.rows), {}, (check, *checks), {}, None, None)
        try:
            return _tried(name, found, judges, options, pools, threaded, loading[1:], threads, checks)
        finally:
            for future in loading:
                future.exception()
            _close((*pools, threaded))


def _tried(
    name: str,
    found: LabData,
    judges: Judges,
    options: Options,
    pools: Sequence[HostPool],
    threaded: HostPool,
    loading: Sequence[Future[None]],
    threads: ThreadPoolExecutor,
    checks: list[Check],
) -> LabReport:
    pool = pools[0]
    templates, named = choose_templates(found.rows, pool.score, options, judges)
    cases = make_cases(found.rows, found.labelled, templates, judges, options.scores)
    scores, seconds = _first_scores(pool, cases)
    checks = [Check("loads", "pass", detail=f"{pool.style} signature"), *checks]
    checks += [judge_values(check, cases, scores) for check in _VALUE_CHECKS]
    checks.append(judge_verdicts(cases, scores, is_graded=judges == "value"))
    judged = [score for score in scores if score is not None]
    slowest = _slowest(pool, cases, scores)
    per = "row" if pool.is_row_wise else "call (all completions of a question)"
    checks.append(judge_deadline(cases, scores, slowest, options.timeout_s, per))
    checks.append(judge_tidy(pool.calls, pool.leaked))
    if sum(score.verdict == "timeout" for score in judged) < _MAX_TIMEOUTS:
        for future in loading:
            future.result()
        checks += stability(pools, threaded, threads, cases, scores, seconds / max(len(judged), 1))
    order = list(MEANINGS)
    rated = judged and seconds > 0
    return LabReport(
        reward=name,
        style=pool.style,
        judges=judges,
        rows=len(found.rows) + len(found.labelled),
        templates=named,
        checks=tuple(sorted(checks, key=lambda check: order.index(check.name))),
        verdicts={v: sum(s.verdict == v for s in judged) for v in ("ok", "abstain", "timeout", "error")},
        rows_per_s=len(judged) / seconds if rated else None,
        slowest_s=slowest,
        cases=len(cases),
        tried=len(judged),
        traces=tuple(dict.fromkeys(score.trace for score in judged if score.trace))[:MAX_TRACES],
    )


def choose_templates(
    rows: Sequence[LabRow],
    score: Callable[[Sequence[RewardRow]], list[Score]],
    options: Options,
    judges: Judges,
) -> tuple[dict[bool, str], dict[str, str]]:
    """Return the template in which the first rows' right answers score highest, by `LabRow.is_own`, and its display
    name.

    Rewards read answers from tags, from boxes or from bare text: that is the user's choice and not an error.
    """
    templates = {False: TEMPLATES[FOR_ANSWERS[0]], True: SLOT}
    named: dict[str, str] = {}
    for is_own, names in ((False, FOR_ANSWERS), (True, FOR_OWN)):
        some = [row for row in rows if row.is_own == is_own][:_PROBE_ROWS]
        if not some:
            continue
        best, name = -1, names[0]
        candidates: tuple[str, ...] = names if options.template == "auto" and judges != "value" else ()
        if options.template != "auto":
            name = options.template
        for candidate in candidates:
            probe = gold_cases(some, dict.fromkeys((True, False), TEMPLATES[candidate]), options.scores.right)
            found = score([case.row for case in probe])
            right = sum(s.total is not None and abs(s.total - options.scores.right) < 1e-6 for s in found)
            if right > best:
                best, name = right, candidate
            if right == len(some) or any(s.verdict == "timeout" for s in found):
                break
        templates[is_own] = template_text(name)
        named["own completions" if is_own else "answers"] = name
    return templates, named


def _first_scores(pool: HostPool, cases: Sequence[Case]) -> tuple[list[Score | None], float]:
    """Return the scores of all cases and the seconds taken; one call per question, as in training.

    Scoring stops after three timeouts or one minute; a case that was not tried has the score None.
    """
    scores: list[Score | None] = [None] * len(cases)
    started = time.perf_counter()
    timeouts = 0
    for part in by_group(cases):
        for at, score in zip(part, pool.score([cases[at].row for at in part]), strict=True):
            scores[at] = score
            timeouts += score.verdict == "timeout"
        if timeouts >= _MAX_TIMEOUTS or time.perf_counter() - started > _FIRST_BUDGET_S:
            break
    return scores, time.perf_counter() - started


def _slowest(pool: HostPool, cases: Sequence[Case], scores: Sequence[Score | None]) -> float:
    """Return the seconds of the slowest row, or of the slowest call of a list-wise reward."""
    if pool.is_row_wise:
        return max((score.seconds for score in scores if score is not None), default=0.0)
    calls = ([scores[at] for at in part] for part in by_group(cases))
    return max((sum(score.seconds for score in call if score is not None) for call in calls), default=0.0)


def _data_check(found: LabData) -> Check:
    usable = len(found.rows) + len(found.labelled)
    detail = f"{usable:,} of them used"
    if found.problems:
        detail += "; " + "; ".join(found.problems[:3])
        if len(found.problems) > 3:
            detail += f"; and {len(found.problems) - 3:,} more"
    return Check("data", "pass" if usable and not found.problems else "fail", usable + len(found.problems),
                 len(found.problems), detail)  # fmt: skip


def _close(pools: Sequence[HostPool]) -> None:
    for pool in pools:
        pool.close()
