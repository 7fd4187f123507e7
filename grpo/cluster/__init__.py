"""Ray: actors, placement, handles, sessions."""
