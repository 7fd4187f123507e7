"""Rewrites raw reasoning traces into readable ones with a language model."""
