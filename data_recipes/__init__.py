"""Prompts: where they come from, how they are worded, in which order they are drawn."""
