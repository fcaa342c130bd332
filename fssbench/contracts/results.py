"""The table model: what a reporter receives.  Counts, intervals, identities; no formatting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.contracts.benchmarks import Benchmark
from fssbench.contracts.efficiency import Efficiency
from fssbench.contracts.marks import Mark, parse_mark
from fssbench.contracts.run_manifest import RunManifest
from fssbench.contracts.support_probes import SupportProbe
from fssbench.markup import format_interval, make_fields
from fssbench.plural import describe_count


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure in percent with its 95 % interval."""

    value: float
    low: float
    """nan if there is no interval."""
    high: float
    shortage: str = ""
    """Why there is no interval, such as `too few queries (8; 1 in a class)`; otherwise empty."""

    def __str__(self) -> str:
        """Return the figure with its interval, or why there is none."""
        return f"{self.value:.1f} % (95 % interval {format_interval(self.low, self.high, self.shortage)})"

    def _repr_html_(self) -> str:
        """Show the figure in a notebook; its episodes and marks belong to the run or mean that holds it."""
        return make_fields(
            {
                "figure": f"{self.value:.1f} %",
                "95 % interval": format_interval(self.low, self.high, self.shortage),
                "episodes, marks": "see the run or the mean that this figure is from",
            }
        )


@dataclass(frozen=True)
class Pictures:
    """Small pictures of one episode, and masks of their sizes."""

    query: Image.Image
    """RGB, some 128 pixels at its longer side."""
    truth: NDArray[np.uint8]
    """(h, w) of the query: 0 background, 1 the class, 255 ignored."""
    prediction: NDArray[np.bool_]
    """(h, w) of the query."""
    supports: tuple[tuple[Image.Image, NDArray[np.bool_]], ...]
    """Image and mask of each support."""


@dataclass(frozen=True)
class Panel:
    """One stored example of a run."""

    index: int
    """Episode index."""
    class_name: str
    iou: float
    """Foreground IoU of this episode in percent, of the counted pixels; nan if truth and prediction are
    empty."""
    pictures: Callable[[], Pictures] = field(compare=False, repr=False)
    """Reads the pictures.  Raises `DataError` if they are damaged."""


@dataclass(frozen=True, repr=False)
class RunResult:
    """One run: one method on one benchmark, fold, shot and seed."""

    slug: str
    """Name of the run's folder."""
    path: Path
    identity: str
    """sha256 over everything that can move a number."""
    benchmark: str
    """Benchmark id with variant."""
    method: str
    label: str
    """Method name with its ablations and settings, as reports print it."""
    ablations: tuple[str, ...]
    backbone: str
    weights: str
    """Id of the backbone's weights."""
    fold: int
    shot: int
    seed: int
    protocol: str
    score_size: str
    plan_sha256: str
    classes: tuple[int, ...]
    class_names: tuple[str, ...]
    planned: int
    """Episodes of the full plan."""
    learnable: int
    """Parameters outside the frozen backbone."""
    parameters: int
    """All parameters."""
    seconds: float
    """Mean seconds of a prediction on the machine that ran it; nan if it was not timed.

    What methods share, reading images and the frozen backbone, is not in it; `fssbench bench` measures both.
    """
    marks: tuple[Mark, ...]
    """`miniature`, `sample (...)`, `capped (...)`, `untrained`, `incomplete (...)`, ..."""
    miou: Estimate
    fb_iou: Estimate
    per_class: dict[int, float]
    """IoU in percent by class id."""
    absent: tuple[int, ...]
    """Classes without a pixel in any counted episode, except those in `unmet`."""
    class_ids: NDArray[np.int64]
    """(N,) class of each episode."""
    inter: NDArray[np.int64]
    """(N, 2) background, foreground."""
    union: NDArray[np.int64]
    """(N, 2) background, foreground."""
    target: NDArray[np.int64]
    """(N,) foreground pixels of the truth."""
    indices: NDArray[np.int64]
    """(N,) episode index."""
    queries: tuple[str, ...]
    """Query item of each episode."""
    manifest: RunManifest
    """What the run says of itself: its identity (`block`), and where and how it was made (`context`)."""
    panels: tuple[Panel, ...] = ()
    supports: tuple[tuple[str, ...], ...] = ()
    """Support items of each episode."""
    commands: tuple[str, ...] = ()
    """Ids of the commands that made the run or found it complete, with the data as they were measured."""
    whole: bool = True
    """Whether every episode of an uncapped plan was counted: the published rule for absent classes applies."""
    unmet: tuple[int, ...] = ()
    """Classes that mIoU leaves out because the run, not being whole, met no episode of theirs."""
    definition: Benchmark | None = None
    """Definition of a benchmark that a user wrote; None if the benchmark can be found by its id."""
    probes: tuple[SupportProbe, ...] = ()
    """Episodes that were predicted a second time with supports of another class, by index; never part of a score."""
    support_pixels: tuple[tuple[int, ...], ...] = ()
    """Object pixels of each support of each episode at the size of the network input; no pixels for an episode of an
    earlier version, which did not store them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", tuple(map(parse_mark, self.marks)))  # `results.json` has texts

    @property
    def support_sets(self) -> int:
        """Support sets per query of the plan."""
        return self.manifest.block.support_sets or 1

    @property
    def episodes(self) -> int:
        """Episodes counted."""
        return len(self.class_ids)

    def __repr__(self) -> str:
        """Name the run and its figures with their intervals, episodes and marks."""
        return f"<RunResult {self.slug}: {_describe(self)}>"

    def _repr_html_(self) -> str:
        """Show the run in a notebook."""
        return make_fields(
            {
                "run": self.slug,
                "method": f"{self.label} ({self.backbone})",
                "benchmark": f"{self.benchmark}, fold {self.fold}, {self.shot}-shot, seed {self.seed}",
                **_list_figures(self),
                "episodes": f"{self.episodes} of {self.planned} planned",
                "marks": self.marks,
                "protocol": self.protocol,
                "identity": self.identity,
            }
        )

    @property
    def absent_rule(self) -> Literal["zero", "exclude"]:
        """Rule for a class without pixels in mIoU, see `fssbench.metrics.score`."""
        return self.manifest.block.absent_rule

    def with_absent_rule(self, rule: Literal["zero", "exclude"]) -> RunResult:
        """Make a copy that is scored by another rule for absent classes; its stored figures stay those of its own."""
        block = self.manifest.block.changed(absent=rule)
        return replace(self, manifest=self.manifest.changed(block=block))


@dataclass(frozen=True, repr=False)
class Cell:
    """One method on one benchmark and shot: its folds and their mean."""

    benchmark: str
    label: str
    method: str
    backbone: str
    shot: int
    seed: int
    protocol: str
    folds: dict[int, RunResult]
    """Run by fold."""
    missing: tuple[int, ...]
    """Folds of the benchmark without a run.  The mean is over the other folds and is marked."""
    miou: Estimate
    fb_iou: Estimate
    episodes: int
    """Distinct episodes: folds that are tested on the same plan share theirs."""
    marks: tuple[Mark, ...]
    best: bool = False
    """Highest mIoU among cells of the same benchmark, backbone, shot, seed and protocol with enough queries."""
    tied: bool = False
    """Not significantly worse than the best, by `fssbench.analysis.comparisons.compare_pairs`."""
    name: str = ""
    """Name that distinguishes the method from all others in the results; it is the same on all benchmarks."""
    variant: str = ""
    """Text that distinguishes this row from other rows of its method in its column, such as `data 0cf81310`."""
    setting: str = ""
    """Text that distinguishes its column from others of the same benchmark and shot, such as `seed 1`; often empty."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", tuple(map(parse_mark, self.marks)))  # `results.json` has texts

    def __repr__(self) -> str:
        """Name the mean and its figures with their intervals, episodes and marks."""
        return f"<Cell {self.benchmark} {self.shot}-shot {self.name or self.label}: {_describe(self)}>"

    def _repr_html_(self) -> str:
        """Show the mean in a notebook."""
        folds = ", ".join(map(str, self.folds)) + (
            f" of {len(self.folds) + len(self.missing)}" if self.missing else ""
        )
        verdict = "best" if self.best else "not significantly worse than the best" if self.tied else ""
        return make_fields(
            {
                "method": f"{self.name or self.label} ({self.backbone})",
                "benchmark": f"{self.benchmark}, {self.shot}-shot, seed {self.seed}",
                "folds": folds,
                **_list_figures(self),
                **({"verdict": verdict} if verdict and not self.miou.shortage else {}),
                "episodes": self.episodes,
                "marks": self.marks,
                "protocol": self.protocol,
            }
        )


def _list_figures(row: RunResult | Cell) -> dict[str, str]:
    """Return mIoU and FB-IoU with their intervals."""
    return {"mIoU": str(row.miou), "FB-IoU": str(row.fb_iou)}


def _describe(row: RunResult | Cell) -> str:
    marks = f" [{'; '.join(row.marks)}]" if row.marks else ""
    return f"mIoU {row.miou}, FB-IoU {row.fb_iou}, {describe_count(row.episodes, 'episode')}{marks}"


@dataclass(frozen=True)
class Departure:
    """One fact in which a measurement differs from the one before."""

    name: str
    """Field of the identity block, such as `head_sha256`; of the context block as `context.NAME`."""
    before: str
    after: str
    folds: tuple[int, ...]


@dataclass(frozen=True)
class Change:
    """One cell that differs from the same cell of another report."""

    kind: Literal["added", "removed", "changed"]
    before: Cell | None
    after: Cell | None
    departures: tuple[Departure, ...] = ()
    """Facts in which the two measurements differ; empty if nothing recorded explains a change."""
    paired: Estimate | None = None
    """Change of mIoU in points on the episodes that both have counted, with its paired 95 % interval."""
    episodes: int = 0
    """Episodes that both have counted; 0 if the two cannot be paired."""
    unpaired: str = ""
    """Why the two cannot be paired."""
    significant: bool | None = None
    """Whether the change is significant, as `fssbench.analysis.comparisons` defines it; None without a verdict."""


@dataclass(frozen=True)
class Changes:
    """The differences between this report and another."""

    against: str
    """Name of the report that it was compared with."""
    changes: tuple[Change, ...]
    unchanged: int
    """Number of cells that are the same in both."""


@dataclass(frozen=True)
class Results:
    """Everything a reporter may print."""

    runs: tuple[RunResult, ...]
    cells: tuple[Cell, ...]
    resamples: int
    """Bootstrap resamples behind every interval."""
    bootstrap_seed: int
    notes: tuple[str, ...] = field(default=())
    """Run folders that were left out, with the reason."""
    efficiency: tuple[Efficiency, ...] = ()
    """What `fssbench bench` measured and stored beside the runs."""
    changes: Changes | None = None
    """What changed since another report; None if none was given."""


class Reporter(ABC):
    """Writes a report from the table model."""

    name: ClassVar[str]
    title: ClassVar[str]
    styles: ClassVar[tuple[str, ...]] = ()
    """Other forms of the format; `--style` passes one of them to `write` as the keyword `style`."""
    on_request: ClassVar[bool] = False
    """Whether the format is written only if it is named, and not by default."""
    apart: ClassVar[bool] = False
    """Whether the format of many runs is better written by a process of its own, while others are written."""
    sometimes: ClassVar[tuple[str, ...]] = ()
    """Names of files that are written only if they have a row; otherwise those of an earlier report are removed."""

    @classmethod
    def lacking(cls) -> str:
        """Return what is not installed, with the command that installs it; an empty text if the format can be written.

        By default a format that lacks something is skipped with a note.
        """
        return ""

    @abstractmethod
    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write the report's files into `folder` (it exists) and return their paths."""
