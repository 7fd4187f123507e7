"""The task world of the R1-Zero demo: chains of arithmetic."""
