"""Judges that are language models: of correctness, safety and quality, and of two replies."""
