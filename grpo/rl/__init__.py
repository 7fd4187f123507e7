"""The RL loop and evaluation; `loop.py` is the file to read first."""
