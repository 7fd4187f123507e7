"""Sizes that both the computation and the memory model (grpo/memory) read; nothing here imports torch."""

GATHERED_ELEMENTS = 2**28
"""Keys and values of all tokens of a row that exist at one time where ranks divide its tokens; heads take turns above
it. One head of DeepSeek-V3 at 65,536 tokens has 2^24.3."""
