import math

import numpy as np
import pytest
from pydantic import ValidationError

from rewards.config import AuditConfig, RewardConfig, component_labels
from rewards.errors import RewardLoadError
from rewards.rows import RewardRow
from rewards.scoring.actor import RewardWorker
from rewards.scoring.scorer import Scorer, is_audited
from rewards.scoring.stats import AUDIT, component_stats, verdict_shares
from rewards.types import Score, ScoredGroup
from rollout.types import Prompt, Sample, SampleGroup

GOOD = "<think>a</think><answer>42</answer>"
PLUGIN = """
def length(row):
    return len(row.completion)

def silent(row):
    return None

def fails(row):
    raise ValueError("x")

def sees(batch):
    assert batch.stage == "rl" and batch.step == 7
    return [len(ids) for ids in batch.completion_ids]

def huge(row):
    return 1e308
"""


@pytest.fixture
def plugin(tmp_path):
    file = tmp_path / "p.py"
    file.write_text(PLUGIN)
    return str(file)


def _group(*texts, answer="42", columns=None, prefill=""):
    prompt = Prompt("id", "q", (1,), answer, columns or {}, "s", prefill)
    samples = tuple(
        Sample("id", i, np.arange(i + 1, dtype=np.int32), np.zeros(i + 1, np.float32), text, "stop", 0, 0, 0)
        for i, text in enumerate(texts)
    )
    return SampleGroup(prompt, samples)


def _score(rewards, *groups, step=7):
    with Scorer(rewards) as scorer:
        return scorer.score(groups, "rl", step)


def test_total_is_the_weighted_sum():
    rewards = [RewardConfig(name="accuracy"), RewardConfig(name="format", weight=0.5)]
    (scored,) = _score(
        rewards, _group(GOOD, "<answer>42</answer>", "<think>a</think><answer>1</answer>", "x")
    )
    assert [s.total for s in scored.scores] == [1.5, 1.0, 0.5, 0.0]
    assert scored.scores[1].components == {"accuracy": 1.0, "format": 0.0}
    assert {s.verdict for s in scored.scores} == {"ok"}


def test_groups_and_samples_keep_their_places(plugin):
    groups = [_group("a", "bb", "ccc"), _group("dddd")]
    scored = _score([RewardConfig(name=f"{plugin}:length")], *groups)
    assert [[s.total for s in g.scores] for g in scored] == [[1.0, 2.0, 3.0], [4.0]]
    assert scored[0].group is groups[0]


def test_prefill_is_scored_with_the_reply():
    (scored,) = _score(
        [RewardConfig(name="format")], _group("a</think><answer>42</answer>", prefill="<think>")
    )
    assert scored.scores[0].total == 1.0


def test_start_step_and_kinds_leave_a_component_out(plugin):
    rewards = [
        RewardConfig(name="format"),
        RewardConfig(name=f"{plugin}:length", start_step=8),
        RewardConfig(name=f"{plugin}:fails", kinds=("code",)),
    ]
    (scored,) = _score(rewards, _group(GOOD, columns={"kind": "math"}))
    assert dict(scored.scores[0].components) == {"format": 1.0}
    assert (scored.scores[0].total, scored.scores[0].verdict) == (1.0, "ok")
    (later,) = _score(rewards[:2], _group(GOOD), step=8)
    assert later.scores[0].total == 1.0 + len(GOOD)


def test_sample_without_any_reward_abstains():
    (scored,) = _score([RewardConfig(name="format", kinds=("code",))], _group(GOOD))
    assert (scored.scores[0].total, scored.scores[0].verdict) == (None, "abstain")


@pytest.mark.parametrize(("name", "verdict"), [("silent", "abstain"), ("fails", "error")])
def test_component_without_a_number_takes_the_sample_out(plugin, name, verdict):
    (scored,) = _score([RewardConfig(name="format"), RewardConfig(name=f"{plugin}:{name}")], _group(GOOD))
    score = scored.scores[0]
    assert (score.total, score.verdict) == (None, verdict)
    assert dict(score.components) == {"format": 1.0, name: None}
    assert score.reason.startswith(f"{name}: ")


def test_worst_verdict_wins(plugin):
    rewards = [RewardConfig(name=f"{plugin}:silent"), RewardConfig(name=f"{plugin}:fails")]
    assert _score(rewards, _group(GOOD))[0].scores[0].verdict == "error"


def test_weight_zero_only_measures(plugin):
    rewards = [RewardConfig(name="format"), RewardConfig(name=f"{plugin}:fails", weight=0.0)]
    score = _score(rewards, _group(GOOD))[0].scores[0]
    assert (score.total, score.verdict) == (1.0, "ok")
    assert score.components["fails"] is None


def test_infinite_sum_is_an_error(plugin):
    rewards = [RewardConfig(name=f"{plugin}:huge", weight=10.0)]
    assert _score(rewards, _group(GOOD))[0].scores[0].verdict == "error"


def test_native_reward_gets_stage_step_and_tokens(plugin):
    (scored,) = _score([RewardConfig(name=f"{plugin}:sees")], _group("a", "b", "c"))
    assert [s.total for s in scored.scores] == [1.0, 2.0, 3.0]


def test_one_unloadable_reward_stops_them_all(plugin):
    with pytest.raises(RewardLoadError, match="did you mean format"):
        Scorer([RewardConfig(name=f"{plugin}:length"), RewardConfig(name="fromat")]).start()


def test_scorer_must_be_started_and_may_be_closed_twice():
    scorer = Scorer([RewardConfig(name="format")])
    with pytest.raises(RuntimeError, match="start"):
        scorer.score([_group(GOOD)], "rl", 0)
    scorer.start()
    assert scorer.score([], "rl", 0) == []
    scorer.close()
    scorer.close()


def test_labels_are_unique():
    configs = [RewardConfig(name="format"), RewardConfig(name="a.py:f"), RewardConfig(name="b.py:f")]
    assert component_labels(configs) == ["format", "f", "f#2"]


def test_worker_is_a_plain_class():
    worker = RewardWorker([RewardConfig(name="format")])
    tickets = [worker.submit([_group(text)], "rl", 0) for text in (GOOD, "x")]
    assert [worker.take(ticket)[0].scores[0].total for ticket in tickets] == [1.0, 0.0]
    worker.close()


@pytest.mark.parametrize(
    "bad", [{"nmae": "x"}, {"name": ""}, {"name": "x", "timeout_s": 0}, {"name": "x", "weight": math.nan}]
)
def test_config_refuses(bad):
    with pytest.raises(ValidationError):
        RewardConfig(**bad)


def test_component_stats_by_hand():
    scores = (
        Score(1.0, {"a": 1.0, "b": None, "c": 2.0}),
        Score(None, {"a": 0.0, "b": None, "c": 2.0}, "error"),
        Score(1.0, {"a": None}),
    )
    stats = component_stats([ScoredGroup(_group("x", "y", "z"), scores)])
    assert (stats["a"].applied, stats["a"].scored, stats["a"].mean, stats["a"].std) == (3, 2, 0.5, 0.5)
    assert (stats["b"].applied, stats["b"].scored) == (2, 0)
    assert math.isnan(stats["b"].mean)
    assert (stats["c"].mean, stats["c"].std) == (2.0, 0.0)
    assert verdict_shares([ScoredGroup(_group("x", "y", "z"), scores)])["error"] == pytest.approx(1 / 3)


def _audited(plugin, *groups, stage="rl", **audit):
    rewards = [RewardConfig(name="accuracy", kinds=("math",)), RewardConfig(name="format")]
    with Scorer(rewards, audit=AuditConfig(verifier=f"{plugin}:length", **audit)) as scorer:
        return scorer.score(groups, stage, 7)


def test_second_verifier_measures_and_never_decides(plugin):
    math_group = _group(GOOD, "x", columns={"kind": "math"})
    (scored,) = _audited(plugin, math_group, share=1.0)
    assert [s.components[AUDIT] for s in scored.scores] == [len(GOOD), 1.0]
    assert [s.total for s in scored.scores] == [2.0, 0.0]


def test_second_verifier_that_fails_costs_nothing(plugin):
    with Scorer(
        [RewardConfig(name="format")], audit=AuditConfig(verifier=f"{plugin}:fails", of="format", share=1.0)
    ) as s:
        score = s.score([_group(GOOD)], "rl", 7)[0].scores[0]
    assert (score.total, score.verdict, score.components[AUDIT]) == (1.0, "ok", None)


def test_second_verifier_judges_where_its_reward_applies_and_never_an_evaluation(plugin):
    (scored,) = _audited(plugin, _group(GOOD, columns={"kind": "code"}), share=1.0)
    assert AUDIT not in scored.scores[0].components
    (held_out,) = _audited(plugin, _group(GOOD, columns={"kind": "math"}), stage="eval", share=1.0)
    assert AUDIT not in held_out.scores[0].components


def test_the_sample_of_groups_has_its_share_and_is_the_same_each_time():
    rows = [RewardRow("c", f"prompt {n}", step=n % 7) for n in range(4000)]
    chosen = [is_audited(row, 0.25) for row in rows]
    assert sum(chosen) == pytest.approx(1000, abs=120)  # four standard deviations
    assert chosen == [is_audited(row, 0.25) for row in rows]
    assert {is_audited(RewardRow(f"c{n}", "prompt 1", step=3), 0.5) for n in range(20)} in ({True}, {False})


@pytest.mark.parametrize(("audit", "message"), [
    ({"of": "acuracy"}, "none of the rewards: format"),
    ({"of": "format", "verifier": "nothing"}, "no reward 'nothing'"),
])  # fmt: skip
def test_audit_that_cannot_work_stops_before_anything_is_scored(audit, message):
    with pytest.raises(RewardLoadError, match=message):
        Scorer(
            [RewardConfig(name="format")], audit=AuditConfig(**({"verifier": "math_verify"} | audit))
        ).start()
