"""How a method's logits become predictions: supports jointly or one by one, checked, resized, and voted on.

These functions belong to the contract and not to the harness, because `Method.loss` predicts too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fssbench.contracts.encoded import Encoded
from fssbench.contracts.method_card import Information
from fssbench.errors import PluginError
from fssbench.plural import describe_count

Check = Callable[[Any, Tensor, str], Tensor]
"""Function that checks logits before they are used, and returns them.  It gets logits, support masks and the name of
the method."""

Predictor = Callable[[Any, Any, Tensor], Tensor]
"""From query, support and support masks to logits (B, 2, h, w): `Method.logits`, or what `Method.adapt` returns."""

UNNAMED = "object"
"""Name of a class that nobody has named, as in a check on synthetic episodes."""


class PredictingMethod(Protocol):
    """Part of a method that a prediction uses."""

    card: ClassVar[Any]
    shots: ClassVar[Literal["joint", "vote"]]
    align_corners: ClassVar[bool]

    @property
    def steps(self) -> int:
        """Step budget of `adapt`; 0 if the method does not adapt."""

    def logits(self, query: Any, support: Any, support_mask: Tensor) -> Tensor:
        """Return logits (B, 2, h, w)."""

    def adapt(
        self, query: Any, support: Any, support_mask: Tensor, *, generator: torch.Generator, steps: int
    ) -> Predictor:
        """Return the predictor of one episode."""


def predict_shots(
    method: PredictingMethod,
    query: Any,
    support: Any,
    support_mask: Tensor,
    *,
    size: tuple[int, int] | None,
    seed: int,
    class_names: Sequence[str] | None = None,
    check: Check | None = None,
) -> list[Tensor]:
    """Predict from all supports jointly, or from each by itself if the method votes.

    Args:
        method: the method.
        query: what `method.logits` reads of B queries.
        support: what it reads of B times K supports.
        support_mask: binary masks (B, K, H, W), float.
        size: output height and width; the mask's size by default.
        seed: seeds what `method.adapt` draws, the same for each episode.
        class_names: name of the class of each of the B episodes, for a method that reads it (`MethodCard.reads`); by
            default "object".
        check: looks at the logits before they are resized; `check_logits` by default.

    Returns:
        One tensor of logits (B, 2, *size), or K of them for a voting method.

    Raises:
        PluginError: if the method returns anything but finite logits of the right shape.
    """
    shape = size or (int(support_mask.shape[-2]), int(support_mask.shape[-1]))
    outputs = compute_logits(
        method, query, support, support_mask, seed=seed, class_names=class_names, check=check
    )
    # logits of lower precision, as under autocast, are resized and compared in single precision
    single = [logits.to(torch.promote_types(logits.dtype, torch.float32)) for logits in outputs]
    return [resize_logits(logits, shape, align_corners=method.align_corners) for logits in single]


def compute_logits(
    method: PredictingMethod,
    query: Any,
    support: Any,
    support_mask: Tensor,
    *,
    seed: int,
    class_names: Sequence[str] | None = None,
    check: Check | None = None,
) -> list[Tensor]:
    """Compute the logits at the method's own resolution.  Arguments and errors are those of `predict_shots`.

    Returns:
        One tensor (B, 2, h, w), or K of them for a voting method.
    """
    batch, shots = support_mask.shape[:2]
    if method.steps and batch > 1:  # each episode is adapted to by itself
        episodes = [
            compute_logits(
                method,
                select_episodes(query, slice(b, b + 1)),
                select_episodes(support, slice(b, b + 1)),
                support_mask[b : b + 1],
                seed=seed,
                class_names=None if class_names is None else class_names[b : b + 1],
                check=check,
            )
            for b in range(batch)
        ]
        return [torch.cat(logits) for logits in zip(*episodes, strict=True)]
    told = tell_class_names(method, class_names or (UNNAMED,) * batch)
    predictor: Callable[..., Tensor] = method.logits
    if method.steps:
        generator = torch.Generator().manual_seed(seed)
        adapt: Callable[..., Predictor] = method.adapt
        predictor = adapt(query, support, support_mask, generator=generator, steps=method.steps, **told)
    if method.shots == "joint" or shots == 1:
        inputs = [(support, support_mask)]
    else:
        inputs = [(select_support(support, k), support_mask[:, k : k + 1]) for k in range(shots)]
    look = check or check_logits
    return [
        look(predictor(query, supports, masks, **told), masks, method.card.name) for supports, masks in inputs
    ]


def tell_class_names(method: Any, class_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the argument `class_names` for a method whose card says that it reads the class name; none for others."""
    return {"class_names": tuple(class_names)} if Information.CLASS_NAME in method.card.reads else {}


def check_logits(logits: Any, support_mask: Tensor, name: str) -> Tensor:
    """Refuse what is not finite logits (B, 2, h, w) on the masks' device.

    Args:
        logits: what the method returned.
        support_mask: the masks (B, K, H, W) that it was given.
        name: the method's name, for errors.

    Returns:
        The same logits.

    Raises:
        PluginError: naming what is wrong.
    """
    require_logits(logits, support_mask, name)
    # A mask made from NaN looks plausible. The sum is 50 times faster than a look at each value, but may overflow.
    if not math.isfinite(logits.sum().item()):
        bad = int((~torch.isfinite(logits)).sum())
        if bad:
            raise PluginError(
                f"{name}.logits returned {describe_count(bad, 'value that is', 'values that are')} NaN or infinite"
            )
    checked: Tensor = logits
    return checked


def require_logits(logits: Any, support_mask: Tensor, name: str) -> None:
    """Refuse what is not logits (B, 2, h, w) on the masks' device, whatever their values are.

    Arguments and errors are those of `check_logits`.
    """
    expected = f"a floating-point tensor (B={len(support_mask)}, 2, h, w) on {support_mask.device}"
    if not isinstance(logits, Tensor):
        raise PluginError(f"{name}.logits returned {type(logits).__name__}, expected {expected}")
    if logits.ndim != 4 or tuple(logits.shape[:2]) != (len(support_mask), 2) or not logits.numel():
        raise PluginError(f"{name}.logits returned shape {tuple(logits.shape)}, expected {expected}")
    if not logits.is_floating_point():
        raise PluginError(f"{name}.logits returned {logits.dtype}, expected {expected}")
    if logits.device != support_mask.device:
        raise PluginError(f"{name}.logits returned a tensor on {logits.device}, expected {expected}")


def resize_logits(logits: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """Resize logits (B, 2, h, w) bilinearly to (B, 2, *size); equal sizes return the same tensor."""
    if logits.shape[-2:] == size:
        return logits
    return functional.interpolate(logits, size, mode="bilinear", align_corners=align_corners)


def threshold_logits(logits: Tensor) -> Tensor:
    """Return masks (B, H, W) of logits (B, 2, H, W): foreground where its logit is strictly larger.

    This is faster than `argmax` on a CPU.
    """
    if logits.device.type == "cpu":  # NumPy compares there in an eighth of the time
        values = logits.numpy(force=True)
        return torch.from_numpy(np.greater(values[:, 1], values[:, 0]))
    return logits[:, 1] > logits[:, 0]


def decide_masks(outputs: Sequence[Tensor]) -> Tensor:
    """Return masks (B, H, W) of the logits from `predict_shots`; those of several supports vote."""
    masks = [threshold_logits(logits) for logits in outputs]
    return masks[0] if len(masks) == 1 else vote_on_masks(masks)


def vote_on_masks(masks: list[Tensor]) -> Tensor:
    """Return the mask (B, H, W) that K one-shot masks agree on.

    As in HSNet, votes are relative to the most voted pixel of the query.  Each query therefore has foreground as
    soon as one of the masks has.
    """
    votes = torch.stack(masks).sum(dim=0)
    most = votes.flatten(1).max(dim=1).values.clamp(min=1).view(-1, 1, 1)
    return votes / most >= 0.5


def select_episodes(inputs: Any, part: slice) -> Any:
    """Some episodes of images, or of features by tap."""
    return change_each(inputs, lambda tensor: tensor[part])


def select_support(support: Any, k: int) -> Any:
    """Support `k` alone, its shot axis kept, of images (B, K, ...) or of features by tap."""
    return change_each(support, lambda tensor: tensor[:, k : k + 1])


def change_each(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Change images, or every map of features by tap or of encodings by name, which stay what they are."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    maps = {name: change(each) for name, each in inputs.items()}
    return Encoded(maps) if isinstance(inputs, Encoded) else maps
