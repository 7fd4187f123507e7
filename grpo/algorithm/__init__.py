"""The mathematics of GRPO as pure functions, and the registry by which a recipe names them."""
