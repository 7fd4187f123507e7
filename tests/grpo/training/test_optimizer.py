import numpy as np
import pytest
import torch

from grpo.config.mesh import Mesh
from grpo.config.sections import OptimizerConfig
from grpo.training.host_moments import HostMoments
from grpo.training.optimizer import PIECE, AdamW
from grpo.training.reference import FrozenWeights
from grpo.training.shard_files import load_shards, save_shards
from grpo.training.sharding.gradients import gradient_norm
from grpo.training.sharding.mesh import Ranks
from policies.errors import BrokenCheckpoint


def adamw(weight, gradients, lr, beta1, beta2, eps, decay):
    """Loshchilov & Hutter, algorithm 2, in float64."""
    m = v = np.zeros_like(weight)
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        step = (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        weight = weight - lr * (step + decay * weight)
    return weight


@pytest.mark.parametrize(("moments", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("shape", [(7,), (5, 3), (2, PIECE // 2 + 3)])
def test_updates_are_the_papers(moments, tolerance, shape):
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(shape), rng.standard_normal((4, *shape))
    config = OptimizerConfig(lr=0.01, weight_decay=0.1, moments=moments)
    weight = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
    optimizer = AdamW({"w": weight}, config)
    for gradient in gradients:
        # Twice the gradient, halved by the scale: what a clip does.
        weight.grad = torch.tensor(2 * gradient, dtype=torch.float32)
        optimizer.step(0.01, 0.5)
    decay = 0.1 if len(shape) > 1 else 0.0
    expected = adamw(start, gradients, 0.01, config.beta1, config.beta2, config.eps, decay)
    moved = np.abs(expected - start).max()
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=0, atol=tolerance * moved + 1.5e-6)


def test_a_parameter_without_gradient_counts_as_zero():
    """Momentum goes on: an expert that one batch did not use moves as it would with a zero gradient."""
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    for weight, second in zip(weights, (None, torch.zeros(3)), strict=True):
        optimizer = AdamW({"w": weight}, OptimizerConfig(lr=0.1))
        weight.grad = torch.ones(3)
        optimizer.step(0.1, 1.0)
        weight.grad = second
        optimizer.step(0.1, 1.0)
    assert torch.equal(*weights)


def test_gradient_norm_is_over_all_parameters():
    parameters = {n: torch.nn.Parameter(torch.zeros(2)) for n in "abc"}
    parameters["a"].grad, parameters["b"].grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert gradient_norm(parameters, Ranks(Mesh(), 0)) == pytest.approx(5.0)


def test_state_of_another_form_is_refused(tmp_path):
    def make(n, moments="float32"):
        return AdamW({"w": torch.nn.Parameter(torch.zeros(n))}, OptimizerConfig(moments=moments))

    for number, other in enumerate((make(4), make(3, "bfloat16"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        save_shards(folder, "optimizer", other.state(), 0, 1)
        with pytest.raises(BrokenCheckpoint, match=r"first/w is .*expected torch.float32 \(3,\)"):
            load_shards(folder, "optimizer", make(3).state())
    save_shards(tmp_path, "optimizer", [], 0, 1)
    with pytest.raises(BrokenCheckpoint, match="first/w is missing"):
        load_shards(tmp_path, "optimizer", make(3).state())


@pytest.mark.parametrize("moments", ["float32", "bfloat16"])
def test_moments_on_the_host_give_the_same_bits(moments, monkeypatch):
    monkeypatch.setattr("grpo.training.optimizer.PIECE", 7)  # several pieces, the last one short
    visits = []
    visit = HostMoments.visit
    monkeypatch.setattr(
        HostMoments, "visit", lambda self, pieces, u: (visits.append(len(pieces)), visit(self, pieces, u))
    )
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 9, generator=generator)
    gradients = [torch.randn(5, 9, generator=generator) for _ in range(3)]
    found = []
    for on_host in (False, True):
        weight = torch.nn.Parameter(start.clone())
        optimizer = AdamW({"w": weight}, OptimizerConfig(weight_decay=0.1, moments=moments), on_host=on_host)
        for gradient in gradients:
            weight.grad = gradient.clone()
            optimizer.step(0.01, 0.7)
        found.append((weight.detach(), *(shard.part for shard in optimizer.state())))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert visits == [7, 7, 7]


def test_frozen_weights_keep_every_dtype_and_shape_through_a_release():
    tensors = {
        "a": torch.randn(3, 5),
        "b": torch.randn(7).bfloat16(),
        "c": torch.tensor(2.5),
        "d": torch.arange(4),
        "e": torch.zeros(0, 2),
    }
    frozen = FrozenWeights(tensors)
    originals = {n: t.clone() for n, t in tensors.items()}
    for tensor in tensors.values():
        tensor.zero_()
    frozen.release()
    assert all(
        torch.equal(frozen.tensors[n], t) and frozen.tensors[n].dtype == t.dtype for n, t in originals.items()
    )
