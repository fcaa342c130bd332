"""Converts what a wrapped model returns to logits, and refuses what cannot be meant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from fssbench.errors import PluginError
from fssbench.plural import describe_count

Returns = Literal["logits", "probabilities", "mask"]
"""What a model returns."""
LIKE_PROBABILITIES = 3
"""Episodes in a row, from the first on, after which logits that lie between 0 and 1 are refused."""
_TOLERANCE = 1e-4
"""Difference by which a probability may leave the range from 0 to 1."""


@dataclass
class Answer:
    """What a model promises to return."""

    method: str
    model: str
    """The model in words, such as `function predict`."""
    returns: Returns
    between_0_and_1: int | None = field(default=0, compare=False)
    """Episodes whose logits lay between 0 and 1; None as soon as those of one did not."""

    def error(self, problem: str, next_step: str = "") -> PluginError:
        """Make an error that names the method and the model."""
        text = f"{self.method}: {self.model} {problem}"
        return PluginError(f"{text}. Next: {next_step}" if next_step else text)


def convert_answer(value: Any, shape: tuple[int, ...], answer: Answer, device: torch.device) -> Tensor:
    """Convert what a model returned to logits of background and object.

    Args:
        value: what it returned.
        shape: shape of the query's mask: (H, W), or (B, H, W) for a model that takes batches.
        answer: what it promises to return.
        device: device of its inputs.

    Returns:
        Logits (2, h, w), or (B, 2, h, w).

    Raises:
        PluginError: if the value is anything else than promised.
    """
    tensor = _require_tensor(value, shape, answer, device)
    lead = len(shape) - 2
    maps = tensor.unsqueeze(lead) if tensor.ndim == len(shape) else tensor
    if answer.returns == "mask":
        return _convert_mask(maps, shape, answer, lead)
    if not tensor.is_floating_point():
        raise answer.error(
            f"returned {tensor.dtype}, but {answer.returns} must be floating-point numbers",
            "wrap(..., returns='mask') if it returns masks",
        )
    if not torch.isfinite(tensor).all():
        bad = int((~torch.isfinite(tensor)).sum())
        raise answer.error(
            f"returned {describe_count(bad, 'value that is', 'values that are')} NaN or infinite"
        )
    if answer.returns == "probabilities":
        low, high = float(tensor.min()), float(tensor.max())
        if low < -_TOLERANCE or high > 1 + _TOLERANCE:
            raise answer.error(
                f"returned values from {low:.4g} to {high:.4g}, but probabilities lie between 0 and 1",
                "wrap(..., returns='logits')",
            )
        return maps if maps.shape[lead] == 2 else torch.cat([1 - maps, maps], dim=lead)
    if maps.shape[lead] == 2:
        return maps
    _refuse_probabilities(maps, answer)
    return torch.cat([torch.zeros_like(maps), maps], dim=lead)


def _require_tensor(value: Any, shape: tuple[int, ...], answer: Answer, device: torch.device) -> Tensor:
    expected = _describe_shapes(shape, answer.returns)
    if not isinstance(value, Tensor):
        kind = type(value).__name__
        if hasattr(value, "__array__"):
            raise answer.error(
                f"returned a {kind} of shape {tuple(getattr(value, 'shape', ()))}, expected {expected}",
                "return torch.from_numpy(...) of it, on the device of the query",
            )
        raise answer.error(
            f"returned a {kind}, expected {expected}", "wrap a function that returns the tensor of the query"
        )
    lead = shape[:-2]
    fits = tensor_fits = tuple(value.shape[: len(lead)]) == lead and value.numel() > 0
    if value.ndim == len(shape) + 1:
        tensor_fits = fits and value.shape[len(lead)] in ((1,) if answer.returns == "mask" else (1, 2))
    if value.ndim not in (len(shape), len(shape) + 1) or not tensor_fits:
        raise answer.error(f"returned a tensor of shape {tuple(value.shape)}, expected {expected}")
    if value.device != device:
        raise answer.error(f"returned a tensor on {value.device}, expected one on {device}")
    return value


def _describe_shapes(shape: tuple[int, ...], returns: Returns) -> str:
    """Describe the shapes that are allowed, such as `a tensor (h, w), (1, h, w) or (2, h, w)`."""
    lead = "".join(f"{size}, " for size in shape[:-2])
    height, width = map(str, shape[-2:]) if returns == "mask" else ("h", "w")
    one = f"({lead}{height}, {width}) or ({lead}1, {height}, {width})"
    return f"a tensor {one}" if returns == "mask" else f"a tensor {one} or ({lead}2, {height}, {width})"


def _convert_mask(maps: Tensor, shape: tuple[int, ...], answer: Answer, lead: int) -> Tensor:
    if tuple(maps.shape[-2:]) != shape[-2:]:
        raise answer.error(
            f"returned a mask of {maps.shape[-2]} x {maps.shape[-1]} pixels, but the query has "
            f"{shape[-2]} x {shape[-1]}",
            "return a mask of the size of the query, or probabilities, which fssbench resizes",
        )
    others = maps[(maps != 0) & (maps != 1)]
    if others.numel():
        raise answer.error(
            f"returned a mask with the value {others[0].item()}, but a mask holds 0 and 1",
            "wrap(..., returns='probabilities') or 'logits' if it returns these",
        )
    mask = maps.to(torch.float32) - 0.5
    return torch.cat([-mask, mask], dim=lead)


def _refuse_probabilities(maps: Tensor, answer: Answer) -> None:
    """Refuse logits of the object that lie between 0 and 1 in all of the first episodes.

    Every pixel would be object, because a logit above 0 means object.
    """
    if answer.between_0_and_1 is None:
        return
    low, high = float(maps.min()), float(maps.max())
    if not 0 <= low < high <= 1:
        answer.between_0_and_1 = None
        return
    answer.between_0_and_1 += 1
    if answer.between_0_and_1 >= LIKE_PROBABILITIES:
        raise answer.error(
            f"returned logits that lie between 0 and 1 in each of the first {LIKE_PROBABILITIES} episodes, so that "
            "every pixel is object",
            "wrap(..., returns='probabilities'), or return two channels if these are logits",
        )
