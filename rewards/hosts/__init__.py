"""The processes that reward functions run in, each call under a deadline."""
