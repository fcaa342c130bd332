"""The backbones there are, and `build`, which makes one with its weights."""

from __future__ import annotations

from collections.abc import Callable

from fssbench.backbones import weights as published
from fssbench.contracts.backbones import Backbone
from fssbench.contracts.records import Record
from fssbench.errors import UsageError, unknown
from fssbench.files.hashing import weights_file_sha256
from fssbench.files.state_dicts import read_state_dict


class BackboneCard(Record):
    """What a backbone is, for people and for reports."""

    name: str
    title: str
    """Name as papers print it."""
    layouts: tuple[str, ...]
    """Variants of the network; the first is the default."""
    weights: tuple[published.Weights, ...]
    """Published weights; the first is the default.  `random` and a file work for every backbone."""


def _card(name: str, title: str, *layouts: str) -> BackboneCard:
    return BackboneCard(name=name, title=title, layouts=layouts, weights=published.PUBLISHED[name])


BACKBONES: dict[str, BackboneCard] = {
    card.name: card
    for card in (
        _card("resnet50", "ResNet-50", "standard", "deepstem", "ssp", "deeplab"),
        _card("resnet101", "ResNet-101", "standard", "deepstem", "ssp", "deeplab"),
        _card("vgg16", "VGG-16", "standard", "panet", "batchnorm", "deeplab"),
        _card("efficientnet-lite0", "EfficientNet-Lite0", "standard"),
    )
}


_OWN_FILES = {
    "deepstem": "the `resnet50_v2.pth` or `resnet101_v2.pth` of the semseg project (hszhao/semseg)",
    "batchnorm": "torchvision's `vgg16_bn-6c64b313.pth`",
    "ssp": "the `resnet50.pth` or `resnet101.pth` with 3x3 stem that SSP's authors point to",
}
"""ImageNet files of layouts that no published weights fit."""


def _network(name: str, layout: str) -> Backbone:
    # torchvision is heavy; a listing of backbones does not need it
    from fssbench.backbones.deeplab import DeepLabResNet, DeepLabVGG16
    from fssbench.backbones.deepstem import DeepStemResNet
    from fssbench.backbones.efficientnet import EfficientNetLite0
    from fssbench.backbones.resnet import ResNet
    from fssbench.backbones.vgg import VGG16, PANetVGG16
    from fssbench.backbones.vgg_bn import VGG16BatchNorm

    makers: dict[tuple[str, str], Callable[[], Backbone]] = {
        ("resnet50", "standard"): lambda: ResNet("resnet50"),
        ("resnet101", "standard"): lambda: ResNet("resnet101"),
        ("resnet50", "deepstem"): lambda: DeepStemResNet("resnet50", "deepstem"),
        ("resnet101", "deepstem"): lambda: DeepStemResNet("resnet101", "deepstem"),
        ("resnet50", "ssp"): lambda: DeepStemResNet("resnet50", "ssp"),
        ("resnet101", "ssp"): lambda: DeepStemResNet("resnet101", "ssp"),
        ("resnet50", "deeplab"): lambda: DeepLabResNet("resnet50"),
        ("resnet101", "deeplab"): lambda: DeepLabResNet("resnet101"),
        ("vgg16", "standard"): VGG16,
        ("vgg16", "panet"): PANetVGG16,
        ("vgg16", "batchnorm"): VGG16BatchNorm,
        ("vgg16", "deeplab"): DeepLabVGG16,
        ("efficientnet-lite0", "standard"): EfficientNetLite0,
    }
    return makers[name, layout]()


def default_weights(name: str) -> str:
    """Id of the weights a backbone is used with when none are named.

    Raises:
        UsageError: for an unknown backbone.
    """
    return published.default(name)


def build(
    name: str,
    *,
    weights: str = published.RANDOM,
    layout: str = "standard",
    seed: int = 0,
    download: bool = False,
) -> Backbone:
    """Make a frozen backbone.

    Args:
        name: one of `BACKBONES`.
        weights: a published id, `random`, or a path to a .pth, .pt or .safetensors file.
        layout: one of the backbone's layouts.
        seed: decides `random` weights, and nothing else.
        download: fetch published weights that are not on this machine.

    Returns:
        The backbone in eval mode, no parameter taking a gradient.

    Raises:
        UsageError: for an unknown name, layout or weight id, with neighbours; for published weights that
            are of another stem.
        DataError: for weights that are absent, damaged or of another network.

    Example:
        >>> backbone = build("resnet50")
        >>> backbone(torch.zeros(1, 3, 64, 64), ["layer4.2"])["layer4.2"].shape
        torch.Size([1, 2048, 2, 2])
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    if layout not in BACKBONES[name].layouts:
        raise unknown(f"layout of backbone {name}", layout, BACKBONES[name].layouts)
    if weights == published.RANDOM:
        backbone = _network(name, layout)
        backbone.randomise(seed)
        return backbone
    if layout in _OWN_FILES and published.as_file(weights) is None:
        raise UsageError(
            f"weights {published.find(name, weights).id!r} are of the standard {name} and do not fit layout "
            f"{layout!r}. Next: --weights FILE with {_OWN_FILES[layout]}, a --checkpoint in the authors' layout, "
            f"which brings its backbone, or --weights {published.RANDOM}"
        )
    path = published.locate(name, weights, download=download)
    state = read_state_dict(path)
    backbone = _network(name, layout)
    is_file = published.as_file(weights) is not None
    backbone.load(state, f"file:{weights_file_sha256(path)[:12]}" if is_file else weights)
    return backbone
