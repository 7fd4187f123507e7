"""Tests whether a reward repeats its scores: again, in another order, in other batches, in other processes, in
threads."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rewards.hosts.pool import HostPool, HostSpec
from rewards.lab.cases import Case
from rewards.lab.checks import Check, judge_stable
from rewards.types import Score

_MAX_CASES, _MIN_CASES = 128, 16
_PASS_S = 8.0
"""Maximum time in seconds for scoring the chosen cases once."""
_REPEAT_S, _MAX_REPEATS = 1.5, 30
"""Time in seconds for which a fast reward is repeated: dependence on a clock, on chance or on a counter needs time to
show."""
_THREADS, _THREAD_S, _MAX_ROUNDS = 4, 2.0, 400
_THREAD_TIMEOUT_S = 120.0


def by_group(cases: Sequence[Case]) -> list[list[int]]:
    """Return the indices of the cases of each question."""
    groups: dict[int, list[int]] = {}
    for at, case in enumerate(cases):
        groups.setdefault(case.row.group_index, []).append(at)
    return list(groups.values())


def threaded_spec(spec: HostSpec) -> HostSpec:
    """Return the spec of a host that runs the reward in threads."""
    params = {"name": spec.name, "params": dict(spec.params), "threads": _THREADS, "budget_s": _THREAD_S,
              "max_rounds": _MAX_ROUNDS}  # fmt: skip
    return HostSpec("rewards.lab.threads:ThreadedReward", params, max(_THREAD_TIMEOUT_S, 2 * spec.timeout_s))


def stability(
    pools: Sequence[HostPool],
    threaded: HostPool,
    threads: ThreadPoolExecutor,
    cases: Sequence[Case],
    scores: Sequence[Score | None],
    case_s: float,
) -> list[Check]:
    """Score some of the cases again in every way and judge whether the scores agree.

    Args:
        pools: three pools of one host each; the first one gave `scores`.
        threaded: pool made from `threaded_spec`.
        threads: executor that scores with two pools concurrently.
        cases, scores: the first scores; None where a case was not tried.
        case_s: seconds per case, which determine how many cases are scored again.
    """
    limit = min(_MAX_CASES, max(_MIN_CASES, int(_PASS_S / max(case_s, 1e-6))))
    chosen: list[list[int]] = []
    for part in by_group(cases):
        tried = [at for at in part if scores[at] is not None]
        if not tried or (chosen and sum(map(len, chosen)) + len(tried) > limit):
            break
        chosen.append(tried if chosen else tried[: max(limit, _MIN_CASES)])
    used = [at for part in chosen for at in part]
    if not used:
        return []
    rng = random.Random(0)
    mixed = [rng.sample(part, len(part)) for part in rng.sample(chosen, len(chosen))]

    def scored(pool: HostPool, order: Sequence[Sequence[int]]) -> list[Score | None]:
        """Return the scores in the order of `used`; one call per item of `order`."""
        found: dict[int, Score] = {}
        for part in order:
            found |= dict(zip(part, pool.score([cases[at].row for at in part]), strict=True))
        return [found.get(at) for at in used]

    kept, first = [cases[at] for at in used], [scores[at] for at in used]

    def judged(name: str, again: Sequence[Score | None]) -> Check:
        return judge_stable(name, kept, first, again)

    repeats, started = [judged("repeatable", scored(pools[0], chosen))], time.monotonic()
    while time.monotonic() - started < _REPEAT_S and len(repeats) < _MAX_REPEATS and not repeats[-1].failed:
        time.sleep(0.02)
        repeats.append(judged("repeatable", scored(pools[0], chosen)))
    everything = [at for part in mixed for at in part]
    checks = [
        repeats[-1],
        judged("order", scored(pools[0], [everything])),
        judged("batch", scored(pools[0], _batches(pools[0], used, chosen, rng))),
    ]
    both = [
        threads.submit(scored, pool, order)
        for pool, order in zip(pools[1:], (chosen, mixed[::-1]), strict=True)
    ]
    checks.append(
        max((judged("processes", future.result()) for future in both), key=lambda check: check.failed)
    )
    # All questions list their cases in the same order, which would hide two swapped questions; here the order differs.
    in_threads = everything
    if pools[0].is_row_wise:
        most = max(_MIN_CASES, int(_PASS_S / _THREADS / max(case_s, 1e-6)))
        in_threads = _alternating(everything, scores)[:most]
    checks.append(judged("threads", scored(threaded, [in_threads])))
    return checks


def _alternating(order: Sequence[int], scores: Sequence[Score | None]) -> list[int]:
    """Return cases with different scores next to each other, as many as can be paired, so that rows swapped by threads
    show."""
    by_score: dict[float | None, list[int]] = {}
    for at in order:
        score = scores[at]
        by_score.setdefault(score.total if score else None, []).append(at)
    kinds = sorted(by_score.values(), key=len)
    turns = max(len(kinds[-2]) if len(kinds) > 1 else 0, -(-_MIN_CASES // len(kinds)))
    return [kind[turn] for turn in range(turns) for kind in kinds if turn < len(kind)]


def _batches(
    pool: HostPool, used: Sequence[int], chosen: Sequence[Sequence[int]], rng: random.Random
) -> list[list[int]]:
    """Split into other calls than the first: a few rows each; a list-wise reward always gets whole groups."""
    if not pool.is_row_wise:
        pairs = rng.sample(list(chosen), len(chosen))
        return [[at for part in pairs[n : n + 2] for at in part] for n in range(0, len(pairs), 2)]
    order = rng.sample(list(used), len(used))
    return [order[n : n + 3] for n in range(0, len(order), 3)]
