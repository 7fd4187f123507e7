"""GRPO in plain Python, float64, one loop per sum, straight from the printed formulas. Imports nothing of
the product.

A mini-batch is a list of samples; a sample is a dict with lists per token: `old`, `ref`, `rollout`, `adv`
(one number). `logps` holds log π_θ separately, so that finite differences can move one token.
"""

from math import exp, prod, sqrt


def advantages(rewards, scale):
    """Of one group."""
    n = len(rewards)
    mean = sum(rewards) / n
    if all(r == rewards[0] for r in rewards):
        return [0.0] * n
    if scale == "std":
        std = sqrt(sum((r - mean) ** 2 for r in rewards) / n)
        return [(r - mean) / std for r in rewards]
    if scale == "mean":
        return [r - mean for r in rewards]
    if scale == "leave_one_out":
        return [r - sum(rewards[j] for j in range(n) if j != i) / (n - 1) for i, r in enumerate(rewards)]
    raise ValueError(scale)


def kl(logp, ref, estimator):
    r = exp(ref - logp)
    if estimator == "k1":
        return logp - ref
    if estimator == "k2":
        return (logp - ref) ** 2 / 2
    if estimator == "k3":
        return r - (ref - logp) - 1
    raise ValueError(estimator)


def clip(x, low, high):
    return max(low, min(high, x))


def importance_weight(kind, cap, token_values, t):
    if kind == "none":
        return 1.0
    level, form = kind.split("_")
    v = token_values[t] if level == "token" else prod(token_values)
    if form == "tis":
        return min(v, cap)
    return v if 1 / cap <= v <= cap else 0.0


def surrogate(rho, adv, low, high, dual):
    value = min(rho * adv, clip(rho, 1 - low, 1 + high) * adv)
    if dual is not None and adv < 0:
        value = max(value, dual * adv)
    return value


def level_ratio(level, logp, old, t):
    """ρ of token t."""
    tokens = [exp(a - b) for a, b in zip(logp, old, strict=True)]
    if level == "token":
        return tokens[t]
    if level == "sequence":
        return prod(tokens)
    if level == "gspo":
        return prod(tokens) ** (1 / len(tokens))
    raise ValueError(level)


def loss(
    logps,
    samples,
    *,
    ratio,
    policy_loss="clip",
    low,
    high,
    dual,
    aggregation,
    fixed_length,
    beta,
    estimator,
    importance,
    cap,
    frozen=None,
):
    """Loss of the whole mini-batch. `frozen`: log π_θ inside stop-gradients (CISPO's weight); default
    `logps`."""
    frozen = logps if frozen is None else frozen
    total_tokens = sum(len(s["old"]) for s in samples)
    result = 0.0
    for s, logp, stopped in zip(samples, logps, frozen, strict=True):
        length = len(logp)
        v = [exp(o - e) for o, e in zip(s["old"], s["rollout"], strict=True)]
        for t in range(length):
            rho = level_ratio(ratio, logp, s["old"], t)
            if policy_loss == "clip":
                f = surrogate(rho, s["adv"], low, high, dual)
            elif policy_loss == "cispo":
                weight = clip(level_ratio(ratio, stopped, s["old"], t), 1 - low, 1 + high)
                if dual is not None and s["adv"] < 0:
                    weight = min(weight, dual)
                f = weight * s["adv"] * logp[t]
            else:
                raise ValueError(policy_loss)
            w = importance_weight(importance, cap, v, t)
            penalty = 0.0
            if beta:
                penalty = (
                    kl(sum(logp), sum(s["ref"]), estimator)
                    if ratio == "sequence"
                    else kl(logp[t], s["ref"][t], estimator)
                )
            share = {
                "sample_mean": 1 / (length * len(samples)),
                "token_mean": 1 / total_tokens,
                "fixed_length": 1 / (len(samples) * (fixed_length or 1)),
            }[aggregation]
            result -= share * (w * f - beta * penalty)
    return result


def gradient(logps, samples, step=1e-6, **form):
    """Central differences, one token at a time."""
    result = []
    for i, logp in enumerate(logps):
        for t in range(len(logp)):
            values = []
            for sign in (1, -1):
                moved = [list(x) for x in logps]
                moved[i][t] += sign * step
                values.append(loss(moved, samples, frozen=logps, **form))
            result.append((values[0] - values[1]) / (2 * step))
    return result
