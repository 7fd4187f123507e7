"""Prompts for RL: data sets, procedural sources, the order in which they are drawn."""
