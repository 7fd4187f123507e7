"""Runs programs that a model wrote, where they can touch nothing: see `rewards.sandbox.types` and `.sandbox`."""
