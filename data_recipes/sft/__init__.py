"""Examples for supervised training: curation, decontamination, preference pairs."""
