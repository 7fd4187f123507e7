"""Rewards that compare a final answer with the reference by value, above all `accuracy`."""
