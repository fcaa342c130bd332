"""Passes of a network that repeat where one episode is predicted with one support and then with five."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fssbench.api import Method


def share_passes(method: Method) -> Method:
    """Let a method run its backbone once per image and, if it votes, its head once per support."""
    if method.backbone is not None:
        method.backbone.forward = _run_once_per_image(method.backbone.forward)  # type: ignore[method-assign]
    if method.shots == "vote":
        method.logits = _run_once(method.logits)  # type: ignore[method-assign]
    return method


def _run_once_per_image(forward: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    known: list[tuple[Tensor, tuple[str, ...], dict[str, Tensor]]] = []

    def look_up(image: Tensor, taps: tuple[str, ...]) -> dict[str, Tensor] | None:
        return next((maps for seen, names, maps in known if names == taps and torch.equal(seen, image)), None)

    def run(images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        names = tuple(taps)
        new = [image for image in images if look_up(image, names) is None]
        if new:
            maps = forward(torch.stack(new), taps)
            known.extend((image, names, {t: maps[t][i] for t in names}) for i, image in enumerate(new))
        each = [look_up(image, names) or {} for image in images]
        return {tap: torch.stack([maps[tap] for maps in each]) for tap in names}

    return run


def _run_once(logits: Callable[[Any, Any, Tensor], Tensor]) -> Callable[[Any, Any, Tensor], Tensor]:
    known: list[tuple[list[Tensor], Tensor]] = []

    def run(query: Any, support: Any, mask: Tensor) -> Tensor:
        given = [mask, *_list_tensors(query), *_list_tensors(support)]
        for seen, result in known:
            if len(seen) == len(given) and all(map(torch.equal, seen, given)):
                return result.clone()
        known.append((given, logits(query, support, mask)))
        return known[-1][1].clone()

    return run


def _list_tensors(inputs: Any) -> list[Tensor]:
    return [inputs] if isinstance(inputs, Tensor) else list(inputs.values())
