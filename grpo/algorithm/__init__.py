"""The mathematics of GRPO as pure functions: advantages, ratios, losses, KL, schedules, packing plans."""
