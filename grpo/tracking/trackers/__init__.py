"""Experiment trackers: Weights & Biases, MLflow, Trackio, TensorBoard."""
