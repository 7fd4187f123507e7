"""Code that runs inside the launcher process. It uses the standard library only."""
