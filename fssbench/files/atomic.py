"""Replacing a file as a whole: a reader sees the old or the new one, never a part."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

from fssbench.files.append_log import write_all


def replace_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write beside a file, bring that to disk, then rename; after a failure nothing new is left.

    Args:
        path: the file.
        content: its new content.
        durable: wait until it is on disk.  Without that a power cut may leave a damaged file, so its reader must
            be able to tell and to make it again.

    Raises:
        OSError: if it cannot be written; what was there before is unchanged.
    """
    if not path.name:  # such as `.` or `/`
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(handle, content)
            if durable:
                os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(partial, path)  # noqa: PTH105 - faults are injected at the os level
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
