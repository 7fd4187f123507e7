"""What a run leaves behind: run directory, metrics, samples, guards, report."""
