"""Commands of the program in processes of their own, which are forked from one that has imported libraries for all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

IMPORTS = {
    # before the fork, because they take most of a command's time
    True: "import torch, torchvision.models, matplotlib.figure, scipy.sparse, "
    "fssbench.cli.run_output, fssbench.evaluation.request",
    False: "import matplotlib.figure, numpy, pandas, pydantic, rich.console, scipy.stats",
}
"""What the parent of the commands imports for them: with torch, and without."""
FORKS = """
import json, os, signal, sys
import fssbench.cli
{imports}

def run(words, folder, environment, out, err):
    os.chdir(folder)
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOCTTY), stream)
    sys.stdin = open(os.devnull)
    os.dup2(sys.stdin.fileno(), 0)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = ["fssbench", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    fssbench.cli.main(words)

for line in sys.stdin:
    given = json.loads(line)
    if isinstance(given, int):  # a child that ends now or has ended
        _, status = os.waitpid(given, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    if child := os.fork():
        print(child, flush=True)
        continue
    code = 99
    try:
        run(*given)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if "torch" in sys.modules:
            open(os.path.join(os.path.dirname(given[3]), "torch"), "w").close()
        os._exit(code)
"""


@dataclass(frozen=True)
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str
    torch: bool
    """Whether it had torch imported at its end."""


class Started:
    """A command that runs in a fresh process, used like a `Popen`.

    Args:
        words: its words, without `fssbench`.
        folder: where it runs.
        environment: its variables.
        torch: let it begin with torch imported.
        terminal: path of a terminal that is its standard error.
    """

    returncode: int | None = None
    """Exit status once the command has ended, negative if a signal ended it."""
    torch: bool = False
    """Whether torch was imported when it ended."""

    def __init__(
        self,
        words: Sequence[object],
        folder: Path,
        environment: Mapping[str, str],
        *,
        torch: bool = True,
        terminal: str = "",
    ) -> None:
        self._files = TemporaryDirectory()
        self._parent = _find_parent(torch)
        out, err = (f"{self._files.name}/{name}" for name in ("out", "err"))
        Path(err).touch()
        given = [[str(word) for word in words], str(folder), dict(environment), out, terminal or err]
        self.pid = self._ask(given)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self) -> tuple[str, str]:
        """Wait for the end; return what the command printed on both streams."""
        self.returncode = self._ask(self.pid)
        with self._files as files:
            out, err = ((Path(files) / name).read_text() for name in ("out", "err"))
            self.torch = (Path(files) / "torch").exists()
        return out, err

    def _ask(self, request: object) -> int:
        """Send a command to the parent, which answers with its number, or that number, to learn the exit status."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(request) + "\n")
        self._parent.stdin.flush()
        return int(self._parent.stdout.readline())


@cache
def _find_parent(torch: bool) -> subprocess.Popen[str]:
    """Start the process of which commands are forks, once; it ends when its input is closed."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", FORKS.format(imports=IMPORTS[torch])],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_commands(
    *commands: Sequence[object],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    changes: Mapping[int, Mapping[str, str]] | None = None,
    torch: bool = True,
) -> list[Done]:
    """Run commands of `fssbench` in a folder one after another, each in a fresh process.

    Args:
        commands: their words, without `fssbench`.
        folder: where they run.
        environment: variables besides those of this process.
        changes: further variables of single commands, by their number.
        torch: let them begin with torch imported, which takes most of the time of a command that needs it.
    """
    common = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    done = []
    for number, words in enumerate(commands):
        child = Started(words, folder, {**common, **(changes or {}).get(number, {})}, torch=torch)
        out, err = child.communicate()
        assert child.returncode is not None
        done.append(Done(child.returncode, out, err, child.torch))
    return done
