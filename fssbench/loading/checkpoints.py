"""Checkpoints of a method: our own format, and loading of whatever file is given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fssbench.contracts.methods import head, note_provenance
from fssbench.errors import DataError
from fssbench.files.hashing import weights_file_sha256
from fssbench.files.state_dicts import assign, name_some, read_safetensors, read_state_dict, write_safetensors
from fssbench.loading.settings import differing_settings, is_accepted
from fssbench.plugins.calls import plugin_call

if TYPE_CHECKING:
    from fssbench.contracts.methods import Method

FORMAT = 1
"""Version of our own checkpoint format."""


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
            raise DataError(f"half precision cannot hold {name_some(huge)}. Next: save without --half")
    facts = {"format": FORMAT, **_fingerprint(method), "manifest": dict(manifest)}
    write_safetensors(path, tensors, {"fssbench": json.dumps(facts, sort_keys=True)})


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
    note_provenance(
        method, checkpoint=path.name, checkpoint_sha256=weights_file_sha256(path), training=training
    )
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
        state = read_state_dict(path)
        with plugin_call(f"method {method.card.name!r} cannot take the weights of {path}:"):
            method.load_reference(state)  # the method's own: some reshape or choose by what they find
        note_provenance(method, checkpoint=path.name, checkpoint_sha256=weights_file_sha256(path))


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
