"""Ends child processes before a chosen call that can change a file, or lets their disk be full."""

from __future__ import annotations

import json
import os
import random
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

    A call is described by its name and by the kind of the file that it changes, which is its suffix.
    """
    kinds: list[str] = []
    handles: dict[int, str] = {}

    def note(call: str, target: Any) -> None:
        name = handles.get(target, "") if isinstance(target, int) else Path(os.fsdecode(target)).name
        kinds.append(f"{call} {Path(name).suffix or name}")

    _hook(note, lambda handle, target: handles.update({handle: Path(os.fsdecode(target)).name}))
    work()
    file.write_text(json.dumps(kinds))


def choose_steps(kinds: Sequence[str]) -> list[int]:
    """Choose one step of each kind, counted from 1."""
    rng = random.Random(0)
    return sorted(
        rng.choice([step for step, other in enumerate(kinds, start=1) if other == kind])
        for kind in dict.fromkeys(kinds)
    )


def _hook(
    before: Callable[[str, Any], None], opened: Callable[[int, Any], None] = lambda handle, target: None
) -> None:
    """Call a function with the name and the target of each call that can change a file, and one after each `open`."""

    def hooked(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            before(name, arguments[0])
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
