"""The commands of `grpo`, a file per topic. Nothing heavy is imported before a command runs."""
