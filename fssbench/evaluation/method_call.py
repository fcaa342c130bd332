"""A call into a method: isolated, observed, and refused if the method changes its input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fssbench.contracts.methods import Method
from fssbench.contracts.precision import Precision
from fssbench.contracts.prediction import tell_class_names
from fssbench.errors import PluginError
from fssbench.evaluation.isolation import isolated
from fssbench.evaluation.precision import computing_in
from fssbench.plugins import execution
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.import_files import drop_aliases
from fssbench.plugins.source_hash import Source

T = TypeVar("T")


@dataclass(frozen=True)
class EpisodeCall:
    """Facts that a method receives beside the tensors when it predicts one episode."""

    where: str
    """The method and the episode, for errors."""
    size: tuple[int, int]
    """Height and width of the mask."""
    seed: int
    """Seed of the random generators."""
    class_name: str
    """Name of the episode's class, for a method that reads it."""
    precision: Precision = "float32"
    """Precision of products and convolutions."""


def segment_episode(
    method: Method, inputs: tuple[Any, Any, Tensor], call: EpisodeCall, *, source: Source
) -> NDArray[np.bool_]:
    """Predict the mask (H, W) of one episode.

    Args:
        method: the method.
        inputs: query, support and support mask, as it reads them.
        call: what it is told beside these.
        source: the method's source files.

    Raises:
        PluginError: as `call_method`, or if the result is no mask.
    """
    masks = segment_episodes(
        method, inputs, call, (call.class_name,), source=source, smaller="--size or --cache-mb"
    )
    mask: NDArray[np.bool_] = masks[0]
    return mask


def segment_episodes(
    method: Method,
    inputs: tuple[Any, Any, Tensor],
    call: EpisodeCall,
    class_names: Sequence[str],
    *,
    source: Source,
    smaller: str,
) -> NDArray[np.bool_]:
    """Predict the masks (B, H, W) of B episodes in one call.

    Args:
        method: the method.
        inputs: queries, supports and support masks, as it reads them.
        call: what it is told beside these; of the names of classes, `class_names` are told.
        class_names: name of the class of each episode.
        source: the method's source files.
        smaller: options whose value should be smaller if memory runs out.

    Raises:
        PluginError: as `call_method`, or if the result is no masks.
    """
    options: dict[str, Any] = tell_class_names(method, class_names)
    if method.steps:
        options["seed"] = call.seed

    def segment() -> Any:
        with computing_in(call.precision, inputs[2].device):
            return method.segment(*inputs, size=call.size, **options)

    masks = call_method(
        segment, where=call.where, inputs=inputs, source=source, seed=call.seed, smaller=smaller
    )
    expected = len(class_names), *call.size
    if not isinstance(masks, Tensor) or masks.dtype != torch.bool or tuple(masks.shape) != expected:
        got = f"{masks.dtype} {tuple(masks.shape)}" if isinstance(masks, Tensor) else type(masks).__name__
        raise PluginError(f"{call.where}: segment returned {got}, expected torch.bool {expected}")
    result: NDArray[np.bool_] = masks.cpu().numpy()
    return result


def call_method(
    call: Callable[[], T], *, where: str, inputs: tuple[Any, ...], source: Source, seed: int, smaller: str
) -> T:
    """Call a method and return its result.

    Args:
        call: the call.
        where: the method and what it predicts, for errors.
        inputs: what the method receives: tensors, or dictionaries of tensors.
        source: the method's source files; code that it executes must be among them.
        seed: seed of all random generators during the call.
        smaller: options whose value should be smaller if memory runs out, such as `--size or --cache-mb`.

    Raises:
        PluginError: if the method raises anything, executes unknown code or writes to its input.
    """
    given = list_tensors(*inputs)
    versions = [tensor._version for tensor in given]
    try:
        # errors of our own become errors of this method too: the other methods go on
        with plugin_call(f"{where}: raised", inside=where, smaller=smaller):
            with execution.observe() as observed, isolated(seed):
                result = call()
            if observed:
                source.check(observed)
    finally:
        drop_aliases()
    if versions != [tensor._version for tensor in given]:
        raise PluginError(f"{where}: changed its input in place; clone before writing")
    return result


def list_tensors(*inputs: Any) -> list[Tensor]:
    """List all tensors of some inputs, each of which is a tensor or a dictionary of tensors."""
    tensors: list[Tensor] = []
    for given in inputs:
        tensors.extend(given.values() if isinstance(given, Mapping) else [given])
    return tensors


def finish_work_on(*inputs: Any) -> None:
    """Wait until the device has computed the inputs.  Otherwise its work would count as time of the prediction."""
    for tensor in list_tensors(*inputs):
        if tensor.device.type != "cpu":
            torch.accelerator.synchronize(tensor.device)
            return
