"""Rewards: the plug-in contract, the built-in functions, their processes, the sandbox, the laboratory."""
