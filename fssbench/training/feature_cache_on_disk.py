"""Frozen features kept on disk between trainings, in half precision, each file verified when it is read.

The memory cache stands before it.  Features are rounded to half precision when they are first computed,
not only when they come back, so that a training meets the same numbers whether a file was there or not.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, cast

import torch

from fssbench.errors import DataError
from fssbench.evaluation.feature_cache import FeatureCache, Maps
from fssbench.files.state_dicts import digest_state, read_safetensors, write_safetensors

_HASH = "sha256"


class StoredFeatures(FeatureCache):
    """A feature cache with a folder behind it.

    Args:
        budget: bytes of memory.
        folder: where files are kept; may be shared by trainings and processes.
        limit: bytes of disk; when the folder holds as much, nothing more is written.
        content: hash of what an item is read from, so that a changed image is not an old one.
        device: where features are put; the CPU by default.

    Attributes:
        read: features that came from disk.
        written: features that were stored.
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
        self.folder = folder
        self.limit = limit
        self.read = 0
        self.written = 0
        self._content = content
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._used = sum(f.stat().st_size for f in folder.glob("*/*.safetensors"))
        except OSError as error:
            raise DataError(
                f"feature cache {folder} cannot be used ({error.strerror}). Next: name another --feature-cache"
            ) from None

    def get(self, key: Hashable, compute: Callable[[], Maps]) -> Maps:
        """The maps of `key` from memory, disk or `compute`, in that order."""
        return super().get(key, lambda: self._stored(key, compute))

    def _stored(self, key: Hashable, compute: Callable[[], Maps]) -> Maps:
        _, item = cast(tuple[Any, str], key)
        name = hashlib.sha256(f"{key!r}|{self._content(item)}".encode()).hexdigest()
        path = self.folder / name[:2] / f"{name}.safetensors"
        if path.is_file():
            try:
                maps = self._load(path)
            except DataError as error:
                warnings.warn(f"features of {item!r} are computed again: {error}", stacklevel=2)
            else:
                self.read += 1
                return {k: v.to(self.device) for k, v in maps.items()}
        computed = compute()
        half = {k: v.to(torch.float16) for k, v in computed.items()}
        if not all(bool(torch.isfinite(v).all()) for v in half.values()):
            return computed  # beyond half's range: kept as it is, and never stored
        self._write(path, {k: v.cpu().contiguous() for k, v in half.items()})
        return {k: v.to(computed[k].dtype) for k, v in half.items()}

    def _load(self, path: Path) -> Maps:
        half, metadata = read_safetensors(path)
        if metadata.get(_HASH) != digest_state(half):
            raise DataError(f"{path} is damaged")
        return {k: v.to(torch.float32) for k, v in half.items()}

    def _write(self, path: Path, half: Maps) -> None:
        size = sum(v.numel() * v.element_size() for v in half.values())
        if self._used + size > self.limit:
            return
        try:
            write_safetensors(path, half, {_HASH: digest_state(half)})
        except DataError as error:
            self.limit = 0  # said once; the training goes on without
            warnings.warn(f"the feature cache takes no more: {error}", stacklevel=2)
            return
        self._used += size
        self.written += 1
