"""The dispatcher under deaths, silence and repetition."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.dispatch import Dispatcher
from rollout.errors import RolloutError, WorkersLost
from rollout.types import RolloutChunk
from rollout.worker_pool import Delivered
from tests.rollout.scripted_pool import PUBLICATION, Fate, ScriptedPool, make_chunk, make_group

TIMEOUT_S = 30.0


def dispatcher(pool: ScriptedPool, restart_limit: int = 3) -> Dispatcher:
    return Dispatcher(pool, restart_limit, TIMEOUT_S, clock=pool.clock)


def expected(chunks: list[RolloutChunk]) -> Counter[tuple[str, str]]:
    return Counter((chunk.id, prompt.id) for chunk in chunks for prompt in chunk.prompts)


def deliver(made: Dispatcher, chunks: list[RolloutChunk]) -> Counter[tuple[str, str]]:
    return Counter((chunk_id, group.prompt.id) for chunk_id, group in made.run(chunks))


fates = st.lists(
    st.builds(Fate, st.sampled_from(["ok", "die", "hang", "short"]), st.integers(0, 4)), max_size=8
)


@settings(max_examples=400, deadline=None)
@given(
    size=st.integers(1, 3),
    prompts=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    fates=fates,
    starts=st.lists(st.sampled_from(["ready", "die", "hang"]), max_size=5),
    loads=st.lists(st.sampled_from(["ok", "ok", "die"]), max_size=6),
    order_seed=st.integers(0, 1000),
    restart_limit=st.integers(0, 8),
    echo=st.booleans(),
)
def test_every_group_arrives_exactly_once_or_all_workers_are_lost(
    size: int,
    prompts: list[int],
    fates: list[Fate],
    starts: list,
    loads: list,
    order_seed: int,
    restart_limit: int,
    echo: bool,
) -> None:
    pool = ScriptedPool(size, fates, starts, loads, order_seed, echo)
    made = dispatcher(pool, restart_limit)
    chunks = [make_chunk(f"c{i}", n) for i, n in enumerate(prompts)]
    seen: Counter[tuple[str, str]] = Counter()
    lost = ""
    try:
        made.load(PUBLICATION)
        for chunk_id, group in made.run(chunks):
            seen[chunk_id, group.prompt.id] += 1
    except WorkersLost as error:
        lost = str(error)
    assert max(seen.values(), default=1) == 1
    if lost:
        assert pool.deaths >= restart_limit + size
        assert lost.count("worker") == restart_limit + size + 1, "a cause is missing from the message"
    else:
        assert seen == expected(chunks)
        rows = made.ledger.rows()
        assert sum(row.groups for row in rows) == sum(prompts)
        assert Counter(row.chunk for row in rows if row.state == "done") == Counter(c.id for c in chunks)
        assert all(row.state in ("done", "lost") for row in rows)
        assert [(row.worker, row.chunk) for row in rows] == pool.submitted


def test_a_dead_worker_costs_its_chunk_alone() -> None:
    pool = ScriptedPool(2, [Fate(), Fate("die", 2)])
    made = dispatcher(pool)
    made.load(PUBLICATION)
    chunks = [make_chunk(f"c{i}", 3) for i in range(4)]
    assert deliver(made, chunks) == expected(chunks)
    attempts = Counter(row.chunk for row in made.ledger.rows())
    assert attempts == {"c0": 1, "c1": 2, "c2": 1, "c3": 1}
    first, second = [row for row in made.ledger.rows() if row.chunk == "c1"]
    assert (first.state, first.groups, first.attempt, first.cause) == ("lost", 2, 1, "scripted death")
    assert (second.state, second.groups, second.repeated, second.attempt) == ("done", 1, 2, 2)


def test_a_chunk_is_redone_whole() -> None:
    pool = ScriptedPool(1, [Fate("die", 2)])
    made = dispatcher(pool)
    made.load(PUBLICATION)
    chunk = make_chunk("c", 3)
    deliver(made, [chunk])
    assert pool.submitted == [(0, "c"), (0, "c")]
    made.load(PUBLICATION)  # waits for the groups that are not missed any more
    assert made.ledger.rows()[-1].state == "done"


def test_death_after_the_last_group_redoes_nothing() -> None:
    pool = ScriptedPool(1, [Fate("die", 3)])
    made = dispatcher(pool)
    made.load(PUBLICATION)
    chunks = [make_chunk("c", 3), make_chunk("d", 1)]
    assert deliver(made, chunks) == expected(chunks)
    assert [row.chunk for row in made.ledger.rows()] == ["c", "d"]


def test_a_silent_worker_is_killed_after_the_timeout_and_not_before() -> None:
    pool = ScriptedPool(2, [Fate("hang", 1)])
    made = dispatcher(pool)
    made.load(PUBLICATION)
    started = pool.now
    chunks = [make_chunk("c", 3)]
    assert deliver(made, chunks) == expected(chunks)
    assert pool.killed == [0]
    assert pool.now - started >= TIMEOUT_S
    assert "delivered nothing for 30 s" in made.ledger.rows()[0].cause


def test_a_worker_that_goes_on_delivering_is_left_alone() -> None:
    pool = ScriptedPool(1)
    made = dispatcher(pool)
    made.load(PUBLICATION)
    chunk = make_chunk("c", 40)
    stream = made.run([chunk])
    for _ in stream:
        pool.now += 0.9 * TIMEOUT_S  # each group alone is in time, the chunk as a whole is not
    assert pool.killed == []


def test_restarted_workers_get_weights_before_work() -> None:
    pool = ScriptedPool(1, [Fate("die", 0)] * 3)
    made = dispatcher(pool)
    made.load(PUBLICATION)
    chunks = [make_chunk("c", 2)]
    assert deliver(made, chunks) == expected(chunks)  # ScriptedPool.submit asserts the version
    assert pool.versions == {0: 5}


def test_the_restart_limit_ends_the_run_and_names_the_causes() -> None:
    pool = ScriptedPool(2, [Fate("die", 0)] * 9)
    made = dispatcher(pool, restart_limit=1)
    made.load(PUBLICATION)
    with pytest.raises(WorkersLost, match=r"worker 0: scripted death.*worker 1: scripted death"):
        deliver(made, [make_chunk("c", 2)])
    assert pool.deaths == 3


def test_a_worker_that_is_sent_to_a_dead_node_uses_up_no_restart() -> None:
    pool = ScriptedPool(1, [Fate("die", 0)], starts=["ready", "no node", "no node", "ready"])
    made = dispatcher(pool, restart_limit=1)
    made.load(PUBLICATION)
    chunks = [make_chunk("c", 2)]
    assert deliver(made, chunks) == expected(chunks)
    assert made.restarts == 1


def test_a_run_goes_on_with_the_workers_that_are_left() -> None:
    pool = ScriptedPool(3, [Fate("die", 0), Fate("die", 1)])
    made = dispatcher(pool, restart_limit=0)
    made.load(PUBLICATION)
    chunks = [make_chunk(f"c{i}", 2) for i in range(5)]
    assert deliver(made, chunks) == expected(chunks)
    assert {row.worker for row in made.ledger.rows() if row.state == "done"} == {2}


def test_an_error_of_the_chunk_is_raised_and_not_retried() -> None:
    pool = ScriptedPool(1, [Fate("fail", 1)])
    made = dispatcher(pool)
    made.load(PUBLICATION)
    with pytest.raises(ValueError, match="scripted failure"):
        deliver(made, [make_chunk("c", 3)])
    assert len(pool.submitted) == 1
    chunks = [make_chunk("d", 2)]
    assert deliver(made, chunks) == expected(chunks)


def test_a_worker_that_cannot_start_on_the_folder_is_not_restarted() -> None:
    pool = ScriptedPool(1, starts=["fail"])
    with pytest.raises(ValueError, match="broken folder"):
        dispatcher(pool).load(PUBLICATION)


def test_a_worker_that_never_starts_is_replaced() -> None:
    pool = ScriptedPool(1, starts=["hang", "ready"])
    made = dispatcher(pool)
    made.load(PUBLICATION)
    assert pool.killed == [0]
    assert deliver(made, [make_chunk("c", 1)]) == expected([make_chunk("c", 1)])


def test_a_group_nobody_asked_for_is_an_error() -> None:
    pool = ScriptedPool(1)
    made = dispatcher(pool)
    made.load(PUBLICATION)
    stream = made.run([make_chunk("c", 2)])
    next(stream)
    pool._queues[0].appendleft(Delivered(0, 1, make_group(make_chunk("x", 1), 0)))
    with pytest.raises(RolloutError, match="not asked for"):
        list(stream)


def test_a_group_sent_twice_in_one_attempt_is_an_error() -> None:
    pool = ScriptedPool(1)
    made = dispatcher(pool)
    made.load(PUBLICATION)
    chunk = make_chunk("c", 3)
    stream = made.run([chunk])
    _, group = next(stream)
    pool._queues[0].appendleft(Delivered(0, 1, group))
    with pytest.raises(RolloutError, match="not asked for"):
        list(stream)


def test_a_caller_that_stops_listening_leaves_the_workers_usable() -> None:
    pool = ScriptedPool(2)
    made = dispatcher(pool)
    made.load(PUBLICATION)
    stream = made.run([make_chunk("c", 4), make_chunk("d", 4)])
    assert len(list(islice(stream, 2))) == 2
    stream.close()
    assert {row.state for row in made.ledger.rows()} <= {"abandoned", "done"}
    made.load(PUBLICATION)
    again = [make_chunk("c", 4), make_chunk("e", 2)]
    assert deliver(made, again) == expected(again)


def test_a_prompt_may_come_twice_with_other_seeds() -> None:
    chunk = make_chunk("c", 2)
    twin = RolloutChunk(
        "c", (chunk.prompts[0], chunk.prompts[0]), 2, chunk.sampling, chunk.seeds, chunk.policy_version
    )
    pool = ScriptedPool(1, [Fate("die", 1)])
    made = dispatcher(pool)
    made.load(PUBLICATION)
    got = [group.samples[0].seed for _, group in made.run([twin])]
    assert sorted(got) == [0, 100]


def test_ambiguous_work_is_refused() -> None:
    made = dispatcher(ScriptedPool(1))
    made.load(PUBLICATION)
    with pytest.raises(ValueError, match="ids are not unique"):
        list(made.run([make_chunk("c", 1), make_chunk("c", 1)]))
    chunk = make_chunk("c", 1)
    same = RolloutChunk("c", chunk.prompts * 2, 2, chunk.sampling, chunk.seeds * 2, 5)
    with pytest.raises(ValueError, match="same prompt with the same seeds"):
        list(made.run([same]))


def test_no_chunks_is_no_work() -> None:
    made = dispatcher(ScriptedPool(1))
    made.load(PUBLICATION)
    assert list(made.run([])) == []


@pytest.mark.parametrize("restart_limit", [0, 1])
def test_engines_fall_asleep_and_one_that_dies_meanwhile_comes_back_with_the_next_load(
    restart_limit: int,
) -> None:
    pool = ScriptedPool(2)
    made = dispatcher(pool, restart_limit)
    made.load(PUBLICATION)
    abandoned = made.generate([make_chunk("left", 3)])
    next(abandoned)
    abandoned.close()
    pool.sleeps.extend(["die", "ok"])
    made.sleep()
    assert made.restarts == 0, "an engine started in the learner's turn"
    assert pool.asleep == {1}, "a worker with a chunk that nobody reads was not waited for"
    pool.asleep.clear()  # the learner's turn is over
    made.load(PUBLICATION)
    assert made.restarts == restart_limit
    chunks = [make_chunk(f"c{i}", 2) for i in range(4)]
    assert deliver(made, chunks) == expected(chunks)
    assert {worker for worker, chunk in pool.submitted if chunk != "left"} == (
        {0, 1} if restart_limit else {1}
    )


def test_a_run_whose_engines_all_die_asleep_ends_with_their_causes() -> None:
    pool = ScriptedPool(1)
    made = dispatcher(pool, restart_limit=0)
    made.load(PUBLICATION)
    pool.sleeps.append("die")
    made.sleep()
    with pytest.raises(WorkersLost, match="worker 0: scripted death while falling asleep"):
        made.load(PUBLICATION)
