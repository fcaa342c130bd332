"""The `fssbench` command: one small module a verb; parses and prints only."""
