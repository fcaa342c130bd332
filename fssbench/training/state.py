"""The state of a training on disk: everything that a resumed process needs, in one file.

The method's own weights, the tensors of the optimiser and a JSON block are in one safetensors file.  One rename
replaces it, so a process that is killed at any moment leaves the last complete state.  Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fssbench.contracts.methods import Method, collect_method_weights
from fssbench.errors import DataError, UsageError
from fssbench.files.state_dicts import assign_state, read_safetensors, write_safetensors
from fssbench.plural import describe_count

FORMAT = 1
STATE = "state.safetensors"
_HEADER = "fssbench_training"
_HEAD = "head."
_OPTIMIZER = "optimizer."
_AVERAGE = "average."
_MEMORY = "memory."
_SOURCES = {"method_sha256": "method", "backbone_source_sha256": "backbone"}
"""Facts that are hashes of code, which say nothing to a reader, and whose code it is."""
_NONE: Mapping[str, Tensor] = MappingProxyType({})


@dataclass
class Reached:
    """The progress of a training."""

    step: int = 0
    """Number of finished optimiser steps."""
    best: float | None = None
    """Best validation mIoU so far, in percent."""
    best_step: int | None = None
    doubts: dict[str, int] = field(default_factory=dict)
    """Episodes so far by kind of doubt about their images and masks, see `fssbench.images.judgements.DOUBTS`."""


def list_learnable(method: Method) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that training changes, by name."""
    return {name: p for name, p in method.named_parameters() if p.requires_grad}


def list_statistics(method: Method) -> list[Tensor]:
    """Return the buffers of the method, such as running means, which a forward pass in training mode changes."""
    own, names = collect_method_weights(method), dict(method.named_parameters())
    return [tensor for name, tensor in own.items() if name not in names]


def save_state(
    path: Path,
    method: Method,
    optimizer: Optimizer,
    reached: Reached,
    facts: Mapping[str, Any],
    *,
    average: Mapping[str, Tensor] = _NONE,
) -> None:
    """Replace the stored state; `average` is the running average of the weights, if there is one.

    Raises:
        DataError: if weights are not finite (the stored state stays), or the disk is full.
    """
    tensors = {f"{_HEAD}{k}": v for k, v in collect_method_weights(method).items()}
    tensors |= {f"{_AVERAGE}{k}": v for k, v in average.items()}
    tensors |= {f"{_MEMORY}{k}": v for k, v in method.training_memory().items()}
    for name, parameter in list_learnable(method).items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}{name}.{key}"] = value
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    infinite = [k for k, v in tensors.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]
    if infinite:
        before = "The earlier state is kept" if path.is_file() else "There is no earlier state"
        raise DataError(
            f"step {reached.step}: {describe_count(len(infinite), 'tensor is', 'tensors are')} no longer "
            f"finite, such as {infinite[0]}, so the state is not stored in {path.parent}. {before}. Next: "
            "choose a lower --lr, or --no-amp, and another --out"
        )
    block = {"format": FORMAT, "facts": dict(facts), **asdict(reached)}
    write_safetensors(path, tensors, {_HEADER: json.dumps(block, sort_keys=True)}, sealed=True)


def load_state(
    path: Path,
    method: Method,
    optimizer: Optimizer,
    facts: Mapping[str, Any],
    *,
    average: Mapping[str, Tensor] = _NONE,
) -> Reached:
    """Load the stored state into the method, the optimiser and the tensors of `average`.

    Returns:
        The progress of the stored training.

    Raises:
        DataError: if the file is damaged or does not fit.
        UsageError: if it belongs to another training; the error names the differences.
    """
    tensors, metadata = read_safetensors(path)
    block = _read_block(path, metadata)
    differ = sorted(
        key for key in {*facts, *block["facts"]} if block["facts"].get(key) != _to_json(facts.get(key))
    )
    if differ:
        shown = "; ".join(
            f"the code of the {_SOURCES[key]} was edited since"
            if key in _SOURCES
            else f"{key} {_shorten(block['facts'].get(key))} (now {_shorten(facts.get(key))})"
            for key in differ[:5]
        )
        raise UsageError(
            f"{path.parent} holds another training: {shown}. Next: choose another --out, or resume with the same "
            "options and the same code"
        )
    for prefix, place in ((_HEAD, collect_method_weights(method)), (_AVERAGE, average)):
        stored = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        assign_state(place, stored, f"the entries {prefix}* of {path}")
    method.restore_memory({k.removeprefix(_MEMORY): v for k, v in tensors.items() if k.startswith(_MEMORY)})
    own = list_learnable(method)
    for name, value in tensors.items():
        if not name.startswith(_OPTIMIZER):
            continue
        parameter_name, _, key = name.removeprefix(_OPTIMIZER).rpartition(".")
        parameter = own.get(parameter_name)
        if parameter is None or value.shape not in {parameter.shape, torch.Size()}:
            raise DataError(f"entry {name} of {path} does not fit. Next: delete {path.parent} to start again")
        # a step count stays on the CPU, as in torch
        optimizer.state[parameter][key] = value if not value.shape else value.to(parameter.device)
    return Reached(block["step"], block["best"], block["best_step"], block.get("doubts", {}))


def _read_block(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        block: dict[str, Any] = json.loads(metadata[_HEADER])
        step, best, best_step = block["step"], block["best"], block["best_step"]
        whole = isinstance(step, int) and step >= 0 and isinstance(block["facts"], dict)
        whole = whole and isinstance(best, float | None) and isinstance(best_step, int | None)
        whole = whole and isinstance(block.get("doubts", {}), dict)
        version = int(block["format"])
    except (KeyError, ValueError, TypeError, RecursionError):
        whole, version = False, FORMAT
        block = {}
    if not whole or version > FORMAT:
        raise DataError(
            f"{path} is not a training state that this version of fssbench reads. Next: delete {path.parent} to start "
            "again"
        )
    return block


def _to_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
