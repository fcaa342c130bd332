"""On a processor, built-in convolutional networks are folded and computed with channels last: the same features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fssbench.backbones.resnet import ResNet
from fssbench.contracts.backbones import Backbone
from fssbench.evaluation.extraction import Extractor
from fssbench.evaluation.packed_convolutions import PackedConvolution
from fssbench.evaluation.processor_layout import fold_norms, put_channels_first
from fssbench.loading.backbones import build_backbone, construct_backbone
from fssbench.plugins.registry import BACKBONES

LAYOUTS = [
    (name, layout)
    for name in ("resnet50", "vgg16", "efficientnet-lite0")
    for layout in BACKBONES.get(name).card.layouts
]


def draw_norms(network: Backbone) -> None:
    """Give every norm statistics, a scale and a shift that no channel shares with another."""
    generator = torch.Generator().manual_seed(1)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            for values, middle in ((norm.running_mean, 0.0), (norm.bias, 0.0), (norm.running_var, 1.0)):
                values.copy_(middle + 0.2 * torch.randn(values.shape, generator=generator).clamp(-2, 2))
            norm.weight.mul_(0.8 + 0.4 * torch.rand(norm.weight.shape, generator=generator))
    network.record("drawn")


def listen(*kinds: type[nn.Module]) -> tuple[list[tuple[int, ...]], torch.utils.hooks.RemovableHandle]:
    """List the strides of what modules of these kinds compute from now on, until the handle is removed."""
    strides: list[tuple[int, ...]] = []

    def note(module: nn.Module, _inputs: object, out: object) -> None:
        if isinstance(module, kinds) and isinstance(out, Tensor):
            strides.append(out.stride())

    return strides, nn.modules.module.register_module_forward_hook(note)


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
@torch.no_grad()
def test_features_are_those_of_the_network_but_for_rounding(name: str, layout: str) -> None:
    network = build_backbone(name, layout=layout)
    draw_norms(network)
    taps, seen = list(network.taps), network.weights_sha256
    image = torch.randn(1, 3, 65, 72, generator=torch.Generator().manual_seed(2))
    expected = network(image, taps)
    extractor = Extractor(network)
    norms, of_norms = listen(nn.BatchNorm2d)
    convolutions, of_convolutions = listen(nn.Conv2d, PackedConvolution)
    maps = extractor.extract(image, taps, "an image")
    of_norms.remove()
    of_convolutions.remove()
    assert not norms
    assert convolutions
    assert all(stride[1] == 1 for stride in convolutions)
    for tap in taps:
        assert maps[tap].is_contiguous()
        torch.testing.assert_close(
            maps[tap], expected[tap], rtol=0, atol=1e-5 * float(expected[tap].abs().max())
        )
    network.record("drawn")
    assert network.weights_sha256 == seen
    assert all(torch.equal(values, expected[tap]) for tap, values in network(image, taps).items())


class Derived(ResNet):
    """A network of another author, who may read how maps lie in memory, and what the norms hold."""

    network = "resnet50"
    card = BACKBONES.get("resnet50").card.model_copy(update={"name": "derived", "layouts": ("standard",)})

    def forward(self, images: Tensor, taps: list[str]) -> dict[str, Tensor]:
        assert images.is_contiguous()
        assert isinstance(self.bn1, nn.BatchNorm2d)
        return super().forward(images, taps)


@torch.no_grad()
def test_a_network_that_derives_from_a_built_in_one_is_left_as_it_is() -> None:
    network = construct_backbone(Derived, "standard", 0)
    network.randomise(0)
    image = torch.randn(1, 3, 64, 64)
    maps = Extractor(network).extract(image, ["layer2.0"], "an image")
    assert torch.equal(maps["layer2.0"], network(image, ["layer2.0"])["layer2.0"])


class Doubled(nn.BatchNorm2d):
    """A norm of another author."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


@torch.no_grad()
def test_norms_of_others_and_norms_that_somebody_listens_to_are_kept() -> None:
    def pair(norm: nn.Module) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 4, 1), norm).eval()

    watched = pair(nn.BatchNorm2d(4))
    watched[1].register_forward_hook(lambda _m, _i, out: out + 1)
    networks = nn.ModuleList([pair(Doubled(4)), pair(nn.BatchNorm2d(4, track_running_stats=False)), watched])
    image = torch.randn(1, 3, 5, 5)
    expected = [network(image) for network in networks]
    fold_norms(networks)
    assert all(torch.equal(network(image), each) for network, each in zip(networks, expected, strict=True))
    plain = pair(nn.BatchNorm2d(4))
    fold_norms(plain)
    assert isinstance(plain[1], nn.Identity)


@pytest.mark.parametrize("threads", [1, 3])
def test_maps_are_put_channels_first_whatever_their_shape(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    shapes = ((1, 70, 9, 11), (2, 5, 3, 4), (1, 1, 4, 4), (3, 6, 1, 1))
    maps = [torch.randn(shape) for shape in shapes]
    last = [features.contiguous(memory_format=torch.channels_last) for features in maps]
    moved = put_channels_first(last)
    assert all(features.is_contiguous() for features in moved)
    assert all(torch.equal(*pair) for pair in zip(moved, maps, strict=True))
    assert torch.equal(put_channels_first(last[:1])[0], maps[0])
