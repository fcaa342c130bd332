"""Passes of a network that repeat: with one support and then with five, and with several methods on one network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fssbench.api import Backbone, Method
from fssbench.files.state_dicts import digest_state

_Pass = tuple[Tensor, tuple[str, ...], dict[str, Tensor]]
"""An image, the taps that were asked, and their maps."""
_KNOWN: dict[str, list[_Pass]] = {}
"""Passes of the network that ran last, by the hash of its weights; methods on the same network share them."""


def share_passes(method: Method) -> Method:
    """Let a method run its backbone once per image and, if it votes, its head once per support."""
    if method.backbone is not None:
        method.backbone.forward = _run_once_per_image(method.backbone)  # type: ignore[method-assign]
    if method.shots == "vote":
        method.logits = run_once(method.logits)  # type: ignore[method-assign]
    return method


def _list_known(network: Backbone) -> list[_Pass]:
    """List the passes of a network with these weights, and forget those of other networks."""
    key = digest_state(network.state_dict())
    if key not in _KNOWN:
        _KNOWN.clear()
    return _KNOWN.setdefault(key, [])


def _run_once_per_image(network: Backbone) -> Callable[..., dict[str, Tensor]]:
    forward, weights = network.forward, list(network.state_dict().values())
    known: list[_Pass] = []
    versions: list[int] = []

    def look_up(image: Tensor, taps: tuple[str, ...]) -> dict[str, Tensor] | None:
        return next((maps for seen, names, maps in known if names == taps and torch.equal(seen, image)), None)

    def run(images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        nonlocal known, versions
        if versions != (versions := [value._version for value in weights]):
            known = _list_known(network)
        names = tuple(taps)
        new = [image for image in images if look_up(image, names) is None]
        if new:
            maps = forward(torch.stack(new), taps)
            known.extend((image, names, {t: maps[t][i] for t in names}) for i, image in enumerate(new))
        each = [look_up(image, names) or {} for image in images]
        return {tap: torch.stack([maps[tap] for maps in each]) for tap in names}

    return run


def run_once(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a function of tensors and feature maps compute once for equal ones."""
    known: list[tuple[list[Tensor], Tensor]] = []

    def run(*inputs: Any) -> Tensor:
        given = [tensor for each in inputs for tensor in _list_tensors(each)]
        for seen, result in known:
            if len(seen) == len(given) and all(map(torch.equal, seen, given)):
                return result.clone()
        known.append((given, compute(*inputs)))
        return known[-1][1].clone()

    return run


def _list_tensors(inputs: Any) -> list[Tensor]:
    return [inputs] if isinstance(inputs, Tensor) else list(inputs.values())
