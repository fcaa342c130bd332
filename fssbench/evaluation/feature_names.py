"""Names the file of stored features after everything that they depend on."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import PIL
import torch
from PIL import features

from fssbench.images.reading import MEAN, STD
from fssbench.plugins.execution import hash_core_files

_RULES = (
    "images/*.py",
    "data/reader.py",
    "evaluation/precision.py",
    "evaluation/extraction.py",
    "evaluation/packed_convolutions.py",
    "evaluation/processor_layout.py",
    "evaluation/feature_store.py",
)
"""Modules of fssbench by which an image becomes features, and that which stores them."""


def name_features(facts: object, device: torch.device) -> str:
    """Name the file of the features that depend on these facts, and on how this process computes.

    Args:
        facts: of the image, the backbone and the taps; a value whose `repr` is the same in every process.
        device: where the features are computed.
    """
    whole = facts, MEAN, STD, hash_core_files(_RULES), describe_arithmetic(device)
    return hashlib.sha256(repr(whole).encode()).hexdigest()


def describe_arithmetic(device: torch.device) -> tuple[str, ...]:
    """List what may move the last digits of features: libraries, instruction set, number of threads, and device."""
    threads = torch.get_num_threads() if device.type == "cpu" else 0
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return (*_list_libraries(), f"{device.type} {card} {threads}")


@cache
def _list_libraries() -> tuple[str, ...]:
    codecs = [f"{name} {features.version(name)}" for name in ("jpg", "zlib")]
    # its text names the instruction set in use and the versions of MKL and oneDNN
    return torch.__version__, torch.__config__.show(), np.__version__, PIL.__version__, *codecs
