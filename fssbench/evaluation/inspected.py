"""What an inspection sees of an episode: all that the method received and returned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fssbench.contracts.episodes import Episode, Plan
from fssbench.contracts.marks import Mark
from fssbench.contracts.methods import Method
from fssbench.contracts.precision import Precision
from fssbench.data.reader import Reader, Target
from fssbench.plugins.source_hash import Source


@dataclass(frozen=True)
class InspectedEpisode:
    """One episode directly after its prediction.  The tensors are valid during the call that receives it."""

    path: Path
    """Folder of the run."""
    label: str
    """Name of the method with its ablations and settings."""
    marks: tuple[Mark, ...]
    """Marks of the run that are known before its first episode."""
    method: Method
    source: Source
    """The source files of the method."""
    plan: Plan
    episode: Episode
    reader: Reader
    """Reads the images and masks of the data set."""
    query: Any
    """What `method.logits` read of the query."""
    support: Any
    """What it read of the K supports."""
    support_mask: Tensor
    """(1, K, S, S)"""
    prediction: NDArray[np.bool_]
    """(H, W), at the size at which it is counted."""
    target: Target
    """The truth at that size."""
    inter: tuple[int, int]
    """Background, foreground, in pixels."""
    union: tuple[int, int]
    seed: int
    """Seed of the random generators during the prediction."""
    precision: Precision
    """In which products and convolutions were computed."""
