"""What a training says while it runs, and when it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """The progress of a training after a step."""

    step: int
    steps: int
    loss: float
    val_miou: float | None
    """mIoU of the last validation, in percent."""


@dataclass(frozen=True)
class Trained:
    """The outcome of a training."""

    checkpoint: Path
    steps: int
    computed: int
    """Steps that this call computed; the others were stored before."""
    loss: float
    """Mean over the last tenth of the steps."""
    best: float | None
    """Validation mIoU of the checkpoint, in percent."""
    best_step: int | None
    selection: str
    """How the checkpoint was selected."""
    classes: int
    images: int
