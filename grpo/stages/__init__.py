"""One file per stage of the pipeline, and their registry."""
