"""Ends child processes before a chosen call that can change a file, or lets their disk be full."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STEPS = ("open", "write", "fsync", "replace", "ftruncate", "mkdir", "unlink", "close", "rename")


def die_before(step: int) -> None:
    """In this process, SIGKILL before the `step`-th call that can change a file."""
    seen = 0

    def die(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)

    _hook(die)


def record_steps(work: Callable[[], object], file: Path) -> None:
    """In this process, do the work, and write into a file what its calls are that can change a file.

    A call is described by its name and by the file that it changes.  Files that are written beside their place have
    one name.  The text is empty for a call after which a later process sees the same files as before.
    """
    changes: list[str] = []
    handles: dict[int, str] = {}

    def note(call: str, *arguments: Any) -> None:
        target = arguments[1] if call in {"replace", "rename"} else arguments[0]
        name = handles.get(target, "") if isinstance(target, int) else _name_file(target)
        only_read = call == "open" and not arguments[1] & os.O_CREAT
        changes.append("" if only_read or call in {"fsync", "close"} else f"{call} {name}")

    _hook(note, lambda handle, target: handles.update({handle: _name_file(target)}))
    work()
    file.write_text(json.dumps(changes))


def choose_steps(changes: Sequence[str]) -> list[int]:
    """Choose the step after one change of each kind, counted from 1."""
    rng = random.Random(0)
    kinds = dict.fromkeys(change for change in changes[:-1] if change)
    places = {kind: [i for i, change in enumerate(changes[:-1]) if change == kind] for kind in kinds}
    return sorted(rng.choice(each) + 2 for each in places.values())


def _name_file(path: Any) -> str:
    name = Path(os.fsdecode(path)).name
    return ".partial" if name.endswith(".partial") else re.sub(r"\d+-\w+", "", name)


def _hook(
    before: Callable[..., None], opened: Callable[[int, Any], None] = lambda handle, target: None
) -> None:
    """Call a function with each call that can change a file before it, and one with the handle after each `open`."""

    def hooked(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            before(name, *arguments)
            result = original(*arguments, **options)
            if name == "open":
                opened(result, arguments[0])
            return result

        return call

    for name in STEPS:
        setattr(os, name, hooked(name, getattr(os, name)))


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Context in which no file grows beyond `size` bytes: a short write first, then an error, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
