"""Scoring of groups and files with the rewards of a recipe."""
