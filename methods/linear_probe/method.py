"""A linear probe per episode: logistic regression on the cells of the supports.

It answers the first question about frozen features: how far does a linear classifier get with them?
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from fssbench.api import (
    Ablation,
    FeatureMethod,
    Features,
    MethodCard,
    MethodConfig,
    Note,
    Taps,
    UsageError,
    unknown,
)

from ..layers.resize import read_size, resize
from .logistic import Start, fit_plane

if TYPE_CHECKING:
    from fssbench.api import Backbone

_EPS = 1e-5
_SUFFIXES = (".norm", ".relu")


class LinearProbeConfig(MethodConfig):
    """Settings of the linear probe."""

    tap: str = "auto"
    """Backbone tap that is classified.  `auto` is the last tap that is not after an activation: that of the last block
    with the norm of a transformer."""
    depth: int = Field(1, ge=1)
    """Number of taps of that kind, up to `tap`, whose channels are concatenated."""
    penalty: float = Field(1e-3, ge=0)
    """Factor of half the squared length of the weights."""
    balance: bool = True
    """Whether object and background have the same total weight; otherwise each cell has the same weight."""
    start: Start = "zero"
    """Where the fit starts: at zero, or half way between the class means."""
    iterations: int = Field(100, ge=0)
    """Largest number of iterations of L-BFGS.  It ends earlier if the gradient is shorter than 1e-5."""

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "balance": Ablation({"balance": False}, label="w/o balancing"),
        "multilayer": Ablation({"depth": 4}, label="with four layers"),
    }


class LinearProbe(FeatureMethod):
    """Fits a linear classifier of cells to each episode.  The cells of K supports are pooled."""

    card: ClassVar[MethodCard] = MethodCard(
        name="linear-probe",
        title="Linear probe",
        paper="A linear probe per episode, after Reda Bensaid, Vincent Gripon, François Leduc-Primeau, Lukas Mauch, "
        "Ghouthi Boukli Hacene, Fabien Cardinaux: A Novel Benchmark for Few-Shot Semantic Segmentation in the Era of "
        "Foundation Models, TMLR",
        year=2025,
        kind="adaptation",
        backbone="dinov2-b",
        size=1024,
        trained=False,
        reference="RedaBensaidDS/Foundation_FewShot@b3c1b2a",
        licence="none",
        training="Nothing before the test.  In an episode: logistic regression on the cells of the supports by L-BFGS.",
        notes=(
            Note(
                "differs",
                "The reference fits one probe to a whole data set, for all its classes at once, and scores it on the "
                "validation set. Here each episode has its own probe of one class, so that no published figure is to "
                "be expected.",
            ),
            Note(
                "differs",
                "The reference trains by SGD on augmented crops for 100 epochs and reports the best epoch on the "
                "validation set. Here the problem is convex and is solved; nothing is drawn or selected.",
            ),
            Note(
                "differs",
                "In place of batch norm, channels are standardised with mean and deviation of the support cells.",
            ),
            Note("choice", "Targets are the shares of the object in the cells, and the penalty is 1e-3."),
            Note(
                "choice",
                "Object and background have the same total weight. Without that a small object gives an empty mask.",
            ),
            Note(
                "choice",
                "Supports of one class alone give a constant: background or object everywhere, with a difference of 4 "
                "between the logits.",
            ),
            Note("remark", "Pixels marked 255 in a support count as background."),
            Note("remark", "The query is read after the fit alone: it has no effect on the classifier."),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = LinearProbeConfig
    align_corners: ClassVar[bool] = False
    config: LinearProbeConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self._taps = _list_taps(self.backbone, self.config.tap, self.config.depth)

    @property
    def taps(self) -> Taps:
        """The taps that are classified, shallow first."""
        return Taps(query=self._taps, support=self._taps)

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) on the grid of the last tap."""
        score = self._score(query, support, support_mask)
        return torch.stack([-score / 2, score / 2], dim=1)

    def debug_maps(self, query: Features, support: Features, support_mask: Tensor) -> dict[str, Tensor]:
        """Return the output of the classifier, (1, h, w)."""
        return {"output of the classifier": self._score(query, support, support_mask)}

    def _score(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute the output of each episode's classifier for its query, (B, h, w)."""
        size = read_size(query[self._taps[-1]])
        cells = self._list_cells(query, size)
        shots = {tap: support[tap].flatten(0, 1) for tap in self._taps}
        objects = self._list_cells(shots, size).unflatten(0, support_mask.shape[:2])
        shares = functional.adaptive_avg_pool2d(support_mask.double(), size)
        outputs = [
            self._classify(*episode)
            for episode in zip(cells, objects.flatten(1, 2), shares.flatten(1), strict=True)
        ]
        return torch.stack(outputs).unflatten(1, size).to(support_mask)

    def _list_cells(self, maps: Features, size: tuple[int, int]) -> Tensor:
        """List the cells (N, h * w, D) of maps (N, C, h', w'), concatenated over the taps, in double precision."""
        resized = [resize(maps[tap].double(), size, align_corners=False) for tap in self._taps]
        return torch.cat(resized, dim=1).flatten(2).transpose(1, 2)

    def _classify(self, cells: Tensor, objects: Tensor, shares: Tensor) -> Tensor:
        """Fit a classifier, and compute its output (h * w,) for the query.

        Args:
            cells: cells of the query (h * w, D).
            objects: cells of the supports (K * h * w, D).
            shares: share of the object in each of them (K * h * w,).
        """
        variance, mean = torch.var_mean(objects, dim=0, correction=0)
        deviation = (variance + _EPS).sqrt()
        plane = fit_plane(
            ((objects - mean) / deviation).cpu().numpy(),
            shares.cpu().numpy(),
            penalty=self.config.penalty,
            balance=self.config.balance,
            start=self.config.start,
            iterations=self.config.iterations,
        )
        return torch.from_numpy(plane.evaluate(((cells - mean) / deviation).cpu().numpy()))


def _list_taps(backbone: Backbone, tap: str, depth: int) -> tuple[str, ...]:
    """Name the taps that are concatenated: the given one, and those before it of the same kind.

    Raises:
        UsageError: for an unknown tap, or if there are too few.
    """
    names = list(backbone.taps)
    if tap == "auto":
        tap = next(name for name in reversed(names) if not name.endswith(".relu"))
    elif tap not in names:
        raise unknown(f"tap of backbone {backbone.name}", tap, names)
    alike = [name for name in names[: names.index(tap) + 1] if _read_suffix(name) == _read_suffix(tap)]
    if depth > len(alike):
        raise UsageError(
            f"backbone {backbone.name!r} has {len(alike)} taps up to {tap!r}, and depth asks for {depth}. "
            f"Next: --set depth=N with N from 1 to {len(alike)}"
        )
    return tuple(alike[-depth:])


def _read_suffix(tap: str) -> str:
    """Return what a tap has in its name for its kind: `.norm`, `.relu` or nothing."""
    return next((suffix for suffix in _SUFFIXES if tap.endswith(suffix)), "")
