"""Chains of arithmetic: the world of the R1-Zero demo."""
