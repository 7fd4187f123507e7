import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo.algorithm.loss_form import loss_form
from grpo.algorithm.losses import LossForm, grpo_loss
from grpo.algorithm.policy_losses import PolicyBatch, clip
from grpo.algorithm.types import Denominators
from grpo.config.algorithm import FORMS, AlgorithmConfig
from tests.oracles import grpo_oracle

RATIOS = tuple(FORMS["ratio"])
POLICY_LOSSES = tuple(FORMS["policy_loss"])
CLIPS = {
    "narrow": (0.05, 0.05, None),
    "asymmetric": (0.2, 0.6, None),
    "r1": (10.0, 10.0, None),
    "dual": (0.3, 0.3, 1.5),
}
AGGREGATIONS = tuple(FORMS["aggregation"])
KLS = (None, *FORMS["kl_estimator"])
ADVANTAGES = tuple(FORMS["advantage"])
IMPORTANCES = tuple(FORMS["importance"])
LENGTHS = (3, 1, 5, 2, 4, 1)
BETA, FIXED, CAP = 0.3, 7, 1.3


def make(**options) -> LossForm:
    return loss_form(AlgorithmConfig(**{"kl_coef": 0.0, **options}))


def batch(advantage, seed=0, spread=0.5):
    """Two groups of three samples; ratios far enough from 1 that every clip binds somewhere, on both
    sides."""
    generator = torch.Generator().manual_seed(seed)
    advantages = [
        a
        for rewards in ([1.0, 0.0, 0.5], [0.0, 2.0, 2.0])
        for a in grpo_oracle.advantages(rewards, advantage)
    ]
    samples, logps = [], []
    for length, adv in zip(LENGTHS, advantages, strict=True):

        def draw(centre, scale, n=length):
            return (centre + scale * torch.randn(n, generator=generator, dtype=torch.float64)).tolist()

        logp = draw(-2.0, 1.0)
        near = torch.tensor(logp, dtype=torch.float64)
        noise = [torch.randn(length, generator=generator, dtype=torch.float64) * spread for _ in range(3)]
        old, ref, rollout = near + noise[0], near + noise[1], near + noise[0] + 0.5 * noise[2]
        samples.append({"old": old.tolist(), "ref": ref.tolist(), "rollout": rollout.tolist(), "adv": adv})
        logps.append(logp)
    return logps, samples


def flat(samples, key):
    return torch.tensor([x for s in samples for x in s[key]], dtype=torch.float64)


def ours(logps, samples, form, denominators=None):
    """Loss, gradient per token and metrics of the product."""
    logprobs = torch.tensor([x for row in logps for x in row], dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([i for i, row in enumerate(logps) for _ in row], dtype=torch.int64)
    loss, metrics = grpo_loss(
        logprobs,
        flat(samples, "old"),
        flat(samples, "ref") if form.config.kl_coef else None,
        flat(samples, "rollout") if form.config.importance != "none" else None,
        ids,
        torch.tensor([s["adv"] for s in samples], dtype=torch.float64),
        denominators or Denominators(len(samples), len(logprobs), FIXED),
        form,
    )
    (grad,) = torch.autograd.grad(loss, logprobs)
    return loss.item(), grad, metrics


def forms(clip):
    low, high, dual = CLIPS[clip]
    for aggregation, estimator, importance in itertools.product(AGGREGATIONS, KLS, IMPORTANCES):
        yield {
            "low": low, "high": high, "dual": dual, "aggregation": aggregation, "fixed_length": FIXED,
            "beta": BETA if estimator else 0.0, "estimator": estimator, "importance": importance, "cap": CAP,
        }  # fmt: skip


def to_form(ratio, policy_loss, o):
    return make(
        ratio=ratio, policy_loss=policy_loss, clip_low=o["low"], clip_high=o["high"], dual_clip=o["dual"],
        aggregation=o["aggregation"], kl_coef=o["beta"], kl_estimator=o["estimator"] or "k3",
        importance=o["importance"], importance_cap=o["cap"],
    )  # fmt: skip


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("policy_loss", POLICY_LOSSES)
@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("advantage", ADVANTAGES)
def test_value_and_gradient_are_the_printed_formulas(ratio, policy_loss, clip, advantage):
    logps, samples = batch(advantage)
    for options in forms(clip):
        loss, grad, _ = ours(logps, samples, to_form(ratio, policy_loss, options))
        options |= {"ratio": ratio, "policy_loss": policy_loss}
        assert loss == pytest.approx(grpo_oracle.loss(logps, samples, **options), rel=1e-11, abs=1e-12)
        expected = torch.tensor(grpo_oracle.gradient(logps, samples, **options), dtype=torch.float64)
        torch.testing.assert_close(grad, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("policy_loss", POLICY_LOSSES)
def test_the_batch_makes_every_bound_bind(ratio, policy_loss):
    """Guards the test above against a batch in which clipping never happens."""
    logps, samples = batch("std")
    _, _, narrow = ours(logps, samples, to_form(ratio, policy_loss, next(forms("narrow"))))
    assert narrow.clipped_low > 0
    assert narrow.clipped_high > 0
    _, _, dual = ours(
        logps, samples, make(ratio=ratio, policy_loss=policy_loss, clip_low=0.3, clip_high=3.0, dual_clip=1.1)
    )
    assert dual.dual_clipped > 0
    for kind in IMPORTANCES[1:]:
        _, _, metrics = ours(logps, samples, make(ratio=ratio, importance=kind, importance_cap=CAP))
        assert 0 < metrics.importance_bound < sum(LENGTHS)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("policy_loss", POLICY_LOSSES)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("importance", ["none", "sequence_tis"])
def test_parts_with_global_denominators_add_up_to_the_whole(ratio, policy_loss, aggregation, importance):
    logps, samples = batch("std")
    form = make(
        ratio=ratio, policy_loss=policy_loss, aggregation=aggregation, kl_coef=BETA, importance=importance
    )
    whole, whole_grad, _ = ours(logps, samples, form)
    denominators = Denominators(len(samples), sum(LENGTHS), FIXED)
    parts = [ours(logps[p], samples[p], form, denominators) for p in (slice(0, 1), slice(1, 4), slice(4, 6))]
    assert sum(p[0] for p in parts) == pytest.approx(whole, rel=1e-13)
    torch.testing.assert_close(torch.cat([p[1] for p in parts]), whole_grad, rtol=1e-13, atol=0)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("policy_loss", POLICY_LOSSES)
@given(data=st.data())
def test_order_of_tokens_and_samples_is_irrelevant(ratio, policy_loss, data):
    logps, samples = batch("std", seed=data.draw(st.integers(0, 1000)))
    form = make(ratio=ratio, policy_loss=policy_loss, kl_coef=BETA, importance="sequence_mis")
    ids = torch.tensor([i for i, row in enumerate(logps) for _ in row])
    order = torch.tensor(data.draw(st.permutations(range(len(ids)))))
    relabel = torch.tensor(data.draw(st.permutations(range(len(samples)))))
    advantages = torch.tensor([s["adv"] for s in samples], dtype=torch.float64)
    values = [torch.tensor([x for row in logps for x in row], dtype=torch.float64)]
    values += [flat(samples, key) for key in ("old", "ref", "rollout")]
    denominators = Denominators(len(samples), len(ids))
    plain, _ = grpo_loss(*values, ids, advantages, denominators, form)
    moved_advantages = torch.empty_like(advantages)
    moved_advantages[relabel] = advantages
    moved, _ = grpo_loss(
        *(v[order] for v in values), relabel[ids][order], moved_advantages, denominators, form
    )
    torch.testing.assert_close(moved, plain, rtol=1e-12, atol=1e-14)


@given(
    advantage=st.floats(-3, 3),
    log_ratios=st.lists(st.floats(-2, 2), min_size=1, max_size=5),
    beta=st.floats(0, 1),
)
def test_on_policy_gradient_is_the_papers_coefficient(advantage, log_ratios, beta):
    """DeepSeekMath, appendix A.1.6: at π_θ = π_old GC = A + β (π_ref/π_θ − 1)."""
    logps = [[-1.0 - 0.1 * t for t in range(len(log_ratios))]]
    ref = [x + d for x, d in zip(logps[0], log_ratios, strict=True)]
    samples = [{"old": logps[0], "ref": ref, "rollout": logps[0], "adv": advantage}]
    _, grad, metrics = ours(logps, samples, make(kl_coef=beta))
    expected = [-(advantage + beta * math.expm1(d)) / len(log_ratios) for d in log_ratios]
    assert grad.tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert metrics.clipped_low == metrics.clipped_high == 0


def test_worked_number():
    """Two tokens, ratios 1.5 and 0.5, A = 1, ε = 0.2: −(1.2 + 0.5)/2; only the second has a gradient,
    −0.5/2."""
    old = [-1.0, -1.0]
    logps = [[-1.0 + math.log(1.5), -1.0 + math.log(0.5)]]
    loss, grad, metrics = ours(logps, [{"old": old, "ref": old, "rollout": old, "adv": 1.0}], make())
    assert loss == pytest.approx(-0.85)
    assert grad.tolist() == pytest.approx([0.0, -0.25])
    assert (metrics.clipped_high.item(), metrics.clipped_low.item()) == (1, 0)
    assert metrics.ratio.item() == pytest.approx(2.0)
    assert metrics.ratio_max.item() == pytest.approx(1.5)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("policy_loss", POLICY_LOSSES)
def test_zero_advantage_has_zero_gradient_even_when_the_ratio_overflows(ratio, policy_loss):
    samples = [{"old": [-800.0, -1.0], "ref": [0.0, 0.0], "rollout": [0.0, 0.0], "adv": 0.0}]
    loss, grad, _ = ours([[-1.0, -1.0]], samples, make(ratio=ratio, policy_loss=policy_loss))
    assert loss == 0
    assert grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("ratio", RATIOS)
def test_clipped_token_with_an_overflowed_ratio_has_zero_gradient(ratio):
    samples = [{"old": [-1800.0, -1800.0], "ref": [0.0] * 2, "rollout": [0.0] * 2, "adv": 1.0}]
    loss, grad, _ = ours([[-1.0, -1.0]], samples, make(ratio=ratio))
    assert loss == pytest.approx(-1.2)
    assert grad.tolist() == [0.0, 0.0]


def test_r1s_clip_of_10_never_binds_below_and_binds_above_11():
    log_ratio = torch.tensor([-20.0, math.log(10.9), math.log(11.1)])
    config = AlgorithmConfig(clip_low=10.0, clip_high=10.0)
    for advantage in (-1.0, 1.0):
        ids, old = torch.zeros(3, dtype=torch.int64), torch.zeros(3)
        term = clip(PolicyBatch(log_ratio, old, log_ratio, torch.full((3,), advantage), ids, 1, config))
        assert not term.clipped_low.any()
        assert term.clipped_high.tolist() == [False, False, advantage > 0]


def test_a_sample_without_tokens_counts_in_the_denominator_only():
    logps, samples = batch("std")
    form = make(ratio="gspo", kl_coef=BETA)
    empty = {"old": [], "ref": [], "rollout": [], "adv": 1.0}
    denominators = Denominators(len(samples) + 1, sum(LENGTHS))
    with_empty, _, _ = ours([*logps, []], [*samples, empty], form, denominators)
    without, _, _ = ours(logps, samples, form)
    assert with_empty == pytest.approx(without * len(samples) / (len(samples) + 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": make(kl_coef=0.1), "ref": None}, "ref_logprobs"),
        ({"form": make(importance="token_tis"), "rollout": None}, "rollout_logprobs"),
        ({"old": torch.zeros(3)}, "old_logprobs"),
        ({"form": make(aggregation="fixed_length")}, "fixed_length"),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    arguments = {
        "old": torch.zeros(2),
        "ref": torch.zeros(2),
        "rollout": torch.zeros(2),
        "form": make(),
    } | change
    with pytest.raises(ValueError, match=message):
        grpo_loss(
            torch.zeros(2), arguments["old"], arguments["ref"], arguments["rollout"],
            torch.zeros(2, dtype=torch.int64), torch.zeros(1), Denominators(1, 2), arguments["form"],
        )  # fmt: skip
