"""The task world of tiny R1 pipelines: arithmetic, requests and refusals in two languages."""
