"""The state of a training on disk: all that a resumed process needs, in one file that is replaced as a whole.

Head weights, optimiser tensors and a JSON block go into one safetensors file that is replaced by one
rename, so that a process killed at any moment leaves the last state behind; nothing is pickled.
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
from fssbench.files.state_dicts import assign, read_safetensors, write_safetensors

FORMAT = 1
STATE = "state.safetensors"
_HEADER = "fssbench_training"
_HEAD = "head."
_OPTIMIZER = "optimizer."
_AVERAGE = "average."
_MEMORY = "memory."
_NONE: Mapping[str, Tensor] = MappingProxyType({})


@dataclass
class Reached:
    """The progress of a training."""

    step: int = 0
    """Optimiser steps done."""
    best: float | None = None
    """Best validation mIoU so far, in percent."""
    best_step: int | None = None
    doubts: dict[str, int] = field(default_factory=dict)
    """Episodes so far by kind of doubt about their images and masks, see `fssbench.images.judgements.DOUBTS`."""


def learnable(method: Method) -> dict[str, torch.nn.Parameter]:
    """The parameters that training changes, by name."""
    return {name: p for name, p in method.named_parameters() if p.requires_grad}


def statistics(method: Method) -> list[Tensor]:
    """The buffers of the method, such as running means, which a forward pass in training mode changes."""
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
    """Replace the stored state; `average` is the running average of the weights, where there is one.

    Raises:
        DataError: if weights are not finite (the stored state stays), or the disk is full.
    """
    tensors = {f"{_HEAD}{k}": v for k, v in collect_method_weights(method).items()}
    tensors |= {f"{_AVERAGE}{k}": v for k, v in average.items()}
    tensors |= {f"{_MEMORY}{k}": v for k, v in method.training_memory().items()}
    for name, parameter in learnable(method).items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}{name}.{key}"] = value
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    odd = [k for k, v in tensors.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]
    if odd:
        before = "the one stored before stays" if path.is_file() else "none was stored before"
        raise DataError(
            f"step {reached.step}: {odd[0]} and {len(odd) - 1} more are no longer finite, so the state is not "
            f"stored in {path.parent}; {before}. Next: a lower --lr, or --no-amp, and another --out"
        )
    block = {"format": FORMAT, "facts": dict(facts), **asdict(reached)}
    write_safetensors(path, tensors, {_HEADER: json.dumps(block, sort_keys=True)})


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
        How far the training had come.

    Raises:
        DataError: if the file is damaged or does not fit.
        UsageError: if it belongs to another training, naming what differs.
    """
    tensors, metadata = read_safetensors(path)
    block = _block(path, metadata)
    differ = sorted(
        key for key in {*facts, *block["facts"]} if block["facts"].get(key) != _as_json(facts.get(key))
    )
    if differ:
        shown = "; ".join(
            f"{key} {_short(block['facts'].get(key))} (now {_short(facts.get(key))})" for key in differ[:5]
        )
        raise UsageError(
            f"{path.parent} holds another training: {shown}. Next: choose another --out, or the same options"
        )
    for prefix, place in ((_HEAD, collect_method_weights(method)), (_AVERAGE, average)):
        stored = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        assign(place, stored, f"{path}: its {prefix.removesuffix('.')} entries")
    method.restore_memory({k.removeprefix(_MEMORY): v for k, v in tensors.items() if k.startswith(_MEMORY)})
    own = learnable(method)
    for name, value in tensors.items():
        if not name.startswith(_OPTIMIZER):
            continue
        parameter_name, _, key = name.removeprefix(_OPTIMIZER).rpartition(".")
        parameter = own.get(parameter_name)
        if parameter is None or value.shape not in {parameter.shape, torch.Size()}:
            raise DataError(
                f"{path}: its entry {name} does not fit. Next: delete {path.parent} to start again"
            )
        # a step count stays on the CPU, as torch keeps it
        optimizer.state[parameter][key] = value if not value.shape else value.to(parameter.device)
    return Reached(block["step"], block["best"], block["best_step"], block.get("doubts", {}))


def _block(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        block: dict[str, Any] = json.loads(metadata[_HEADER])
        step, best, best_step = block["step"], block["best"], block["best_step"]
        whole = isinstance(step, int) and step >= 0 and isinstance(block["facts"], dict)
        whole = whole and isinstance(best, float | None) and isinstance(best_step, int | None)
        whole = whole and isinstance(block.get("doubts", {}), dict)
        version = int(block["format"])
    except (KeyError, ValueError, TypeError):
        whole, version = False, FORMAT
        block = {}
    if not whole or version > FORMAT:
        raise DataError(
            f"{path} is no training state that this fssbench reads. Next: delete {path.parent} to start again"
        )
    return block


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
