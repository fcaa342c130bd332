"""Ends child processes before a chosen call that can change a file, or lets their disk be full."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

STEPS = ("open", "write", "fsync", "replace", "ftruncate", "mkdir", "unlink", "close", "rename")


def die_before(step: int) -> None:
    """In this process, SIGKILL before the `step`-th call that can change a file."""
    seen = 0

    def hooked(original):
        def call(*arguments, **options):
            nonlocal seen
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return call

    for name in STEPS:
        setattr(os, name, hooked(getattr(os, name)))


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Context in which no file grows beyond `size` bytes: a short write first, then an error, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
