"""Hostile programs, and what must be true after each of them: `escapes.suite.run_suite`."""
