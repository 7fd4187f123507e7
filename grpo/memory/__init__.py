"""The memory of a run, by rank and kind, from its recipe and the policy's config.json alone; and whether it fits."""
