"""`grpo reward try`: the laboratory that attacks a reward before it is trained on."""
