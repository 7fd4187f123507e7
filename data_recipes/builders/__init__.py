"""Builders of the recipes' data files from public data sets; registry.py lists them."""
