"""Functions that write checkpoints in our own format, and load those of any origin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from fssbench.contracts.checkpoint import CheckpointHeader, TrainingManifest
from fssbench.contracts.marks import Mark, MarkKind
from fssbench.contracts.methods import collect_method_weights, note_provenance, owns_backbone
from fssbench.contracts.provenance import BROUGHT
from fssbench.errors import DataError
from fssbench.files.hashing import hash_weights_file
from fssbench.files.secrets import hide_settings
from fssbench.files.state_dicts import (
    assign_state,
    digest_state,
    read_safetensors,
    read_state_dict,
    write_safetensors,
)
from fssbench.loading.settings import find_differing_settings, is_accepted
from fssbench.plugins.calls import plugin_call
from fssbench.plural import join_some

if TYPE_CHECKING:
    from fssbench.contracts.methods import Method

_LOADED: WeakKeyDictionary[Method, str] = WeakKeyDictionary()
"""Hash of the weights that the last checkpoint gave to each method."""
FORMAT = 1
"""Version of our own checkpoint format."""


def save(method: Method, path: Path, manifest: TrainingManifest, *, half: bool = False) -> None:
    """Write the method's own weights as safetensors, atomically; of a backbone only one that the method trains.

    Args:
        method: the method; its name, backbone and settings are written into the header.
        path: path of the file, which ends in `.safetensors`.
        manifest: the facts of the training, for the header.
        half: whether learnable weights are rounded to half precision, which halves the file.  Buffers keep their
            precision, because running statistics may be beyond the range of half precision.

    Raises:
        DataError: if the method has no weights of its own, or the file cannot be written.
    """
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in collect_method_weights(method).items()}
    if not tensors:
        raise DataError(f"method {method.card.name!r} has no weights of its own, so there is nothing to save")
    if half:
        learnt = dict(method.named_parameters())
        tensors = {k: v.half() if k in learnt else v for k, v in tensors.items()}
        huge = [k for k, v in tensors.items() if not bool(torch.isfinite(v).all())]
        if huge:
            raise DataError(
                f"the values of {join_some(huge, 5)} are beyond the range of half precision. Next: omit --half"
            )
    described = describe_method(method).changed(manifest=manifest)
    header = {"fssbench": json.dumps(described.as_stored(), sort_keys=True)}
    write_safetensors(path, tensors, header, sealed=True)


def read_header(path: Path) -> CheckpointHeader | None:
    """Read the header of a checkpoint in our own format; None for a file of another origin.

    Raises:
        DataError: if a safetensors file is damaged or its header is of a newer format.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    text = read_safetensors(path)[1].get("fssbench")
    if text is None:
        return None
    try:
        stored = json.loads(text)
        version = stored["format"]
        if isinstance(version, int) and version > FORMAT:
            raise DataError(
                f"checkpoint {path} has format {version}, but this version of fssbench reads formats up to {FORMAT}. "
                "Next: `pip install -U fssbench`"
            )
        return CheckpointHeader.read_stored(stored)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(
            f"checkpoint {path} has a damaged fssbench header. Next: download it or train it again"
        ) from None


def load_own(method: Method, path: Path, *, force: bool = False, stage: str | None = None) -> None:
    """Load a checkpoint written by `save`.

    Settings that only affect inference may differ.  A setting that is newer than the checkpoint must have its default
    value.

    Args:
        method: a method that was just built.
        path: the checkpoint.
        force: load it for another method, backbone or settings too; the method is then marked.
        stage: the stage of a training that it has to come from, to start the next one; None for the last one.

    Raises:
        DataError: if it was written for another method, backbone, weights or settings, naming what
            differs, if it is of another stage, or where entries are missing, unknown or misshapen.
    """
    header = read_header(path)
    if header is None:
        raise DataError(f"{path} was not written by fssbench")
    if header.manifest.stage != stage:
        raise DataError(_describe_wrong_stage(method, path, header, stage))
    differ = _list_differences(method, header)
    if differ and not force:
        raise DataError(
            f"checkpoint {path.name} was trained with {'; '.join(differ)}. "
            "Next: choose the same values with --method, --backbone, --weights and --set, or choose another "
            "checkpoint, or give --force, which loads this one and marks every figure"
        )
    assign_state(
        collect_method_weights(method), read_safetensors(path)[0], f"the entries of checkpoint {path.name}"
    )
    if owns_backbone(method) and method.backbone is not None:
        method.backbone.record(BROUGHT)
    note_provenance(
        method, checkpoint=path.name, checkpoint_sha256=hash_weights_file(path), training=header.manifest
    )
    _LOADED[method] = digest_state(collect_method_weights(method))
    if differ:
        forced = Mark(MarkKind.FORCED_CHECKPOINT, f"trained with {'; '.join(differ)}")
        method.provenance = method.provenance.changed(marks=(*method.provenance.marks, forced))


def _describe_wrong_stage(method: Method, path: Path, header: CheckpointHeader, wanted: str | None) -> str:
    """Say of which stage a checkpoint is, and what it is for."""
    has = header.manifest.stage
    name = header.method or method.card.name
    if has is None:
        return (
            f"checkpoint {path.name} is of the last training of method {name!r}, not of its stage {wanted!r}. "
            f"Next: --start with the checkpoint of `fssbench train --method {name} --stage {wanted}`"
        )
    return (
        f"checkpoint {path.name} is of stage {has!r} of method {name!r}"
        f"{f', not of stage {wanted!r}' if wanted else ', whose training goes on after it'}. "
        f"Next: `fssbench train --method {name} --start {path}` with the benchmark and fold of that stage"
    )


def _list_differences(method: Method, header: CheckpointHeader) -> list[str]:
    """Describe each difference between the header of a checkpoint and a method."""
    here = describe_method(method)
    differ = [
        f"{key} {getattr(header, key)!r} (here {getattr(here, key)!r})"
        for key in ("backbone", "layout", "weights_sha256")
        if getattr(header, key) != getattr(here, key)
    ]
    if not is_accepted(type(method), header.method):
        differ.insert(0, f"method {header.method!r} (here {here.method!r})")
    settings = find_differing_settings(type(method).Config, header.config, here.config)
    return differ + [f"setting {k}={theirs!r} (here {ours!r})" for k, (theirs, ours) in settings.items()]


def read_reference(path: Path) -> dict[str, Tensor] | None:
    """Read a checkpoint in the authors' layout; None for one of our own.

    Raises:
        DataError: if it is missing, refused or damaged.
    """
    return None if read_header(path) is not None else read_state_dict(path)


def load(
    method: Method, path: Path, state: Mapping[str, Tensor] | None = None, *, force: bool = False
) -> None:
    """Load a checkpoint file, our own or in the authors' layout.

    Args:
        method: a method that was just built.
        path: the checkpoint.
        state: its content, if `read_reference` read it before.
        force: whether to load our own checkpoint even if it was trained with other settings, see `load_own`.

    Raises:
        DataError: if it is refused or damaged, or does not fit.
    """
    if state is None:
        state = read_reference(path)
    if state is None:
        load_own(method, path, force=force)
        return
    with plugin_call(f"method {method.card.name!r} cannot take the weights of {path}:"):
        method.load_reference(state)
    note_provenance(method, checkpoint=path.name, checkpoint_sha256=hash_weights_file(path))
    _LOADED[method] = digest_state(collect_method_weights(method))


def find_changed_checkpoint(method: Method) -> str | None:
    """Return the name of the checkpoint whose weights a method had until somebody changed them; else None."""
    loaded = _LOADED.get(method)
    if loaded in (None, digest_state(collect_method_weights(method))):
        return None
    return method.provenance.checkpoint


def describe_method(method: Method) -> CheckpointHeader:
    """Make the header of a checkpoint of a method, without the facts of its training."""
    backbone = method.backbone
    owned = owns_backbone(method)  # its weights are in the file
    return CheckpointHeader(
        format=FORMAT,
        method=method.card.name,
        backbone=backbone.name if backbone is not None else None,
        layout=backbone.layout if backbone is not None else None,
        weights=backbone.weights if backbone is not None and not owned else None,
        weights_sha256=backbone.weights_sha256 if backbone is not None and not owned else None,
        config=hide_settings(method.config.model_dump(mode="json")),
    )
