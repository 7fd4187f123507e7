"""Builds and selects test cases for code problems, and makes wrong programs to check them with."""
