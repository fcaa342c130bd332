"""What a training says while it runs, and when it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fssbench.markup import make_fields
from fssbench.plural import describe_count


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

    def _repr_html_(self) -> str:
        """Show the outcome in a notebook; a validation is no figure of a benchmark."""
        best = "none" if self.best is None else f"mIoU {self.best:.1f} % at step {self.best_step}"
        return make_fields(
            {
                "checkpoint": self.checkpoint,
                "steps": f"{self.steps}, {self.computed} of them computed now",
                "loss": f"{self.loss:.4f}",
                "validation, which is not a figure of a benchmark": best,
                "selected by": self.selection,
                "trained on": f"{describe_count(self.images, 'image')}, "
                f"{describe_count(self.classes, 'class', 'classes')}",
            }
        )
