"""Task worlds: tiny languages with their problems, corpora and tokenizers, for runs on two cores."""
