"""Published backbone weights: their places on this machine, and their download.

A run downloads nothing unless the user asks for it.  Weights are searched for in the caches of fssbench and torch
and, for weights that come with a package, in the installed package.  Only `download=True` (`--download`) downloads, and
a downloaded file is used only if its hash equals the published one.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from importlib import import_module
from pathlib import Path

import torch

from fssbench.contracts.backbones import Backbone, PublishedWeights
from fssbench.errors import DataError, LackingError, UsageError, make_unknown_error
from fssbench.files.cache import cache_folder
from fssbench.files.download import download as fetch
from fssbench.files.hashing import hash_weights_file
from fssbench.files.home import expand_home
from fssbench.files.in_use import hold_folder
from fssbench.loading.download_record import find_recorded_hash, record_download
from fssbench.plugins.registry import BACKBONES
from fssbench.progress import PlainLines

FULL_HASH = 64
"""Digits of a sha256."""
RANDOM = "random"
"""Id of seeded random weights, which every backbone has."""


def find_weights_folder() -> Path:
    """Return fssbench's folder of weights: `$FSSBENCH_CACHE/weights`, or one in the platform's cache folder."""
    return cache_folder() / "weights"


def choose_default_weights(backbone: str) -> str:
    """Return the id of the weights that a backbone has if the user names none.

    Raises:
        UsageError: for an unknown backbone, and for one without published weights.
        PluginError: if the backbone's plugin does not load.
    """
    records = _list_published_weights(backbone)
    if not records:
        raise UsageError(
            f"backbone {backbone!r} has no published weights, so it has no default weights. "
            f"Next: give --weights FILE, or --weights {RANDOM} for a test"
        )
    return records[0].id


def _list_published_weights(backbone: str) -> tuple[PublishedWeights, ...]:
    cls: type[Backbone] = BACKBONES.get(backbone)
    return cls.card.weights


def parse_weights_path(weights: str) -> Path | None:
    """Return `weights` as a path if it has a folder or the ending of a weight file; None if it is an id."""
    path = expand_home(weights)
    is_path = path.suffix in {".pth", ".pt", ".safetensors"} or "/" in weights or len(path.parts) > 1
    return path if is_path else None


def find_published_weights(backbone: str, weights: str) -> PublishedWeights:
    """Find the record of published weights.

    Raises:
        UsageError: for an unknown backbone or weight id; the error suggests similar names.
    """
    records = {w.id: w for w in _list_published_weights(backbone)}
    if weights not in records:
        hint = f"`{RANDOM}` and a path to a .pth, .pt or .safetensors file are allowed as well"
        raise make_unknown_error(f"weights of {backbone}", weights, records, hint=hint)
    return records[weights]


def find_download_address(record: PublishedWeights) -> str:
    """Return the download address of published weights, as their library gives it.

    Raises:
        LackingError: if that library is not installed.
        DataError: if the file comes with a package, or if its publisher requires a step by the user first.
    """
    if record.gate:
        raise DataError(_explain_gate(record))
    if record.origin == "url":
        return record.key
    if record.origin == "torchvision":
        enum, _, member = record.key.partition(".")
        return str(import_module("torchvision.models").__dict__[enum][member].url)
    if record.origin == "timm":
        try:
            models = import_module("timm.models")
        except ImportError:
            raise LackingError(
                f"weights {record.id!r} are published by the package timm, which is not installed. "
                'Next: `pip install "fssbench[timm]"`'
            ) from None
        return str(models.get_pretrained_cfg(record.key).url)
    raise DataError(f"weight file {record.file} comes with a package. Next: {_compose_installation(record)}")


def _compose_installation(record: PublishedWeights) -> str:
    """Compose the command that installs the package with the file."""
    return f'`pip install "{record.extra or record.key}"`'


def _explain_gate(record: PublishedWeights) -> str:
    """Explain what the publisher requires; a file of the hub has no place of ours to be put at."""
    place = "" if record.origin == "hub" else f"put it at {_find_cache_path(record)} or "
    return (
        f"the publisher of the weights {record.id!r} ({record.file}) requires this first: {record.gate}. "
        f"Next: download the file there, then {place}give --weights FILE. Its licence: {record.licence}"
    )


def announce_download(backbone: str, record: PublishedWeights, address: str) -> None:
    """Say on standard error what is about to be downloaded: origin, size, hash, licence, gate and pretraining.

    This is said whatever the verbosity, because a licence is accepted by using the file.
    """
    card = BACKBONES.get(backbone).card
    facts = [
        f"downloading weights {record.id!r} of backbone {backbone!r}: {record.file} from {address}",
        f"size: {record.bytes / 2**20:.1f} MiB" if record.bytes is not None else "size: not known before",
        f"sha256: {record.sha256}"
        if record.sha256
        else "sha256: the hub names the file by it; it is printed below",
        f"licence: {record.licence}",
        f"gate: {record.gate or 'none'}",
        f"pretraining: {record.pretraining or card.pretraining or 'not stated'} ({record.source})",
    ]
    PlainLines().say("\n  ".join(facts))


def _announce_arrival(path: Path) -> None:
    """Say which content arrived."""
    if path.is_file():
        PlainLines().say(f"downloaded {path.name}: sha256 {hash_weights_file(path)}")


def _find_cache_path(record: PublishedWeights) -> Path:
    """Return the path of a file in our cache; files of plugins may have equal names, so each has a folder."""
    folder = find_weights_folder() / record.sha256[:12] if record.origin == "url" else find_weights_folder()
    return folder / record.file


def list_weight_places(record: PublishedWeights) -> list[Path]:
    """List the places where the file may be on this machine, in the order of the search."""
    paths = [_find_cache_path(record), Path(torch.hub.get_dir()) / "checkpoints" / record.file]
    if record.origin == "hub":
        return _list_hub_files(record.key, record.file)
    if record.origin == "timm":
        paths += _list_hub_files(f"timm/{record.key}", "model.safetensors")
    if record.origin == "package":
        try:
            files = importlib.metadata.files(record.key) or []
        except importlib.metadata.PackageNotFoundError:
            files = []
        paths = [Path(str(f.locate())) for f in files if f.name == record.file] + paths[:1]
    return paths


def _find_hub_folder() -> Path:
    """Return the folder in which the Hugging Face hub's own library stores downloaded files."""
    home = expand_home(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub")


def _list_hub_files(repository: str, file: str) -> list[Path]:
    """List the stored versions of a file of the Hugging Face hub: links to blobs that are named by their sha256."""
    folder = _find_hub_folder() / f"models--{repository.replace('/', '--')}" / "snapshots"
    links = sorted(folder.glob(f"*/{file}"))
    return [link for link in links if re.fullmatch(r"[0-9a-f]{64}", link.resolve().name)]


def _download_from_hub(record: PublishedWeights) -> Path:
    """Download a file of the Hugging Face hub with the hub's own library, which resumes and stores it by its hash.

    Raises:
        DataError: if the library is not installed, or the download fails.
    """
    try:
        hub = import_module("huggingface_hub")
    except ImportError:
        raise LackingError(
            f"weights {record.id!r} are published on the Hugging Face hub, whose package huggingface_hub is not "
            'installed. Next: `pip install "fssbench[timm]"`'
        ) from None
    try:
        path = Path(hub.hf_hub_download(record.key, record.file, cache_dir=_find_hub_folder()))
    except Exception as error:  # the library raises errors of its HTTP client, of the hub and of the system
        reason = str(error).strip().split("\n", 1)[0][:200] or type(error).__name__
        raise DataError(
            f"the download of {record.file} of {record.key} failed ({reason}). Next: run the same command again, "
            "which resumes the download, or give --weights FILE"
        ) from None
    return path


def explain_missing_weights(backbone: str, weights: str | None, *, option: str = "--weights") -> str | None:
    """Explain why `weights` cannot be loaded here, with the next command; None if they can.

    This serves checks before a run: nothing is loaded, hashed or downloaded.

    Args:
        backbone: name of the network.
        weights: a published id, `random` or a file; None for the default.
        option: the option that chooses these weights, for the message.

    Raises:
        UsageError: for an unknown backbone or weight id.
    """
    weights = weights or choose_default_weights(backbone)
    if weights == RANDOM:
        _list_published_weights(backbone)
        return None
    if (path := parse_weights_path(weights)) is not None:
        return None if path.is_file() else f"weight file {path} does not exist. Next: check {option}"
    record = find_published_weights(backbone, weights)
    if any(place.is_file() for place in list_weight_places(record)):
        return None
    searched = ", ".join(map(str, list_weight_places(record))) or str(_find_hub_folder())
    if record.gate:
        remedy = f"the publisher requires this first: {record.gate}. Then put {record.file} into one of them"
    elif record.origin == "package":
        remedy = _compose_installation(record)
    else:
        remedy = "the same command with --download on a machine with a network"
        if record.origin != "hub":
            remedy += f", or put {record.file} into one of them"
    separator = "=" if "=" not in option and " " in option else " "
    return (
        f"weights {weights!r} of backbone {backbone!r} ({record.file}) are not on this machine. "
        f"These places were searched: {searched}. Next: {remedy}, or give {option}{separator}FILE"
    )


def locate_weights(backbone: str, weights: str, *, download: bool = False) -> Path:
    """Return the file of weights after its hash was checked; download it first if necessary and allowed.

    Raises:
        DataError: if the file is absent, or its hash differs from the published one.
        UsageError: for an unknown backbone or weight id.
    """
    hold_folder(find_weights_folder())
    problem = explain_missing_weights(backbone, weights)
    path = parse_weights_path(weights)
    if path is not None and problem is None:
        return path
    if path is not None or (problem is not None and not download):
        raise DataError(str(problem))
    record = find_published_weights(backbone, weights)
    if problem is not None:
        find_weights_folder().mkdir(parents=True, exist_ok=True)
        hold_folder(find_weights_folder())
        if record.origin == "hub":
            if record.gate:
                raise DataError(_explain_gate(record))
            announce_download(backbone, record, f"the Hugging Face hub, repository {record.key}")
            _announce_arrival(_download_from_hub(record))
        else:
            address = find_download_address(record)
            announce_download(backbone, record, address)
            path = fetch(address, _find_cache_path(record), sha256=record.sha256)
            _announce_arrival(path)
            record_download(find_weights_folder(), record, path, address)
            return path
    here = next((place for place in list_weight_places(record) if place.is_file()), None)
    if here is None:
        raise DataError(
            f"{record.file} of {record.key} was downloaded, but the hub does not name it by its sha256, so it cannot "
            "be checked. Next: give the file with --weights FILE, which records its hash"
        )
    actual = hash_weights_file(here)
    by_name = record.origin == "hub" or here.name != record.file
    expected = here.resolve().name if by_name else record.sha256
    if len(expected) < FULL_HASH:
        expected = find_recorded_hash(find_weights_folder(), here) or expected
    if not actual.startswith(expected):
        raise DataError(
            f"{here} has the sha256 {actual[:16]}..., but the published one is {expected[:16]}...: the file is damaged "
            "or another one. Next: delete it and run the same command with --download"
        )
    return here
