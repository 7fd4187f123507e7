import pytest
import torch

from policies.fused import fuse, rms_norm, swiglu
from policies.logprobs import completion_logprobs
from policies.packing import pack
from policies.presets import new_policy, tiny_config


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-5), (draw(2, 3, 8), draw(8)))
    assert torch.autograd.gradcheck(swiglu, (draw(2, 5), draw(2, 5)))


@pytest.mark.parametrize("preset", ["tiny-v3", "tiny-v2", "tiny-qwen2", "tiny-qwen3", "tiny-llama"])
def test_a_fused_policy_computes_what_transformers_does(preset):
    packed = pack([([3, 4, 5], [[6, 7, 8], [9, 1]]), ([2], [[5, 1]])])
    runs = []
    for fused in (False, True):
        model = new_policy(tiny_config(preset, vocab_size=16), 0, 0.1)
        if fused:
            fuse(model)
            assert any("forward" in vars(m) for m in model.modules())
        logprobs, _ = completion_logprobs(model, packed)
        logprobs.square().sum().backward()
        runs.append((logprobs, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(runs[1][0], runs[0][0], rtol=1e-5, atol=1e-5)
    for name, gradient in runs[0][1].items():
        torch.testing.assert_close(
            runs[1][1][name], gradient, rtol=0, atol=2e-5 * gradient.abs().max(), msg=name
        )


def test_fewer_bytes_are_saved_for_the_backward():
    sizes = []
    for fused in (False, True):
        model = new_policy(tiny_config("tiny-llama", vocab_size=16), 0, 0.1)
        if fused:
            fuse(model)
        storages = {}
        with (
            torch.autocast("cpu", dtype=torch.bfloat16),
            torch.autograd.graph.saved_tensors_hooks(
                lambda t, s=storages: s.setdefault(t.untyped_storage().data_ptr(), t), lambda t: t
            ),
        ):
            completion_logprobs(model, pack([([3] * 64, [[4] * 64] * 8)]))
        sizes.append(sum(t.untyped_storage().nbytes() for t in storages.values()))
    assert sizes[1] < 0.85 * sizes[0]
