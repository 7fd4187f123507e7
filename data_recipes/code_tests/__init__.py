"""Test cases for code problems: built, selected, checked by mutants."""
