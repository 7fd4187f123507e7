"""Rollouts: vLLM engines in Ray actors, groups of samples, verified weight updates, restarts of dead workers."""
