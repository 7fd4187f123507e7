"""`grpo plan`: estimates of time, memory and GPU-hours before a run."""
