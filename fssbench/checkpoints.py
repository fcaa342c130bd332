"""Checkpoints: safe reading, the authors' layouts, and our own format.

Nothing here ever unpickles code.  A file is safetensors, or it goes through
`torch.load(weights_only=True)`; what neither accepts is refused, and there is no switch that
says otherwise: a checkpoint is data from a stranger, and the way out (convert it where it is
trusted) takes one line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from fssbench.errors import DataError
from fssbench.method_settings import differing_settings, is_accepted
from fssbench.plugin_calls import plugin_call

if TYPE_CHECKING:
    from fssbench.api import Method
    from fssbench.backbones import Backbone

FORMAT = 1
"""Version of our own checkpoint format."""
NO_FALLBACK = "No unsafe fallback exists: fssbench never unpickles code."
_CONVERT = (
    "Next: where you trust the file, load it there and write its tensors with "
    "`safetensors.torch.save_file(state_dict, 'weights.safetensors')`, then give that file"
)
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_COUNTER = "num_batches_tracked"
"""Batch norm's step counter: in every authors' file, read by nobody after training."""


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
        return _plain(read_safetensors(path)[0], path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickle protocols; what it cannot read it refuses anyway
            # the unpickler of weights_only knows tensors and plain containers, and nothing else
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types here; whatever it is, the file is refused
        reason = str(error).split("\n", 1)[0][:200] or type(error).__name__
        raise DataError(f"{path} is refused ({reason}). {NO_FALLBACK} {_CONVERT}") from None
    return _plain(loaded, path)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        DataError: where it is missing or not whole.
    """
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
    missing = [k for k in own if k not in given and not k.endswith(_COUNTER)]
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


def digest(state: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes of a state dict, in sorted order of names."""
    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def head(method: Method) -> dict[str, Tensor]:
    """The method's state dict without the backbone that the harness owns; shares its memory."""
    inside = "backbone." if method.backbone is not None else None
    return {k: v for k, v in method.state_dict().items() if inside is None or not k.startswith(inside)}


def load_reference(method: Method, state: Mapping[str, Tensor]) -> None:
    """Load weights in the authors' key layout, backbone included, all or nothing.

    Entries below `method.reference_backbone` (where that is empty: of the backbone's own modules) go to
    the backbone, the others through
    `method.rename_reference` to the method's own modules.  ImageNet classifiers in the backbone and
    `num_batches_tracked` may be there or not.

    Raises:
        DataError: naming up to five missing, unknown and misshapen entries each.
    """
    own, given = head(method), {}
    prefix, body = method.reference_backbone, {}
    for name, value in ((_bare(k), v) for k, v in state.items()):
        if name.endswith(_COUNTER):
            continue
        if method.backbone is not None and _in_backbone(name, prefix, method.backbone):
            body[name.removeprefix(prefix)] = value
        elif (renamed := method.rename_reference(name)) is not None:
            given[renamed] = value
    if method.backbone is not None:
        own |= {f"{prefix}{k}": v for k, v in method.backbone.state_dict().items()}
        given |= {f"{prefix}{k}": v for k, v in method.backbone.own_names(body).items()}
    assign(own, given, f"weights for method {method.card.name!r}{_on(method)}, in the authors' layout,")
    if method.backbone is not None:
        method.backbone.record("reference")
    _note(method, checkpoint="state dict", checkpoint_sha256=digest(state))


def _in_backbone(name: str, prefix: str, backbone: Backbone) -> bool:
    """Whether an entry of the authors' file is the backbone's."""
    if prefix:
        return name.startswith(prefix)
    return name.partition(".")[0] in dict(backbone.named_children())


def save(method: Method, path: Path, manifest: Mapping[str, Any], *, half: bool = False) -> None:
    """Write the method's own weights (no backbone) as safetensors, atomically.

    Args:
        method: what to save; its name, backbone and settings go into the header.
        path: target, ending in `.safetensors`.
        manifest: JSON-able facts about the training, kept beside them.
        half: round learnable weights to half precision, which halves the file; buffers (running
            statistics may be beyond its range) keep theirs.

    Raises:
        DataError: where the method has no weights of its own, or the file cannot be written.
    """
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in head(method).items()}
    if not tensors:
        raise DataError(f"method {method.card.name!r} has no weights of its own; there is nothing to save")
    if half:
        learnt = dict(method.named_parameters())
        tensors = {k: v.half() if k in learnt else v for k, v in tensors.items()}
        huge = [k for k, v in tensors.items() if not bool(torch.isfinite(v).all())]
        if huge:
            raise DataError(f"half precision cannot hold {_some(huge)}. Next: save without --half")
    facts = {"format": FORMAT, **_fingerprint(method), "manifest": dict(manifest)}
    write_safetensors(path, tensors, {"fssbench": json.dumps(facts, sort_keys=True)})


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file whole or not at all; what the path held before stays until then.

    Raises:
        DataError: where the disk is full or the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(to_bytes(dict(tensors), dict(metadata)))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise DataError(
            f"cannot write {path} ({error.strerror or error}); what was saved before is untouched. "
            "Next: make room, or name another folder, and give the same command again"
        ) from None


def header(path: Path) -> dict[str, Any] | None:
    """What our own checkpoint says about itself; None for a file of another origin.

    Raises:
        DataError: where a safetensors file is damaged or its header is of a newer format.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    text = read_safetensors(path)[1].get("fssbench")
    if text is None:
        return None
    try:
        facts = json.loads(text)
    except json.JSONDecodeError:
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise DataError(f"{path} has a damaged fssbench header. Next: fetch or train it again")
    if facts["format"] > FORMAT:
        raise DataError(
            f"{path} has format {facts['format']}, this fssbench reads up to {FORMAT}. "
            "Next: `pip install -U fssbench`"
        )
    return facts


def load_own(method: Method, path: Path, *, force: bool = False) -> None:
    """Load a checkpoint written by `save`.

    Settings that act at inference alone may differ, and a setting that is newer than the checkpoint has to have
    its default.

    Args:
        method: as built.
        path: the checkpoint.
        force: load it for another method, backbone or settings too; the method is then marked.

    Raises:
        DataError: where it was written for another method, backbone, weights or settings, naming what
            differs, or where entries are missing, unknown or misshapen.
    """
    facts = header(path)
    if facts is None:
        raise DataError(f"{path} was not written by fssbench")
    differ = _differences(method, facts)
    if differ and not force:
        raise DataError(
            f"checkpoint {path.name} was trained with {'; '.join(differ)}. "
            "Next: choose these with --method, --backbone, --weights and --set; or another checkpoint; or --force, "
            "which loads it all the same and marks every figure"
        )
    assign(head(method), read_safetensors(path)[0], f"checkpoint {path.name}: its entries")
    manifest = facts.get("manifest")
    training = manifest if isinstance(manifest, dict) else {}
    _note(method, checkpoint=path.name, checkpoint_sha256=sha256(path), training=training)
    if differ:
        forced = f"forced checkpoint (trained with {'; '.join(differ)})"
        method.provenance["marks"] = [*method.provenance.get("marks", ()), forced]


def _differences(method: Method, facts: Mapping[str, Any]) -> list[str]:
    """In what a checkpoint's header departs from a method, in words."""
    here = _fingerprint(method)
    differ = [
        f"{key} {facts.get(key)!r} (here {here[key]!r})"
        for key in ("backbone", "layout", "weights_sha256")
        if facts.get(key) != here[key]
    ]
    if not is_accepted(type(method), facts.get("method")):
        differ.insert(0, f"method {facts.get('method')!r} (here {here['method']!r})")
    settings = differing_settings(type(method).Config, facts.get("config") or {}, here["config"])
    return differ + [f"setting {k}={theirs!r} (here {ours!r})" for k, (theirs, ours) in settings.items()]


def load(method: Method, path: Path, *, force: bool = False) -> None:
    """Load a checkpoint file, our own or in the authors' layout, whichever it is.

    Args:
        method: as built.
        path: the checkpoint.
        force: take our own even where it was trained with something else, see `load_own`.

    Raises:
        DataError: where it is refused, damaged, or does not fit.
    """
    if header(path) is not None:
        load_own(method, path, force=force)
    else:
        state = read(path)
        with plugin_call(f"method {method.card.name!r} cannot take the weights of {path}:"):
            method.load_reference(state)  # the method's own: some reshape or choose by what they find
        _note(method, checkpoint=path.name, checkpoint_sha256=sha256(path))


def _fingerprint(method: Method) -> dict[str, Any]:
    backbone = method.backbone
    return {
        "method": method.card.name,
        "backbone": backbone.name if backbone is not None else None,
        "layout": backbone.layout if backbone is not None else None,
        "weights": backbone.weights if backbone is not None else None,
        "weights_sha256": backbone.weights_sha256 if backbone is not None else None,
        "config": method.config.model_dump(mode="json"),
    }


def _on(method: Method) -> str:
    return f" on {method.backbone.name}" if method.backbone is not None else ""


def _note(method: Method, **facts: Any) -> None:
    """Bring the provenance up to date after weights were loaded."""
    method.provenance.update(facts, untrained=False)
    if method.backbone is not None:
        method.provenance.update(
            weights=method.backbone.weights, weights_sha256=method.backbone.weights_sha256
        )
