"""Pre-training of tiny base policies on the toy corpora."""
