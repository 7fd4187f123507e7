"""The reward `code`: runs programs against tests in the sandbox."""
