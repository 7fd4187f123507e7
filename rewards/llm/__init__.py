"""Asks a language model behind an OpenAI-compatible server, for judges, rewriters and generators of tests."""
