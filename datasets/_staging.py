"""A folder that appears whole or not at all.

`prepare` may run for an hour and be stopped; half a data set under its final name would give other
episodes without a word.  So it is written beside the target and renamed at the end.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fssbench.api import DataError


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Give a fresh folder that becomes `target` where the block ends without an error.

    Raises:
        DataError: where the target is there already (nothing is ever overwritten) or cannot be written.
    """
    if target.exists():
        raise DataError(
            f"{target} is there already and is never overwritten; move it away or choose another --data, "
            "then prepare again"
        )
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # what an earlier, stopped attempt left
        partial.mkdir(parents=True)
        yield partial
        partial.rename(target)
    except OSError as error:
        raise DataError(f"cannot write {error.filename or partial} ({error.strerror}) for {target}") from None


@contextmanager
def scratch(data: Path) -> Iterator[Path]:
    """Give a folder beside the data sets that is removed at the end: where a miniature's download lies."""
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=data) as folder:
        yield Path(folder)
