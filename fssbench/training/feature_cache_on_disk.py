"""Features of the frozen backbone on disk, for later trainings, in half precision; each file is checked when read.

The cache in memory is asked first.  Features are rounded to half precision when they are first computed, and not only
when they are read again, so a training gets the same numbers whether a file existed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, cast

import torch

from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.feature_names import name_features
from fssbench.evaluation.feature_store import FeatureStore, Maps


class StoredFeatures(FeatureCache):
    """A feature cache that also stores features in a folder.

    Args:
        budget: bytes of memory.
        folder: where files are kept; may be shared by trainings and processes.
        limit: bytes of disk.
        content: hash of what an item is read from, so that a changed image is not an old one.
        device: where features are put; the CPU by default.

    Attributes:
        files: the folder.

    Raises:
        DataError: if the folder cannot be used.
    """

    def __init__(
        self,
        budget: int,
        folder: Path,
        limit: int,
        content: Callable[[str], str],
        device: torch.device | None = None,
    ) -> None:
        super().__init__(budget)
        self.device = device or torch.device("cpu")
        self.files = FeatureStore(folder, limit)
        self._content = content

    def get(self, key: Hashable, compute: Callable[[], Maps]) -> Maps:
        """Return the maps of `key` from memory, disk or `compute`, in that order."""
        return super().get(key, lambda: self._stored(key, compute))

    def _stored(self, key: Hashable, compute: Callable[[], Maps]) -> Maps:
        _, item = cast(tuple[Any, str], key)
        name = name_features((key, self._content(item), "float16"), self.device)
        if (stored := self.files.load(name, item)) is not None:
            return {tap: half.to(torch.float32).to(self.device) for tap, half in stored[0].items()}
        computed = compute()
        half = {k: v.to(torch.float16) for k, v in computed.items()}
        if not all(bool(torch.isfinite(v).all()) for v in half.values()):
            return computed  # values beyond the range of half precision are not rounded, and not stored
        self.files.save(name, item, half)
        return {k: v.to(computed[k].dtype) for k, v in half.items()}
