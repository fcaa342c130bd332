"""The oldest torch that fssbench loads checkpoints with."""

from __future__ import annotations

import re
from importlib import metadata

from fssbench.errors import UsageError

TORCH = (2, 10)
"""Before 2.10 `torch.load(weights_only=True)` could be made to run code from a checkpoint."""


def require_torch() -> None:
    """Refuse a torch below the floor, from its package metadata: torch itself is not imported.

    Raises:
        UsageError: where torch is missing or too old.
    """
    wanted = ".".join(map(str, TORCH))
    try:
        found = metadata.version("torch")
    except metadata.PackageNotFoundError:
        raise UsageError(
            f'torch is not installed; fssbench needs {wanted} or newer. Next: pip install "torch>={wanted}"'
        ) from None
    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if numbers < TORCH:
        raise UsageError(
            f"torch {found} is too old: below {wanted} a checkpoint can run code while it is loaded. "
            f'Next: pip install -U "torch>={wanted}"'
        )
