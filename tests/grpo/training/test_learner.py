import dataclasses
import sys

import numpy as np
import psutil
import pytest
import torch

from grpo.algorithm.batching import phase_mini_batches
from grpo.common.errors import BrokenRun, RunError
from grpo.config.algorithm import AlgorithmConfig
from grpo.config.router import RouterConfig
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.training.learner import Learner
from policies.load import load_policy
from tests.grpo.tiny_phase import make_groups, make_policy
from tests.oracles import learner_oracle
from tests.processes import meet, run_in_new_process, run_in_ranks

LR = 1e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_policy(tmp_path_factory.mktemp("policy") / "v3")


def make(
    folder,
    rank=0,
    world_size=1,
    *,
    budget=4096,
    dtype="float32",
    gamma=0.0,
    optimizer=None,
    recompute=False,
    router=None,
    **algorithm,
):
    return Learner(
        policy=PolicyConfig(model=str(folder), compute_dtype=dtype),
        router=RouterConfig(**{"bias_rate": gamma, **(router or {})}),
        algorithm=AlgorithmConfig(**{"kl_coef": 0.0, **algorithm}),
        optimizer=OptimizerConfig(**{"lr": LR, "grad_clip": 1e9, **(optimizer or {})}),
        learner=LearnerConfig(
            ranks=world_size, tokens_per_micro_batch=budget, logit_chunk_tokens=16, recompute=recompute
        ),
        model_path=folder,
        total_steps=20,
        rank=rank,
    )


def phase(learner, groups, step=0, temperature=1.0, mini_batches=1):
    mismatch = learner.begin_phase(groups, step, temperature)
    batches = phase_mini_batches(groups, mini_batches, (0, step))
    return mismatch, [learner.update(b, step + i, max_tokens=16).metrics for i, b in enumerate(batches)]


def weights(learner):
    return {name: t.clone() for name, t in learner.named_tensors()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def gradients_of(learner, groups, monkeypatch, **options):
    """The gradients that the optimizer is given, and the metrics."""
    seen = {}

    def spy(lr, gradient_scale):
        seen.update({n: p.grad.clone() for n, p in learner.trained.parameters.items() if p.grad is not None})

    monkeypatch.setattr(learner.trained.optimizer, "step", spy)
    _, (metrics,) = phase(learner, groups, **options)
    return seen, metrics


@pytest.mark.parametrize("preset", ["tiny-v3", "tiny-llama-tied", "tiny-qwen3"])
def test_gradient_is_the_dense_float64_one(tmp_path, monkeypatch, preset):
    base, current = make_policy(tmp_path / "a", preset), make_policy(tmp_path / "b", preset, seed=1)
    learner = make(base, kl_coef=0.3)
    learner.model.load_state_dict(load_policy(current).state_dict())
    groups = make_groups()
    gradients, metrics = gradients_of(learner, groups, monkeypatch, temperature=0.7)

    model, reference = (load_policy(f).double() for f in (current, base))
    for m in (model, reference):
        m.set_attn_implementation("eager")
    loss, expected = learner_oracle.loss_and_gradients(model, reference, groups, 0.7, 0.3)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-4, abs=1e-6)
    assert metrics["policy/kl"] > 0.1
    norm = sum(g.square().sum() for g in expected.values()).sqrt().item()
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-4)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name].double(), gradient, rtol=0, atol=2e-5 * norm, msg=name)


@pytest.mark.parametrize("aggregation", ["sample_mean", "token_mean", "fixed_length"])
@pytest.mark.parametrize("budget", [1, 45])
def test_micro_batches_change_the_gradient_by_rounding_only(folder, monkeypatch, aggregation, budget):
    groups = make_groups()
    options = {"kl_coef": 0.1, "aggregation": aggregation}
    whole, a = gradients_of(make(folder, **options), groups, monkeypatch)
    parts, b = gradients_of(make(folder, budget=budget, **options), groups, monkeypatch)
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-4, abs=1e-6)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-3, atol=1e-5 * a["grad_norm"], msg=name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_recomputing_layers_changes_nothing_but_memory(folder, dtype):
    results, sizes = [], []
    for recompute in (False, True):
        learner = make(folder, dtype=dtype, gamma=0.01, recompute=recompute)
        kept = {}

        def keep(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            phase(learner, make_groups())
        results.append(weights(learner))
        sizes.append(sum(t.untyped_storage().nbytes() for t in kept.values()))
    assert same(*results)
    assert sizes[1] < 0.5 * sizes[0]


class ResidentAtBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, seen):
        ctx.seen = seen
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        ctx.seen.append(psutil.Process().memory_info().rss)
        return grad, None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc is asked for its free pages")
def test_who_recomputes_has_no_holes_of_the_forward_in_memory_at_the_backward(folder):
    freed = []
    for recompute in (False, True):
        trained = make(folder, recompute=recompute).trained
        blocks = [torch.ones(2**14) for _ in range(4000)]  # 64 KiB each
        before, seen = psutil.Process().memory_info().rss, []
        del blocks[::2]  # 125 MiB, in holes between blocks that stay
        trained.backward(ResidentAtBackward.apply(next(trained.model.parameters()).sum(), seen))
        freed.append((before - seen[0]) / 2**20)
    assert freed[0] < 50
    assert freed[1] > 90


def test_the_same_inputs_give_the_same_bits(folder):
    runs = []
    for _ in range(2):
        learner = make(folder, kl_coef=0.1, gamma=0.01)
        metrics = [phase(learner, make_groups(s), s)[1] for s in range(2)]
        runs.append((weights(learner), [{k: v for k, v in m.items() if "_s" not in k} for (m,) in metrics]))
    assert same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_at_the_start_reference_and_old_policy_are_the_policy_itself(folder, dtype):
    learner = make(folder, kl_coef=0.1, mini_batches=2, dtype=dtype)
    _, (first, second) = phase(learner, make_groups(), mini_batches=2)
    # The mini-batch packs the samples otherwise than the phase does.
    assert abs(first["policy/kl"]) < (1e-9 if dtype == "float32" else 1e-2)
    assert first["policy/ratio_mean"] == pytest.approx(1, abs=1e-5 if dtype == "float32" else 5e-2)
    assert second["policy/kl"] > first["policy/kl"]
    assert second["policy/ratio_max"] > 1 + 1e-3


def test_one_update_per_phase_needs_no_pass_for_the_old_policy(folder, monkeypatch):
    learner = make(folder)
    monkeypatch.setattr(learner, "_logprobs", None)
    _, (metrics,) = phase(learner, make_groups())
    assert metrics["policy/ratio_mean"] == metrics["policy/ratio_max"] == 1.0
    assert metrics["logprob_mismatch/max"] > metrics["logprob_mismatch/mean"] > 0


def test_old_logprobs_stay_those_of_the_phases_start(folder):
    """Repeating a mini-batch moves the ratio away from 1; a phase starts anew at 1."""
    learner, groups = make(folder, mini_batches=2, clip_low=10, clip_high=10), make_groups()
    mismatch = learner.begin_phase(groups, 0, 1.0)
    first, second = (learner.update(groups, step, 16).metrics for step in (0, 1))
    assert first["policy/ratio_max"] == pytest.approx(1, abs=1e-4)
    assert second["policy/ratio_max"] > 1.01
    assert mismatch["logprob_mismatch/max"] > mismatch["logprob_mismatch/mean"] > 0
    assert "logprob_mismatch/mean" not in first
    learner.begin_phase(groups, 2, 1.0)
    assert learner.update(groups, 2, 16).metrics["policy/ratio_max"] == pytest.approx(1, abs=1e-4)


def test_the_mismatch_is_engine_against_learner(folder):
    learner, groups = make(folder, mini_batches=2), make_groups()
    learner.begin_phase(groups, 0, 0.8)
    shifted = [
        dataclasses.replace(
            g,
            samples=tuple(
                dataclasses.replace(
                    s, rollout_logprobs=learner._old[s.prompt_id, s.token_ids.tobytes()] + 0.25
                )
                for s in g.samples
            ),
        )
        for g in groups
    ]
    assert learner.begin_phase(shifted, 0, 0.8) == pytest.approx(
        {"logprob_mismatch/mean": 0.25, "logprob_mismatch/max": 0.25}, abs=1e-5
    )
    on_policy = make(folder)
    on_policy.begin_phase(shifted, 0, 0.8)
    metrics = on_policy.update(shifted, 0, 16).metrics
    assert metrics["logprob_mismatch/mean"] == pytest.approx(0.25, abs=1e-5)


def test_reference_refreshes_every_n_steps(folder):
    learner = make(folder, kl_coef=0.1, reference_refresh_steps=2)
    kl = [phase(learner, make_groups(s), s)[1][0]["policy/kl"] for s in range(5)]
    assert [k < 1e-9 for k in kl] == [True, False, True, False, True]


@pytest.mark.parametrize("moments", ["float32", "bfloat16"])
def test_continuation_is_bit_identical(folder, tmp_path, moments):
    options = {
        "kl_coef": 0.1, "mini_batches": 2, "gamma": 0.01, "reference_refresh_steps": 4,
        "optimizer": {"moments": moments, "schedule": "cosine", "weight_decay": 0.1},
    }  # fmt: skip
    straight = make(folder, **options)
    for step in (0, 2):
        phase(straight, make_groups(step), step, mini_batches=2)
    straight.save(tmp_path)
    reports = [phase(straight, make_groups(step), step, mini_batches=2) for step in (4, 6)]

    resumed = make(folder, **options)
    resumed.load(tmp_path)
    again = [phase(resumed, make_groups(step), step, mini_batches=2) for step in (4, 6)]
    assert same(weights(straight), weights(resumed))
    assert [g for g, _ in reports] == [g for g, _ in again]
    timed = ("time/update_s", "tokens_per_s")
    strip = [[{k: v for k, v in m.items() if k not in timed} for m in ms] for _, ms in (*reports, *again)]
    assert strip[:2] == strip[2:]


def go_on(folder, checkpoint, out):
    learner = make(folder, kl_coef=0.1)
    learner.load(checkpoint)
    phase(learner, make_groups(1), 1)
    torch.save(weights(learner), out)


def test_continuation_in_a_new_process_is_bit_identical(folder, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        learner = make(folder, kl_coef=0.1)
        phase(learner, make_groups(0), 0)
        learner.save(tmp_path)
        phase(learner, make_groups(1), 1)
    finally:
        torch.set_num_threads(threads)
    out = tmp_path / "weights.pt"
    run_in_new_process(go_on, folder, tmp_path, out)
    assert same(weights(learner), torch.load(out))


def test_the_export_loads_in_transformers_with_the_same_weights(folder, tmp_path):
    learner = make(folder, gamma=0.01)
    phase(learner, make_groups())
    learner.export(tmp_path / "out")
    model = load_policy(tmp_path / "out")
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), learner.model.state_dict().values(), strict=True)
    )


def test_a_checkpoint_that_does_not_fit_is_named(folder, tmp_path):
    make(folder).save(tmp_path)
    other = make(folder, optimizer={"moments": "bfloat16"})
    with pytest.raises(BrokenRun, match=r"first/.*bfloat16"):
        other.load(tmp_path)
    (tmp_path / "optimizer.safetensors").unlink()
    with pytest.raises(BrokenRun, match=r"optimizer\.safetensors"):
        make(folder).load(tmp_path)


def test_canary_logprobs_are_the_dense_ones(folder):
    ids = np.random.default_rng(3).integers(0, 40, 20)
    got = make(folder).canary_logprobs(ids.tolist())
    model = load_policy(folder).double()
    model.set_attn_implementation("eager")
    expected = learner_oracle.dense_logprobs(model, ids[:1], ids[1:], 1.0).detach().numpy()
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_groups_without_spread_give_a_flagged_zero_gradient(folder):
    learner = make(folder)
    before = weights(learner)
    _, (metrics,) = phase(learner, make_groups(zero_variance=True))
    assert metrics["zero_gradient"] == 1.0
    assert metrics["grad_norm"] == 0.0
    assert same(weights(learner), before)


def test_an_empty_mini_batch_leaves_the_weights_alone(folder):
    learner = make(folder, mini_batches=2, kl_coef=0.1, gamma=0.1)
    phase(learner, make_groups(), mini_batches=2)
    before = weights(learner)
    mismatch, reports = phase(learner, [], 2, mini_batches=2)
    assert mismatch == {}
    assert [r["zero_gradient"] for r in reports] == [1.0, 1.0]
    assert same(weights(learner), before)


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(folder):
    learner = make(folder, importance="token_tis")
    before = weights(learner)
    groups = make_groups()
    groups[1].samples[0].rollout_logprobs[0] = np.nan
    with pytest.raises(RunError, match=r"step 0.*not applied.*optimizer\.lr"):
        phase(learner, groups)
    assert same(weights(learner), before)
    phase(learner, make_groups())
    assert not same(weights(learner), before)


def test_router_bias_moves_by_gamma_toward_balance_and_not_without(folder):
    for gamma in (0.0, 0.01):
        learner = make(folder, gamma=gamma)
        bias = {n: t.clone() for n, t in learner.named_tensors() if n.endswith("e_score_correction_bias")}
        phase(learner, make_groups())
        moved = {n: t - bias[n] for n, t in learner.named_tensors() if n in bias}
        assert len(moved) == 2
        for change in moved.values():
            assert set(np.round(change.abs().tolist(), 6)) <= {0.0, gamma}
            assert (change.abs().sum() > 0) == (gamma > 0)


def test_bfloat16_work_keeps_float32_masters_and_about_the_same_gradient(folder, monkeypatch):
    groups = make_groups()
    exact, a = gradients_of(make(folder), groups, monkeypatch)
    rough, b = gradients_of(make(folder, dtype="bfloat16"), groups, monkeypatch)
    assert all(g.dtype == torch.float32 for g in rough.values())
    assert b["loss"] != a["loss"] or any(not torch.equal(exact[n], rough[n]) for n in exact)
    flat = [torch.cat([g[n].flatten() for n in sorted(exact)]) for g in (exact, rough)]
    assert torch.cosine_similarity(*flat, dim=0) > 0.99


def test_the_gradient_is_clipped_to_its_norm(folder):
    learner, free = make(folder, optimizer={"grad_clip": 0.01}), make(folder)
    _, (metrics,) = phase(learner, make_groups())
    phase(free, make_groups())
    first, unclipped = (
        {shard.name: shard.part for shard in x.trained.optimizer.state() if "first" in shard.name}
        for x in (learner, free)
    )
    scale = 0.01 / metrics["grad_norm"]
    for name, moment in first.items():
        torch.testing.assert_close(moment, unclipped[name] * scale)


def rank_main(rank, world_size, folder, out):
    meet(rank, world_size, out / "store")
    learner = make(folder, rank, world_size, mini_batches=2, kl_coef=0.1, gamma=0.01, budget=60)
    mismatch, metrics = phase(learner, make_groups(), mini_batches=2)
    after = weights(learner)
    # One sample for two ranks: one of them has nothing to do.
    learner.begin_phase(make_groups(groups=1, samples=1), 2, 1.0)
    learner.update(make_groups(groups=1, samples=1), 2, 16)
    assert same(weights(learner), after) is False
    torch.save((after, mismatch, metrics), out / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_are_one_to_rounding(folder, tmp_path):
    run_in_ranks(rank_main, 2, folder, tmp_path, ranks=2)
    (first, mismatch, metrics), (second, _, other) = (torch.load(tmp_path / f"{r}.pt") for r in range(2))
    assert same(first, second)
    learner = make(folder, mini_batches=2, kl_coef=0.1, gamma=0.01, budget=60)
    one_mismatch, one_metrics = phase(learner, make_groups(), mini_batches=2)
    assert mismatch == pytest.approx(one_mismatch, rel=1e-4)
    for ours, theirs, one in zip(metrics, other, one_metrics, strict=True):
        timed = ("time/update_s", "tokens_per_s")
        assert {k: v for k, v in ours.items() if k not in timed} == {
            k: v for k, v in theirs.items() if k not in timed
        }
        for key in (
            "loss",
            "policy/kl",
            "policy/entropy",
            "policy/ratio_mean",
            "policy/ratio_max",
            "grad_norm",
        ):
            assert ours[key] == pytest.approx(one[key], rel=1e-3, abs=1e-5), key
    for name, tensor in weights(learner).items():
        # Adam divides by |g|, so a gradient near zero may move a weight by up to lr either way.
        torch.testing.assert_close(first[name], tensor, rtol=0, atol=2 * LR if "weight" in name else 1e-6)
        assert (first[name] - tensor).abs().mean() < 0.02 * LR
