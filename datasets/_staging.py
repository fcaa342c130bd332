"""A folder that appears whole or not at all.

`prepare` may run for an hour and be stopped; half a data set under its final name would give other
episodes without a word.  So it is written beside the target and renamed at the end.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fssbench.api import DataError


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Give a fresh folder that becomes `target` where the block ends without an error.

    Raises:
        DataError: where the target is there already; nothing is ever overwritten.
    """
    if target.exists():
        raise DataError(
            f"{target} is there already and is never overwritten; move it away or choose another --data, "
            "then prepare again"
        )
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # what an earlier, stopped attempt left
    partial.mkdir(parents=True)
    yield partial
    partial.rename(target)
