"""Packed convolutions compute what the plain ones do, for images of any size and in any order of sizes."""

from __future__ import annotations

import platform

import pytest
import torch
from torch import Tensor, nn

from fssbench.evaluation.packed_convolutions import PackedConvolution, can_pack, pack_convolutions

pytestmark = pytest.mark.skipif(
    not can_pack(nn.Sequential()), reason="convolutions are packed on x86 processors with oneDNN only"
)

SETTINGS = {
    "1x1": {"kernel_size": 1},
    "1x1 of every other cell": {"kernel_size": 1, "stride": 2},
    "3x3": {"kernel_size": 3, "padding": 1},
    "3x3 of every other cell": {"kernel_size": 3, "padding": 1, "stride": 2},
    "dilated": {"kernel_size": 3, "padding": 2, "dilation": 2},
    "flat": {"kernel_size": (1, 5), "padding": (0, 2)},
    "depthwise": {"kernel_size": 5, "padding": 2, "groups": 16},
    "without bias": {"kernel_size": 3, "padding": 1, "bias": False},
}


def draw_images(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator).contiguous(memory_format=torch.channels_last)


def make_convolution(setting: str, outputs: int = 48) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(16, outputs, **SETTINGS[setting]).eval()


@pytest.mark.parametrize("setting", SETTINGS)
@torch.no_grad()
def test_a_packed_convolution_computes_what_the_plain_one_does(setting: str) -> None:
    plain = make_convolution(setting)
    packed = PackedConvolution(plain, torch.float32)
    for images in (draw_images(1, 16, 9, 13), draw_images(2, 16, 50, 50), draw_images(1, 16, 9, 13)):
        out = packed(images)
        assert out.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(out, plain(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("setting", SETTINGS)
@torch.no_grad()
def test_in_bfloat16_it_computes_what_autocast_does(setting: str) -> None:
    plain = make_convolution(setting)
    packed = PackedConvolution(plain, torch.bfloat16)
    images = draw_images(1, 16, 20, 30)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        expected = plain(images)
        out = packed(images)
    assert out.dtype == torch.bfloat16
    # one last digit of bfloat16: kernels may add up in different orders before they round
    torch.testing.assert_close(out, expected, rtol=2**-7, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_images_do_not_depend_on_the_sizes_that_came_before(dtype: torch.dtype) -> None:
    plain = make_convolution("3x3", outputs=64)
    sizes = [(25, 25), (100, 100), (7, 50), (25, 25), (1, 1), (100, 100)]
    used = PackedConvolution(plain, dtype)
    for size in sizes:
        images = draw_images(1, 16, *size)
        assert torch.equal(used(images), PackedConvolution(plain, dtype)(images))


def test_what_a_layer_of_others_may_read_stays_as_it_is() -> None:
    heard = nn.Conv2d(3, 4, 1)
    heard.register_forward_hook(lambda _module, _inputs, out: out + 1)
    kept = [heard, nn.Conv2d(3, 4, 3, padding="same"), nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")]
    network = nn.Sequential(*kept, nn.Conv2d(3, 4, 1))
    pack_convolutions(network, torch.float32)
    assert [*network][:3] == kept
    assert isinstance(network[3], PackedConvolution)


class OfAnotherAuthor(nn.Sequential):
    """A module that could read the weights of its convolutions."""


def test_a_network_with_a_module_of_another_author_cannot_be_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_pack(nn.Sequential(nn.Conv2d(3, 4, 1)))
    assert not can_pack(nn.Sequential(OfAnotherAuthor(nn.Conv2d(3, 4, 1))))
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert not can_pack(nn.Sequential(nn.Conv2d(3, 4, 1)))
