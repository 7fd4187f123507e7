"""Scores groups of samples with several rewards: total = Σ weight · component.

A component that does not apply to a prompt (`start_step`, `kinds`) is left out of `Score.components`. One that
applies and abstains or fails is None there, and the sample's verdict is that of its worst component (error,
timeout, abstain): a sum with a term missing would be a wrong number. Components of weight 0 are measured and never
decide. A sample to which no component applies abstains.

A second verifier (`AuditConfig`) judges a sample of the training groups: its value stands in `Score.components` under
`stats.AUDIT`, for these groups alone, and is no part of total or verdict.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rewards.config import AuditConfig, RewardConfig, component_labels
from rewards.errors import RewardLoadError
from rewards.hosts.futures import joined
from rewards.hosts.pool import HostPool, HostSpec
from rewards.registry import BUILTINS, asks_llm, load_reward, own_seconds, runs_inline
from rewards.rows import RewardRow
from rewards.scoring.stats import AUDIT
from rewards.signatures import RewardFunction, call_row
from rewards.types import Needs, Score, ScoredGroup, Verdict
from rewards.values import failed, shorten
from rollout.types import Sample, SampleGroup

_SEVERITY: tuple[Verdict, ...] = ("ok", "abstain", "timeout", "error")
_BUILTIN_MEMORY_BYTES = 4 << 30


class _Workers(Protocol):
    """What computes one component: a `HostPool`, or `_Inline`."""

    def submit(self, rows: Sequence[RewardRow]) -> Future[list[Score]]:
        """Queue the rows behind those of earlier calls; one score per row."""

    def close(self) -> None:
        """End the workers."""


class _Inline:
    """Computes a reward in a thread of this process, call by call."""

    def __init__(self, function: RewardFunction) -> None:
        self._function = function
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reward-inline")

    def submit(self, rows: Sequence[RewardRow]) -> Future[list[Score]]:
        """See `_Workers`."""
        return self._thread.submit(lambda: [call_row(self._function, row) for row in rows])

    def close(self) -> None:
        """Wait for the calls that are queued, then end the thread."""
        self._thread.shutdown()


class _Asking:
    """Computes a reward that waits for a language model, row by row, in threads of this process."""

    def __init__(self, function: RewardFunction, threads: int) -> None:
        self._function = function
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="reward-asking")
        self._closed = threading.Event()

    def submit(self, rows: Sequence[RewardRow]) -> Future[list[Score]]:
        """See `_Workers`."""
        parts = [self._threads.submit(self._score, row) for row in rows]
        return joined(parts, lambda: [part.result() for part in parts])

    def close(self) -> None:
        """End the requests in flight; rows without a verdict get an error."""
        self._closed.set()
        if self._function.close is not None:
            self._function.close()
        self._threads.shutdown()

    def _score(self, row: RewardRow) -> Score:
        return (
            failed("error", "the scorer was closed")
            if self._closed.is_set()
            else call_row(self._function, row)
        )


@dataclass(frozen=True)
class _Component:
    label: str
    config: RewardConfig
    workers: _Workers
    needs: Needs


class Scorer:
    """Several rewards, loaded. Any thread may submit; rows of several calls share the workers, in order of arrival.

    Args:
        rewards: components of the total.
        workers: processes per reward that needs processes and is called row by row.
        log_dir: folder for what plug-ins print; None throws it away.
        audit: names the second verifier, if there is one.
    """

    def __init__(
        self,
        rewards: Sequence[RewardConfig],
        workers: int = 1,
        log_dir: Path | None = None,
        audit: AuditConfig | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers = {workers}, expected 1 or more")
        self._rewards, self._workers, self._log_dir = tuple(rewards), workers, log_dir
        self._audit = audit or AuditConfig()
        self._components: list[_Component] = []

    def __enter__(self) -> Scorer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Load every reward. Raises RewardLoadError before anything is scored, with no process left."""
        labels = component_labels(self._rewards)
        chosen = list(zip(labels, self._rewards, strict=True))
        if (second := second_verifier(self._audit, self._rewards)) is not None:
            chosen.append((AUDIT, second))
        try:
            with ThreadPoolExecutor(max(len(chosen), 1)) as threads:
                started = [threads.submit(self._component, label, config) for label, config in chosen]
            errors = [future.exception() for future in started]
            self._components = [f.result() for f, e in zip(started, errors, strict=True) if e is None]
            for error in errors:
                if error is not None:
                    raise error
        except RewardLoadError:
            self.close()
            raise

    @property
    def needs(self) -> list[Needs]:
        """What each component needs of the data, in their order."""
        return [component.needs for component in self._components]

    def submit(self, groups: Sequence[SampleGroup], stage: str, step: int) -> Future[list[ScoredGroup]]:
        """Start scoring, behind what was submitted before; see `score` for what the future holds."""
        rows = [
            _row(group, sample, number, stage, step)
            for number, group in enumerate(groups)
            for sample in group.samples
        ]
        scores = self.submit_rows(rows)
        return joined([scores], lambda: _by_group(groups, scores.result()))

    def score(self, groups: Sequence[SampleGroup], stage: str, step: int) -> list[ScoredGroup]:
        """One `Score` per sample, same order. Never raises for what a reward does."""
        return self.submit(groups, stage, step).result()

    def submit_rows(self, rows: Sequence[RewardRow]) -> Future[list[Score]]:
        """The same for bare rows."""
        components = self._components
        if not components:
            raise RuntimeError("Scorer.start() has not been called, or close() has")
        columns = [_submit_column(component, rows, self._audit.share) for component in components]

        def totals() -> list[Score]:
            done = [column.result() for column in columns]
            return [
                _total([(c, column[at]) for c, column in zip(components, done, strict=True)])
                for at in range(len(rows))
            ]

        return joined(columns, totals)

    def score_rows(self, rows: Sequence[RewardRow]) -> list[Score]:
        """The same for bare rows, waited for."""
        return self.submit_rows(rows).result()

    def close(self) -> None:
        """End the processes; rows that are still being scored get an error. May be called twice."""
        components, self._components = self._components, []
        for component in components:
            component.workers.close()

    def _component(self, label: str, config: RewardConfig) -> _Component:
        if runs_inline(config.name):
            function = load_reward(config.name, config.arguments)
            return _Component(label, config, _Inline(function), function.needs)
        if asks_llm(config.name):
            function = load_reward(config.name, config.arguments)
            threads = config.llm.concurrency if config.llm is not None else 1
            return _Component(label, config, _Asking(function, threads), function.needs)
        is_builtin = config.name in BUILTINS
        spec = HostSpec(
            name=config.name,
            params=config.arguments,
            timeout_s=max(config.timeout_s, own_seconds(config.name, config.params)),
            memory_bytes=_BUILTIN_MEMORY_BYTES if is_builtin and not BUILTINS[config.name].loads_model else 0,
            log_path=self._log_dir / f"reward_{label.replace('/', '_')}.log" if self._log_dir else None,
            gives_up=not is_builtin,
        )
        pool = HostPool(spec, self._workers)
        pool.start()
        return _Component(label, config, pool, pool.needs)


def component_weights(rewards: Sequence[RewardConfig]) -> dict[str, float]:
    """Weight of each component in the total, by its name in `Score.components`."""
    return {label: c.weight for label, c in zip(component_labels(rewards), rewards, strict=True)}


def applies(config: RewardConfig, columns: Mapping[str, object], step: int) -> bool:
    """True if the component counts for a prompt with these columns at this step."""
    return step >= config.start_step and (not config.kinds or columns.get("kind") in config.kinds)


def second_verifier(audit: AuditConfig, rewards: Sequence[RewardConfig]) -> RewardConfig | None:
    """The audit's verifier as a reward that decides nothing and applies where the one it is compared with does.

    Raises:
        RewardLoadError: there is no such reward, or one bears the verifier's name.
    """
    if audit.verifier is None:
        return None
    by_label = dict(zip(component_labels(rewards), rewards, strict=True))
    if audit.of not in by_label:
        raise RewardLoadError(f"audit.of = {audit.of!r} is none of the rewards: {', '.join(by_label)}")
    if AUDIT in by_label:
        raise RewardLoadError(f"a reward cannot be called {AUDIT!r}: the audit's verifier is")
    return by_label[audit.of].model_copy(
        update={"name": audit.verifier, "weight": 0.0, "params": audit.params, "timeout_s": audit.timeout_s}
    )


def is_audited(row: RewardRow, share: float) -> bool:
    """True for this share of the training groups; all completions of a prompt at a step go together."""
    if row.stage == "eval":
        return False
    key = hashlib.sha256(f"{row.step}\0{row.prompt}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(key[:6], "big") < share * 2**48


def _submit_column(
    component: _Component, rows: Sequence[RewardRow], share: float
) -> Future[list[Score | None]]:
    """The component's scores, None for rows it does not apply to."""
    chosen = [
        at
        for at, row in enumerate(rows)
        if applies(component.config, row.columns, row.step)
        and (component.label != AUDIT or is_audited(row, share))
    ]
    scores = component.workers.submit([rows[at] for at in chosen]) if chosen else joined([], list[Score])

    def spread() -> list[Score | None]:
        column: list[Score | None] = [None] * len(rows)
        for at, score in zip(chosen, scores.result(), strict=True):
            column[at] = score
        return column

    return joined([scores], spread)


def _by_group(groups: Sequence[SampleGroup], scores: Sequence[Score]) -> list[ScoredGroup]:
    scored: list[ScoredGroup] = []
    at = 0
    for group in groups:
        scored.append(ScoredGroup(group, tuple(scores[at : at + len(group.samples)])))
        at += len(group.samples)
    return scored


def _total(parts: Sequence[tuple[_Component, Score | None]]) -> Score:
    applied = [(component, score) for component, score in parts if score is not None]
    values = {component.label: score.total for component, score in applied}
    seconds = math.fsum(score.seconds for _, score in applied)
    if all(component.label == AUDIT for component, _ in applied):
        return Score(None, values, "abstain", "no reward applies to this prompt at this step", seconds)
    deciding = [(component, score) for component, score in applied if component.config.weight != 0]
    verdict: Verdict = max((score.verdict for _, score in deciding), key=_SEVERITY.index, default="ok")
    reasons = [
        f"{c.label}: {s.reason}" for c, s in applied if s.reason and (s.verdict == verdict or verdict == "ok")
    ]
    reason = shorten("; ".join(reasons))
    if verdict != "ok":
        trace = next((s.trace for _, s in deciding if s.verdict == verdict and s.trace), "")
        return Score(None, values, verdict, reason, seconds, trace=trace)
    terms = [(c.config.weight, s.total) for c, s in deciding if s.total is not None]
    total = math.fsum(weight * value for weight, value in terms)
    if not math.isfinite(total):
        return Score(None, values, "error", f"the weighted sum is {total}", seconds)
    scale = max((abs(weight) * max(1.0, abs(value)) for weight, value in terms), default=1.0)
    return Score(total, values, "ok", reason, seconds, scale)


def _row(group: SampleGroup, sample: Sample, number: int, stage: str, step: int) -> RewardRow:
    prompt = group.prompt
    return RewardRow(
        completion=prompt.prefill + sample.text,
        prompt=prompt.text,
        answer=prompt.answer,
        columns=prompt.columns,
        completion_ids=sample.token_ids,
        group_index=number,
        stage=stage,
        step=step,
    )
