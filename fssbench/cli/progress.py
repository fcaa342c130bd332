"""Shows the progress of a command, and prints its results to standard output."""

from __future__ import annotations

import sys

import click

from fssbench.cli.output import escape_text
from fssbench.progress import Progress as SharedProgress


class Progress(SharedProgress):
    """Prints messages to standard error and results to standard output."""

    def result(self, text: str) -> None:
        """Print a line of results; at a terminal it stays above the bar."""
        if sys.stdout.isatty() and self.display.draws:
            self.display.say(text)
        else:
            click.echo(escape_text(text))
