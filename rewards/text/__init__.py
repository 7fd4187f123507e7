"""Rewards and extraction that read the text alone: format, language, length, repetition."""
