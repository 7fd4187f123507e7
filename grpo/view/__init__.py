"""`grpo view`: a live page on localhost about runs and graphs."""
