"""The backbones `resnet50` and `resnet101`: their cards, their weights, and the class that builds each layout."""

from __future__ import annotations

from fssbench.api import Backbone, BackboneCard, PublishedWeights
from fssbench.backbones.deeplab_resnet import DeepLabResNet
from fssbench.backbones.deepstem import FIRST_RATES, DeepStemResNet
from fssbench.backbones.resnet import ResNet

_LAYOUTS = ("standard", "deepstem", "cyctr", "ssp", "deeplab")
_SEMSEG = "the `resnet50_v2.pth` or `resnet101_v2.pth` of the semseg project (hszhao/semseg)"
_OWN_FILES = {
    "deepstem": _SEMSEG,
    "cyctr": _SEMSEG,
    "ssp": "the `resnet50.pth` or `resnet101.pth` with 3x3 stem that SSP's authors point to",
}
_TORCHVISION = "BSD-3-Clause (torchvision); trained on ImageNet-1K, whose terms are for research"
_TIMM = "Apache-2.0 (timm); trained on ImageNet-1K, whose terms are for research"


_HASHES = (
    "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
    "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
    "cd907fc2a0de2292b2ba2b27d2216bc672d84632d1cf20058d01c0c03b5e020e",
)
"""Full hashes of torchvision's files, whose names end in the first digits."""


def _find_hash(file: str) -> str:
    """Return the hash of a file by the digits in its name; these digits if no more is published."""
    digits = file.removesuffix(".pth").rpartition("-")[2]
    return next((each for each in _HASHES if each.startswith(digits)), digits)


def _weights(network: str, files: dict[str, str]) -> tuple[PublishedWeights, ...]:
    """List the three published sets of weights of a ResNet; file names end in the first digits of their hash."""
    publishers = {
        "v1": (
            "torchvision",
            f"{network.replace('resnet', 'ResNet')}_Weights.IMAGENET1K_V1",
            _TORCHVISION,
            "torchvision's first recipe; what HSNet and most of the field use",
        ),
        "v2": (
            "torchvision",
            f"{network.replace('resnet', 'ResNet')}_Weights.IMAGENET1K_V2",
            _TORCHVISION,
            "torchvision's later recipe (longer, stronger augmentation)",
        ),
        "a1h": (
            "timm",
            f"{network}.a1h_in1k",
            _TIMM,
            "timm's A1 recipe of 'ResNet strikes back'; PMNet's",
        ),
    }
    return tuple(
        PublishedWeights(
            id=name,
            file=files[name],
            sha256=_find_hash(files[name]),
            licence=licence,
            source=source,
            origin="timm" if origin == "timm" else "torchvision",
            key=key,
        )
        for name, (origin, key, licence, source) in publishers.items()
    )


class _ResNetWithLayouts(ResNet):
    """A ResNet that is built in four layouts; the class itself is the standard one."""

    @classmethod
    def from_layout(cls, layout: str) -> Backbone:
        """Build the network of one layout, with undefined weights."""
        network = cls.network
        if layout == "deeplab":
            return DeepLabResNet(network)
        if layout in FIRST_RATES:
            return DeepStemResNet(network, layout)
        return cls()


class ResNet50(_ResNetWithLayouts):
    """ResNet-50."""

    network = "resnet50"
    replayable = True
    card = BackboneCard(
        name="resnet50",
        title="ResNet-50",
        licence="BSD-3-Clause (torchvision)",
        layouts=_LAYOUTS,
        weights=_weights(
            "resnet50",
            {
                "v1": "resnet50-0676ba61.pth",
                "v2": "resnet50-11ad3fa6.pth",
                "a1h": "resnet50_a1h2_176-001a1197.pth",
            },
        ),
        own_files=_OWN_FILES,
        pretraining="ImageNet-1K",
    )


class ResNet101(_ResNetWithLayouts):
    """ResNet-101."""

    network = "resnet101"
    replayable = True
    card = BackboneCard(
        name="resnet101",
        title="ResNet-101",
        licence="BSD-3-Clause (torchvision)",
        layouts=_LAYOUTS,
        weights=_weights(
            "resnet101",
            {
                "v1": "resnet101-63fe2227.pth",
                "v2": "resnet101-cd907fc2.pth",
                "a1h": "resnet101_a1h-36d3f2aa.pth",
            },
        ),
        own_files=_OWN_FILES,
        pretraining="ImageNet-1K",
    )
