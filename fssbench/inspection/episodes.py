"""Collects what is shown of the episodes of an inspection.

An inspection is an ordinary evaluation in a temporary folder, so its masks and counts are those of a run.  It is never
stored as a run, because a look at a few episodes is no measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fssbench.contracts.datasets import IGNORE
from fssbench.contracts.debug_maps import collect_debug_maps
from fssbench.contracts.episodes import Episode, Plan
from fssbench.contracts.marks import Mark
from fssbench.drawing.figure import EpisodePictures
from fssbench.evaluation.inspected import InspectedEpisode
from fssbench.evaluation.method_call import call_method
from fssbench.evaluation.precision import computing_in

MARGIN = "margin of the logits"
"""Name of the map that is made for every method: the logit of the object minus that of the background.  It is positive
where the method predicts the object."""


@dataclass(frozen=True)
class ShownEpisode:
    """One episode of one method, ready to be printed and drawn."""

    run: str
    """Name that a run of these episodes would have."""
    label: str
    """Name of the method with its ablations and settings."""
    plan: Plan
    episode: Episode
    class_name: str
    marks: tuple[Mark, ...]
    inter: tuple[int, int]
    """Background, foreground, in pixels."""
    union: tuple[int, int]
    maps: dict[str, NDArray[np.float32]]
    """Maps (N, h, w) over the query by name; empty without pictures."""
    pictures: EpisodePictures | None
    """None if none were asked for."""

    @property
    def iou(self) -> float:
        """IoU of the object in percent; nan if neither truth nor prediction has a pixel."""
        return 100 * self.inter[1] / self.union[1] if self.union[1] else float("nan")

    @property
    def title(self) -> str:
        """Index, class and IoU."""
        return f"episode {self.episode.index}: class {self.episode.class_id} {self.class_name}, IoU {self.iou:.1f}"

    @property
    def place(self) -> str:
        """Method, benchmark, fold, shot and seed."""
        plan = self.plan
        return f"{self.label}, {plan.benchmark} fold {plan.fold}, {plan.shot}-shot, seed {plan.seed}"


class Inspection:
    """Collects episodes.  Its method `see` is given to an evaluation as `Settings.inspect`.

    Args:
        with_pictures: whether pictures and maps are collected too.
    """

    def __init__(self, *, with_pictures: bool) -> None:
        self.with_pictures = with_pictures
        self._shown: list[ShownEpisode] = []

    @property
    def episodes(self) -> list[ShownEpisode]:
        """Collected episodes, by run in the order of the evaluation, then by index."""
        runs = list(dict.fromkeys(shown.run for shown in self._shown))
        return sorted(self._shown, key=lambda shown: (runs.index(shown.run), shown.episode.index))

    def see(self, seen: InspectedEpisode) -> None:
        """Collect one episode.

        Raises:
            PluginError: if the method raises, or returns something else than maps.
        """
        names = dict(zip(seen.plan.classes, seen.plan.class_names, strict=True))
        class_name = names[seen.episode.class_id]
        maps = _compute_maps(seen) if self.with_pictures else {}
        self._shown.append(
            ShownEpisode(
                run=seen.path.name,
                label=seen.label,
                plan=seen.plan,
                episode=seen.episode,
                class_name=class_name,
                marks=seen.marks,
                inter=seen.inter,
                union=seen.union,
                maps=maps,
                pictures=_collect_pictures(seen, class_name, maps) if self.with_pictures else None,
            )
        )


def _compute_maps(seen: InspectedEpisode) -> dict[str, NDArray[np.float32]]:
    """Compute the margin of the logits, and the maps that the method offers."""
    method, size = seen.method, (int(seen.support_mask.shape[-2]), int(seen.support_mask.shape[-1]))
    names = dict(zip(seen.plan.classes, seen.plan.class_names, strict=True))
    class_names = (names[seen.episode.class_id],)
    options: dict[str, Any] = {"seed": seen.seed} if method.steps else {}

    def compute() -> dict[str, torch.Tensor]:
        inputs = seen.query, seen.support, seen.support_mask
        with computing_in(seen.precision, seen.support_mask.device):
            logits = method.predict(*inputs, size=size, class_names=class_names, **options)
            margin = (logits[:, 1] - logits[:, 0]).float().cpu()
            return {MARGIN: margin, **collect_debug_maps(method, *inputs, class_names)}

    maps = call_method(
        compute,
        where=f"method {method.card.name!r}, maps of episode {seen.episode.index}",
        inputs=(seen.query, seen.support, seen.support_mask),
        source=seen.source,
        seed=seen.seed,
        smaller="--size",
    )
    return {name: each.numpy().astype(np.float32) for name, each in maps.items()}


def _collect_pictures(
    seen: InspectedEpisode, class_name: str, maps: dict[str, NDArray[np.float32]]
) -> EpisodePictures:
    """Collect supports with the masks that the method saw, the query, the truth, the prediction and its errors."""
    target, prediction = seen.target, seen.prediction
    truth = target.foreground.astype(np.uint8)
    counted = np.ones(truth.shape, np.bool_)
    if target.ignored is not None:
        truth[target.ignored], counted = IGNORE, ~target.ignored
    masks = (seen.support_mask[0].cpu().numpy() > 0.5).astype(np.uint8)
    return EpisodePictures(
        title=f"episode {seen.episode.index}: {class_name}",
        query=seen.reader.image(seen.episode.query),
        truth=truth,
        supports=tuple(
            (seen.reader.image(item), mask) for item, mask in zip(seen.episode.supports, masks, strict=True)
        ),
        predictions={
            "prediction": prediction,
            "missed": target.foreground & ~prediction & counted,
            "false": prediction & ~target.foreground & counted,
        },
        maps={
            name if len(each) == 1 else f"{name}, {number} of {len(each)}": plane
            for name, each in maps.items()
            for number, plane in enumerate(each, start=1)
        },
    )
