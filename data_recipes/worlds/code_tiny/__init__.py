"""The task world of the code demo: small Python functions."""
