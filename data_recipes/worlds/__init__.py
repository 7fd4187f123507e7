"""Task worlds: tiny languages with problems, corpora and tokenizers of their own, for runs on two cores."""
