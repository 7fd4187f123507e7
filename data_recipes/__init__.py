"""Data: prompts for RL, examples for supervised training, tests for code problems, and task worlds."""
