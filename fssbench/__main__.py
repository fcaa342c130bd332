"""`python -m fssbench`: the same as the `fssbench` command."""

from fssbench.cli import run_command

run_command()
