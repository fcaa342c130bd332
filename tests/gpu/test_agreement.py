"""A GPU computes what a processor computes: logits and masks, the same twice, on any stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fssbench.images.reading import normalise

ADAPTS = {"abcdfss", "linear-probe", "repri"}
"""Methods that fit parameters to each episode: the fit amplifies the rounding of its first step."""


@pytest.mark.parametrize("shots", [1, 5])
def test_masks_of_both_devices_agree(
    name: str, shots: int, device: str, load: Callable[..., Any], segment: Callable[..., torch.Tensor]
) -> None:
    on_processor = segment(load(name, "cpu"), "cpu", shots)
    on_gpu = segment(load(name, device), device, shots)
    differing = (on_processor != on_gpu).float().mean().item()
    assert differing <= (0.02 if name in ADAPTS else 1e-3)


def test_pixels_are_normalised_to_the_same_bits(device: str) -> None:
    pixels = torch.arange(3 * 256, dtype=torch.int32).to(torch.uint8).view(16, 16, 3)
    assert torch.equal(normalise(pixels.to(device)).cpu(), normalise(pixels.numpy()))


def test_logits_of_both_devices_agree(
    name: str, device: str, load: Callable[..., Any], predict: Callable[..., torch.Tensor]
) -> None:
    if name in ADAPTS:
        pytest.skip("its fit amplifies rounding; its masks are compared")
    on_processor, on_gpu = (predict(load(name, each), each) for each in ("cpu", device))
    assert (on_processor - on_gpu).abs().max() <= 1e-3 * on_processor.abs().max()


def test_the_same_masks_twice(
    name: str, device: str, load: Callable[..., Any], segment: Callable[..., torch.Tensor]
) -> None:
    method = load(name, device)
    assert torch.equal(segment(method, device, 2), segment(method, device, 2))


@pytest.mark.usefixtures("gpu")
def test_another_stream_gives_the_same_masks(
    name: str, load: Callable[..., Any], segment: Callable[..., torch.Tensor]
) -> None:
    method = load(name, "cuda")
    on_default = segment(method, "cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        on_another = segment(method, "cuda")
    assert torch.equal(on_default, on_another)
