import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo.algorithm.kl import k3, kl_estimate
from grpo.algorithm.registry import load_named
from grpo.config.algorithm import FORMS, AlgorithmConfig
from tests.oracles import grpo_oracle

LOGPROBS = st.lists(st.tuples(st.floats(-20, 0), st.floats(-20, 0)), min_size=1, max_size=8)


def named(name):
    return load_named(AlgorithmConfig(kl_estimator=name), "kl_estimator")


def tensors(pairs):
    return (torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True))


@pytest.mark.parametrize("estimator", tuple(FORMS["kl_estimator"]))
@given(pairs=LOGPROBS)
def test_values_are_the_formulas(estimator, pairs):
    got = kl_estimate(*tensors(pairs), named(estimator))
    assert got.tolist() == pytest.approx(
        [grpo_oracle.kl(a, b, estimator) for a, b in pairs], rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize("estimator", ["k2", "k3"])
@given(pairs=LOGPROBS)
def test_k2_and_k3_are_never_negative_and_zero_only_at_equality(estimator, pairs):
    for (a, b), value in zip(pairs, kl_estimate(*tensors(pairs), named(estimator)).tolist(), strict=True):
        assert value >= 0
        if abs(a - b) > 1e-6:
            assert value > 0
        if a == b:
            assert value == 0


def test_k1_and_k3_are_unbiased_and_the_gradients_are_what_the_docstring_says():
    """Exact expectations over a vocabulary of three."""
    logits = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64).log_softmax(0)
    logp = logits.log_softmax(0)
    p = logp.exp()
    true = (p * (logp - ref)).sum()
    (true_grad,) = torch.autograd.grad(true, logits, retain_graph=True)
    for estimator in ("k1", "k3"):
        torch.testing.assert_close((p * kl_estimate(logp, ref, named(estimator))).sum(), true)
    for estimator, expected in (("k1", torch.zeros(3, dtype=torch.float64)), ("k2", true_grad)):
        loss = (p.detach() * kl_estimate(logp, ref, named(estimator))).sum()
        (grad,) = torch.autograd.grad(loss, logits, retain_graph=True)
        torch.testing.assert_close(grad, expected)


def test_k3_keeps_small_differences_in_float32():
    d = 1e-4
    value = kl_estimate(torch.tensor([d]), torch.tensor([0.0]), k3).item()
    assert value == pytest.approx(math.expm1(-d) + d, rel=0.2)
    assert value > 0


def test_the_reference_is_a_constant():
    ref = torch.zeros(2, requires_grad=True)
    logp = torch.ones(2, requires_grad=True)
    kl_estimate(logp, ref, k3).sum().backward()
    assert ref.grad is None


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="differ"):
        kl_estimate(torch.zeros(2), torch.zeros(3), k3)
    with pytest.raises(ValueError, match=r"'k1', 'k2', 'k3'(.|\n)*'k4'"):
        named("k4")
