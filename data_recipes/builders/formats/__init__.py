"""Formats of public data sets, each a pure function from a row to a `Built`; registry.py lists them."""
