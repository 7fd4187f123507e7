"""Scores of a trained reward model."""
