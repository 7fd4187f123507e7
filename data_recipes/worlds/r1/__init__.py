"""Two languages, arithmetic, requests and refusals: the world of R1 in miniature."""
