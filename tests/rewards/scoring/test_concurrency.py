"""Rewards use all their workers, whether rows come in one call or in many, and verdicts do not depend on how many.

A rendezvous proves it without a clock: each call of the reward waits until the other is running. Scored one after the
other, none ever meets another, and all end at the reward's own deadline with a 0.
"""

import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo.cluster.handles import RewardHandle
from rewards.config import RewardConfig
from rewards.hosts.pool import HostPool, HostSpec, rows_per_call
from rewards.rows import RewardRow
from rewards.scoring.scorer import Scorer
from rollout.types import Prompt, Sample, SampleGroup

PLUGIN = """
import os, pathlib, time

def meet(row, folder, count):
    here = pathlib.Path(folder)
    (here / f"{row.completion}-{os.getpid()}").touch()
    give_up = time.monotonic() + 20
    while len(list(here.iterdir())) < count:
        if time.monotonic() > give_up:
            return 0.0
        time.sleep(0.01)
    return 1.0

def scripted(row):
    if row.completion == "exit": os._exit(5)
    if row.completion == "raise": raise RuntimeError("boom")
    if row.completion == "none": return None
    return float(row.completion)

def order(batch, seen=[]):
    seen.append(batch.prompts[0])
    return [float(len(seen)) for _ in batch.completions]

def size(batch):
    return [float(len(batch.completions)) for _ in batch.completions]
"""


@pytest.fixture
def plugin(tmp_path):
    file = tmp_path / "plugin.py"
    file.write_text(textwrap.dedent(PLUGIN))
    return str(file)


@pytest.fixture
def meeting(plugin, tmp_path):
    folder = tmp_path / "meeting"
    folder.mkdir()
    return RewardConfig(name=f"{plugin}:meet", params={"folder": str(folder), "count": 2}, timeout_s=60)


def _group(name, *texts):
    samples = tuple(
        Sample(name, i, np.zeros(1, np.int32), np.zeros(1, np.float32), text, "stop", 0, 0, 0)
        for i, text in enumerate(texts)
    )
    return SampleGroup(Prompt(name, name, (1,), "", {}, "s", ""), samples)


def _totals(scored):
    return [[score.total for score in one.scores] for one in scored]


def test_rows_of_one_small_group_are_scored_side_by_side(meeting):
    with Scorer([meeting], workers=2) as scorer:
        assert _totals(scorer.score([_group("a", "1", "2")], "rl", 0)) == [[1.0, 1.0]]


def test_groups_of_several_callers_are_scored_side_by_side(meeting):
    with Scorer([meeting], workers=2) as scorer, ThreadPoolExecutor(2) as callers:
        groups = [[_group("a", "1")], [_group("b", "2")]]
        scored = list(callers.map(lambda group: scorer.score(group, "rl", 0), groups))
    assert [_totals(one) for one in scored] == [[[1.0]], [[1.0]]]


def test_groups_submitted_one_by_one_are_scored_side_by_side(meeting):
    with Scorer([meeting], workers=2) as scorer:
        futures = [scorer.submit([_group(name, name)], "rl", 0) for name in "ab"]
        assert [_totals(future.result()) for future in futures] == [[[1.0]], [[1.0]]]


@pytest.fixture(scope="module")
def local_ray():
    ray.init(address="local", include_dashboard=False, logging_level="error", log_to_driver=False,
             _node_ip_address="127.0.0.1", object_store_memory=128 * 2**20)  # fmt: skip
    yield
    ray.shutdown()


@pytest.mark.ray
def test_the_loops_single_groups_use_all_workers(local_ray, meeting):
    handle = RewardHandle.start([meeting], 2, None)
    tickets = [handle.submit([_group(name, name)], "rl", 0) for name in "ab"]
    scored = handle.collect(tickets)
    handle.close()
    assert [one.group.prompt.id for one in scored] == ["a", "b"]
    assert _totals(scored) == [[1.0], [1.0]]


@pytest.mark.ray
def test_list_wise_rewards_see_the_loops_groups_whole_and_in_order(local_ray, plugin):
    rewards = [RewardConfig(name=f"{plugin}:order"), RewardConfig(name=f"{plugin}:size")]
    handle = RewardHandle.start(rewards, 3, None)
    names = [f"g{i}" for i in range(40)]
    scored = handle.collect([handle.submit([_group(name, "x", "y", "z")], "rl", 0) for name in names])
    handle.close()
    assert [one.group.prompt.id for one in scored] == names
    for position, one in enumerate(scored):
        assert [dict(score.components) for score in one.scores] == [
            {"order": position + 1.0, "size": 3.0}
        ] * 3


@pytest.mark.ray
def test_closing_ends_what_still_runs(local_ray, plugin, tmp_path):
    folder = tmp_path / "alone"
    folder.mkdir()
    params = {"folder": str(folder), "count": 99}
    handle = RewardHandle.start([RewardConfig(name=f"{plugin}:meet", params=params, timeout_s=60)], 1, None)
    handle.submit([_group("a", "1")], "rl", 0)
    handle.close()


def test_closing_gives_what_still_runs_an_error(plugin, tmp_path):
    folder = tmp_path / "alone"
    folder.mkdir()
    spec = HostSpec(f"{plugin}:meet", {"folder": str(folder), "count": 99}, timeout_s=60)
    pool = HostPool(spec, 1)
    pool.start()
    future = pool.submit([RewardRow("a"), RewardRow("b")])
    while not list(folder.iterdir()):
        assert not future.done()
    pool.close()
    assert [(s.verdict, s.reason) for s in future.result()] == [("error", "the scorer was closed")] * 2
    with pytest.raises(RuntimeError):
        pool.submit([RewardRow("c")])


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    file = tmp_path_factory.mktemp("pools") / "plugin.py"
    file.write_text(textwrap.dedent(PLUGIN))
    pools = [HostPool(HostSpec(f"{file}:scripted", {}, 30.0), workers) for workers in (1, 3)]
    for pool in pools:
        pool.start()
    yield pools
    for pool in pools:
        pool.close()


WORDS = st.sampled_from(["1", "2", "none", "raise", "exit", "exit", "exit"])


@settings(max_examples=5, deadline=None)
@given(words=st.lists(st.one_of(st.just(["exit"] * 9), st.lists(WORDS, max_size=4)), max_size=2))
def test_verdicts_do_not_depend_on_the_number_of_workers(pools, words):
    rows = [RewardRow(word) for part in words for word in part]
    alone, shared = ([(s.total, s.verdict, s.reason) for s in pool.score(rows)] for pool in pools)
    assert alone == shared


def test_a_dying_plug_in_gives_up_after_the_same_row_with_any_number_of_workers(pools):
    rows = [RewardRow(word) for word in ["1", *["exit"] * 9, "2", "3"]]
    for pool in pools:
        reasons = [score.reason for score in pool.score(rows)]
        assert reasons[0] == ""
        assert reasons[1:9] == ["its process ended: exit code 5"] * 8
        assert reasons[9:] == ["not tried: the 8 rows before it ended their process"] * 3


@given(rows=st.integers(1, 20_000), workers=st.integers(1, 64))
def test_rows_are_divided_so_that_the_workers_end_together(rows, workers):
    size = rows_per_call(rows, workers)
    calls = -(-rows // size)
    assert 1 <= size <= 512
    assert (
        calls >= min(rows, workers) or size * (workers - 1) >= rows
    )  # none is left without for want of parts
    assert (
        -(-calls // workers) * size <= rows / workers + size
    )  # the busiest has at most a call more than its share
