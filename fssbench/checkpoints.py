"""Checkpoints: safe reading, the authors' layouts, and our own format.

Nothing here ever unpickles code.  A file is safetensors, or it goes through
`torch.load(weights_only=True)`; what neither accepts is refused, and there is no switch that
says otherwise: a checkpoint is data from a stranger, and the way out (convert it where it is
trusted) takes one line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fssbench.errors import DataError

if TYPE_CHECKING:
    from fssbench.api import Method

FORMAT = 1
"""Version of our own checkpoint format."""
NO_FALLBACK = "No unsafe fallback exists: fssbench never unpickles code."
_CONVERT = (
    "Next: where you trust the file, load it there and write its tensors with "
    "`safetensors.torch.save_file(state_dict, 'weights.safetensors')`, then give that file"
)
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_UNUSED = ("fc.", "classifier.")
"""ImageNet classifiers that authors' checkpoints carry along in the backbone."""


def sha256(path: Path) -> str:
    """Hash of a file's bytes.

    Raises:
        DataError: where the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def read(path: Path) -> dict[str, Tensor]:
    """Read a state dict: safetensors, or a torch file that holds tensors and plain containers only.

    Wrappers (`{"state_dict": ...}`, `{"model": ...}`) are opened and the `module.` of a
    DataParallel model is removed.

    Raises:
        DataError: where the file is missing, damaged, holds code, or holds no state dict.
    """
    if not path.is_file():
        raise DataError(f"no file {path}. Next: check --checkpoint or --weights")
    if path.suffix == ".safetensors":
        return _plain(_read_safetensors(path)[0], path)
    try:
        # the default unpickler of weights_only knows tensors and containers, and nothing else
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types here; whatever it is, the file is refused
        reason = str(error).split("\n", 1)[0][:200] or type(error).__name__
        raise DataError(f"{path} is refused ({reason}). {NO_FALLBACK} {_CONVERT}") from None
    return _plain(loaded, path)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{path} is not a whole safetensors file ({error}). {NO_FALLBACK} Next: fetch it again"
        ) from None


def _plain(loaded: object, path: Path) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping):
        raise DataError(f"{path} holds a {type(loaded).__name__}, not a state dict of tensors. {_CONVERT}")
    odd = [f"{k} ({type(v).__name__})" for k, v in loaded.items() if not isinstance(v, Tensor)]
    if odd or not loaded:
        what = f"entries that are no tensors: {_some(odd)}" if odd else "no entry"
        raise DataError(f"{path} is not a state dict: it holds {what}. {_CONVERT}")
    return {_bare(str(k)): v for k, v in loaded.items()}


def _bare(name: str) -> str:
    return name.removeprefix("module.")


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def assign(own: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    """Copy `given` into the tensors of `own` in place: every entry, no other, shapes equal.

    Nothing is copied unless everything fits.

    Args:
        own: a module's state dict, sharing memory with the module.
        given: values by the same names.
        what: whose entries these are, for the message.

    Raises:
        DataError: naming up to five missing, unknown and misshapen entries each.
    """
    missing = [k for k in own if k not in given and not k.endswith("num_batches_tracked")]
    extra = [k for k in given if k not in own]
    shapes = [
        f"{k} {tuple(given[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if k in given and own[k].shape != given[k].shape
    ]
    faults = [
        f"{len(names)} {label}: {_some(names)}"
        for label, names in (("missing", missing), ("unknown", extra), ("of another shape", shapes))
        if names
    ]
    if faults:
        raise DataError(f"{what} do not fit; {'; '.join(faults)}")
    with torch.no_grad():
        for name, value in given.items():
            own[name].copy_(value)
