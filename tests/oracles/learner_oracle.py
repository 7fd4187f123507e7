"""Loss and gradients of one update, the slow way: float64, one sample at a time, plain attention, no packing."""

import torch


def dense_logprobs(model, prompt_ids, completion_ids, temperature):
    """(L,) log-probs of the completion's tokens."""
    ids = torch.tensor([[*prompt_ids, *completion_ids]], dtype=torch.int64)
    logits = model(input_ids=ids, use_cache=False).logits[0] / temperature
    logps = logits.log_softmax(-1)[len(prompt_ids) - 1 : -1]
    return logps.gather(1, ids[0, len(prompt_ids) :, None])[:, 0]


def loss_and_gradients(model, reference, groups, temperature, beta):
    """On-policy GRPO of DeepSeekMath: ρ = π_θ / sg(π_θ), k3, mean per sample, then over samples."""
    samples = [(g.prompt_ids, s) for g in groups for s in g.samples]
    total = torch.zeros((), dtype=torch.float64)
    for prompt, sample in samples:
        logp = dense_logprobs(model, prompt, sample.token_ids, temperature)
        with torch.no_grad():
            ref = dense_logprobs(reference, prompt, sample.token_ids, temperature)
        objective = (logp - logp.detach()).exp() * sample.advantage
        kl = (ref - logp).exp() - (ref - logp) - 1
        total = total - (objective - beta * kl).mean() / len(samples)
    model.zero_grad()
    total.backward()
    return total.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
