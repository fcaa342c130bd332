"""`python -m fssbench`: the same as the `fssbench` command."""

from fssbench.cli import main

main(prog_name="fssbench")
