"""A reward for both sides of a comparison: the last number of the completion is the answer.

It has TRL's signature, which our registry accepts unchanged: `name = "benchmarks/arithmetic_reward.py:last_number"`.
"""

import re


def last_number(completions, answer, **kwargs):
    """Return 1.0 where the last integer of the completion equals the answer, else 0.0."""
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    found = [re.findall(r"-?\d+", text) for text in texts]
    return [float(bool(f) and f[-1] == str(a)) for f, a in zip(found, answer, strict=True)]
