"""Measurements of a tiny base policy during pre-training."""
