"""Small Python functions: the world of the code demo."""
