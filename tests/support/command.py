"""The command as a user types it, in this process: a process of its own would spend seconds on importing torch."""

from __future__ import annotations

import contextlib
from pathlib import Path

from click.testing import CliRunner, Result

from fssbench.cli import main


def run_command(*arguments: object, folder: Path | None = None) -> Result:
    """Run `fssbench` with the arguments, in a folder if one is given."""
    with contextlib.chdir(folder) if folder else contextlib.nullcontext():
        return CliRunner().invoke(main, [str(argument) for argument in arguments])
