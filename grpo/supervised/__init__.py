"""The loop that `sft`, `distill` and `reward-model` share: epochs of packed batches."""
