"""What runs inside the launcher process. Standard library only."""
