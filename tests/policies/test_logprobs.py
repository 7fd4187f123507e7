from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from policies.families.registry import PRESETS
from policies.logprobs import completion_logprobs, sequence_logprobs, token_logprobs
from policies.packing import pack, pack_documents
from policies.presets import new_policy, tiny_config
from tests.oracles.policies_oracle import plain_logprobs
from tests.policies.tiny import random_groups, tiny_policy


def weighted(values: torch.Tensor, seed: int = 5) -> torch.Tensor:
    return (values * torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))).sum()


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("theirs", [pytest.param("eager", marks=pytest.mark.slow), "sdpa"])
def test_packed_equals_one_sequence_at_a_time(preset: str, theirs: str):
    model = tiny_policy(preset)
    groups = random_groups(0)
    logprobs, entropy = completion_logprobs(model, pack(groups), temperature=0.7, chunk_tokens=13)
    (weighted(logprobs) + weighted(entropy, 6)).backward()
    ours = gradients(model)
    model.zero_grad()
    model.set_attn_implementation(theirs)
    expected, expected_entropy = plain_logprobs(model, groups, temperature=0.7)
    assert expected.std() > 0.5, "weights too small: near-uniform logits would hide an error"
    torch.testing.assert_close(logprobs, expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(entropy, expected_entropy, atol=2e-5, rtol=0)
    (weighted(expected) + weighted(expected_entropy, 6)).backward()
    for name, gradient in gradients(model).items():
        error = (ours[name] - gradient).abs().max() / gradient.abs().max().clamp_min(1e-3)
        assert error < 2e-5, f"{name}: {error}"


def test_order_of_groups_and_samples_changes_rounding_only():
    model = tiny_policy("tiny-v3")
    groups = random_groups(1)
    reverse = [(prompt, completions[::-1]) for prompt, completions in groups[::-1]]
    a, b = pack(groups), pack(reverse)
    forward, backward = (completion_logprobs(model, packed)[0] for packed in (a, b))
    last = b.sample_count - 1
    reordered = torch.cat([backward[b.sample_ids == last - s] for s in range(a.sample_count)])
    torch.testing.assert_close(forward, reordered, atol=1e-5, rtol=0)


def test_two_runs_are_equal_bit_for_bit():
    model = tiny_policy("tiny-v3")
    packed = pack(random_groups(2))

    def run() -> list[torch.Tensor]:
        model.zero_grad()
        logprobs, entropy = completion_logprobs(model, packed)
        weighted(logprobs + entropy).backward()
        return [logprobs.detach(), entropy.detach(), *gradients(model).values()]

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


def test_documents_train_every_token_after_the_first():
    model = tiny_policy("tiny-qwen3")
    documents = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    logprobs, _ = completion_logprobs(model, pack_documents(documents))
    model.set_attn_implementation("eager")
    expected, _ = plain_logprobs(model, [(d[:1], [d[1:]]) for d in documents])
    torch.testing.assert_close(logprobs, expected, atol=1e-5, rtol=0)


def test_sequence_logprobs_are_those_of_its_tokens_without_gradient():
    model = tiny_policy("tiny-v3")
    tokens = [3, 1, 4, 1, 5, 9, 2, 6]
    found = sequence_logprobs(model, tokens)
    model.set_attn_implementation("eager")
    expected, _ = plain_logprobs(model, [(tokens[:1], [tokens[1:]])])
    assert not found.requires_grad
    torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=0)


def head_case(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(37, 16, generator=generator, dtype=dtype).requires_grad_()
    head = torch.randn(101, 16, generator=generator, dtype=dtype).requires_grad_()
    return states, head, torch.randint(0, 101, (37,), generator=generator)


@pytest.mark.parametrize("chunk", [1, 7, 37, 512])
@pytest.mark.parametrize("piece", [1, 300, 2**22])
@pytest.mark.parametrize("use", ["logprobs", "entropy", "both"])
def test_chunks_equal_float64_autograd_over_the_whole(
    chunk: int, use: str, piece: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("policies.logprobs.PIECE_ELEMENTS", piece)
    states, head, targets = head_case()
    logprobs, entropy = token_logprobs(states, head, targets, temperature=1.3, chunk_tokens=chunk)
    log_probs = (states.double() @ head.double().T / 1.3).log_softmax(-1)
    expected = log_probs.gather(1, targets[:, None])[:, 0]
    expected_entropy = -(log_probs.exp() * log_probs).sum(-1)
    torch.testing.assert_close(logprobs.double(), expected, atol=2e-6, rtol=1e-6)
    torch.testing.assert_close(entropy.double(), expected_entropy, atol=2e-6, rtol=1e-6)

    def loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        parts = {"logprobs": weighted(a), "entropy": weighted(b, 6)}
        return parts["logprobs"] + parts["entropy"] if use == "both" else parts[use]

    ours = torch.autograd.grad(loss(logprobs, entropy), (states, head))
    theirs = torch.autograd.grad(loss(expected, expected_entropy), (states, head))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=5e-6, rtol=1e-5)


def test_a_frozen_head_gets_no_gradient_and_states_do():
    states, head, targets = head_case()
    head.requires_grad_(False)
    token_logprobs(states, head, targets)[0].sum().backward()
    assert head.grad is None
    assert states.grad is not None


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements that any operator's result had."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


def test_the_full_logits_never_exist():
    vocab, chunk = 4096, 16
    model = new_policy(tiny_config("tiny-llama", vocab), 0, 0.1)
    packed = pack(random_groups(3, groups=4, samples=8))
    count = len(packed.target_ids)
    with LargestTensor() as seen:
        logprobs, entropy = completion_logprobs(model, packed, chunk_tokens=chunk)
        (logprobs.sum() + entropy.sum()).backward()
    head_elements = vocab * 64
    assert count * vocab > 3 * head_elements, "the case is too small to tell logits from the head itself"
    assert seen.elements <= max(head_elements, chunk * vocab)


@pytest.mark.parametrize("preset", ["tiny-v3", "tiny-qwen2"])
def test_bfloat16_autocast_is_near_and_keeps_float32_results(preset: str):
    model = tiny_policy(preset, weight_std=0.06)
    packed = pack(random_groups(4))
    exact, _ = completion_logprobs(model, packed)
    with torch.autocast("cpu", torch.bfloat16):
        logprobs, entropy = completion_logprobs(model, packed)
    assert logprobs.dtype == entropy.dtype == torch.float32
    assert (logprobs - exact).abs().mean() < 0.03
    assert not torch.equal(logprobs, exact)
    logprobs.sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


def test_gradient_checkpointing_changes_nothing():
    model = tiny_policy("tiny-v3")
    packed = pack(random_groups(5))
    completion_logprobs(model, packed)[0].sum().backward()
    plain = gradients(model)
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model.train()
    completion_logprobs(model, packed)[0].sum().backward()
    assert all(torch.equal(plain[name], g) for name, g in gradients(model).items())
