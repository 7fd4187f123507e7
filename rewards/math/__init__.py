"""The reward `accuracy`: whether a final answer equals the reference, by value."""
