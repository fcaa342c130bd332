"""Commands of the program in processes of their own, which are forked from one that has imported torch for all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

FORKS = """
import json, os, sys
commands, files = json.load(sys.stdin)
import torch
import fssbench.cli
for number, (words, environment) in enumerate(commands):
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    code = 99
    try:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{files}/{number}.{name}", os.O_WRONLY | os.O_CREAT), stream)
        os.environ.update(environment)
        sys.argv = ["fssbench", *words]
        code = 0
        fssbench.cli.main(words)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
"""


@dataclass(frozen=True)
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


def run_commands(
    *commands: Sequence[object],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    changes: Mapping[int, Mapping[str, str]] | None = None,
) -> list[Done]:
    """Run commands of `fssbench` in a folder one after another, each in a fresh process.

    Args:
        commands: their words, without `fssbench`.
        folder: where they run.
        environment: variables besides those of this process.
        changes: further variables of single commands, by their number.
    """
    with TemporaryDirectory() as files:
        given = [
            ([str(word) for word in words], dict((changes or {}).get(n, {})))
            for n, words in enumerate(commands)
        ]
        done = subprocess.run(
            [sys.executable, "-P", "-c", FORKS],
            input=json.dumps([given, files]),
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        codes = [int(line) for line in done.stdout.split()]
        texts = [
            [(Path(files) / f"{number}.{name}").read_text() for name in ("out", "err")]
            for number in range(len(commands))
        ]
    return [Done(code, *text) for code, text in zip(codes, texts, strict=True)]
