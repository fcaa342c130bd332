"""State dicts on disk: read without unpickling code, written completely or not at all, hashed, assigned.

A file is safetensors, or it is read by `torch.load(weights_only=True)`.  A file that neither accepts is refused, and
no option changes that, because a checkpoint is data from a stranger.  A user who trusts the file can convert it with
one line.
"""

from __future__ import annotations

import hashlib
import json
import struct
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from fssbench.errors import DataError
from fssbench.files.atomic import replace_file
from fssbench.files.canonical_json import digest
from fssbench.plural import join_some

NO_FALLBACK = "fssbench never unpickles code, and no option changes that."


_CONVERT = (
    "Next: if you trust the file, load it with torch, write its tensors with "
    "`safetensors.torch.save_file(state_dict, 'weights.safetensors')`, and give that file"
)


_NAMED = 5
"""Entries that a message names."""
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")


SEAL = "content_sha256"
"""Entry of the metadata of a sealed safetensors file: the hash of its tensors and of its other entries."""


COUNTER = "num_batches_tracked"
"""Step counter of batch norm: files of authors contain it, and nothing reads it after training."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict: safetensors, or a torch file that holds tensors and plain containers only.

    Wrappers (`{"state_dict": ...}`, `{"model": ...}`) are opened and the `module.` of a
    DataParallel model is removed.

    Raises:
        DataError: if the file is missing, damaged, holds code, or holds no state dict.
    """
    if not path.is_file():
        raise DataError(f"file {path} does not exist. Next: check --checkpoint or --weights")
    if path.suffix == ".safetensors":
        return _unwrap_state(read_safetensors(path)[0], path)
    try:
        with warnings.catch_warnings():
            # about pickle protocols; torch refuses a file that it cannot read
            warnings.simplefilter("ignore")
            # the unpickler of weights_only knows tensors and plain containers, and nothing else
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types here; each means that the file is refused
        reason = str(error).split("\n", 1)[0][:200] or type(error).__name__
        raise DataError(f"{path} is refused ({reason}). {NO_FALLBACK} {_CONVERT}") from None
    return _unwrap_state(loaded, path)


def read_safetensors(
    path: Path, names: Collection[str] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata of a safetensors file.

    Args:
        path: the file.
        names: tensors to read, if they are in the file; None for all.  Only then is the seal checked.

    Raises:
        DataError: if it is missing or incomplete, or its content differs from its seal.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            wanted = [k for k in file.keys() if names is None or k in names]  # noqa: SIM118
            tensors, metadata = {k: file.get_tensor(k) for k in wanted}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{path} is not a complete safetensors file ({error}). {NO_FALLBACK} Next: download or write it again"
        ) from None
    if names is None and SEAL in metadata and metadata[SEAL] != _compute_seal(tensors, metadata):
        raise DataError(
            f"{path} was changed or damaged after it was written: its content differs from its checksum. "
            "Next: restore it from a copy, or download or write it again"
        )
    return tensors, metadata


def _compute_seal(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Hash all tensors and all entries of the metadata but the seal."""
    return digest({"tensors": digest_state(tensors), **{k: v for k, v in metadata.items() if k != SEAL}})


def _unwrap_state(loaded: object, path: Path) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping):
        raise DataError(f"{path} holds a {type(loaded).__name__}, not a state dict of tensors. {_CONVERT}")
    other_entries = [f"{k} ({type(v).__name__})" for k, v in loaded.items() if not isinstance(v, Tensor)]
    if other_entries or not loaded:
        what = (
            f"entries that are not tensors: {join_some(other_entries, _NAMED)}"
            if other_entries
            else "no entry"
        )
        raise DataError(f"{path} is not a state dict: it holds {what}. {_CONVERT}")
    return {strip_module_prefix(str(k)): v for k, v in loaded.items()}


def strip_module_prefix(name: str) -> str:
    """Return the name of an entry without the `module.` of a DataParallel model."""
    return name.removeprefix("module.")


def assign_state(own: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    """Copy `given` into the tensors of `own` in place; names and shapes must be equal.

    Nothing is copied unless all entries fit.

    Args:
        own: a module's state dict, sharing memory with the module.
        given: values by the same names.
        what: the subject of the message, such as "the entries of FILE".

    Raises:
        DataError: naming up to five missing, unknown and misshapen entries each.
    """
    missing = [k for k in own if k not in given and not k.endswith(COUNTER)]
    extra = [k for k in given if k not in own]
    shapes = [
        f"{k} {tuple(given[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if k in given and own[k].shape != given[k].shape
    ]
    faults = [
        f"{len(names)} {label}: {join_some(names, _NAMED)}"
        for label, names in (("missing", missing), ("unknown", extra), ("with another shape", shapes))
        if names
    ]
    if faults:
        raise DataError(f"{what} do not fit: {'; '.join(faults)}")
    with torch.no_grad():
        for name, value in given.items():
            own[name].copy_(value)


def digest_state(state: Mapping[str, Tensor]) -> str:
    """Hash names, types, shapes and bytes of a state dict with sha256, in sorted order of names."""
    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _sort_metadata(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, whose library writes them in an order that changes from call to call.

    Equal trainings then write equal bytes.
    """
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of eight bytes
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    durable: bool = True,
    sealed: bool = False,
) -> None:
    """Write a safetensors file completely or not at all; until then an earlier file stays unchanged.

    Args:
        path: the file.
        tensors: by name.
        metadata: texts by name.
        durable: see `replace_file`.
        sealed: whether a checksum of the content is added, which `read_safetensors` checks.

    Raises:
        DataError: if the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if sealed:
            entries = {**metadata, SEAL: _compute_seal(tensors, metadata)}
            content = _sort_metadata(to_bytes(dict(tensors), entries))
        else:
            content = to_bytes(dict(tensors), dict(metadata))
        replace_file(path, content, durable=durable)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}). The earlier file is unchanged. "
            "Next: free space or name another folder, then run the same command again"
        ) from None
