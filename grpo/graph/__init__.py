"""`grpo run`: a recipe of stages as a graph of cached, resumable nodes."""
