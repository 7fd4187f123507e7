"""Rollouts: vLLM engines in Ray actors, groups of samples, weights with proof, dead workers replaced."""
