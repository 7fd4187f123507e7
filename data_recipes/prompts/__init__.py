"""Prompts for RL: data sets, procedural sources, and the order in which prompts are drawn."""
