"""How an evaluation is carried out, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fssbench.contracts.arguments import Count, Natural, build_from_arguments
from fssbench.contracts.benchmarks import ScoreSize
from fssbench.contracts.episodes import Episode, Plan
from fssbench.contracts.marks import Mark
from fssbench.contracts.precision import Precision
from fssbench.contracts.results import Estimate
from fssbench.errors import DataError, FssbenchError, UsageError
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.feature_store import FeatureStore
from fssbench.evaluation.inspected import InspectedEpisode
from fssbench.evaluation.precision import require_precision
from fssbench.evaluation.repeated import MOST
from fssbench.lazy import load_name
from fssbench.loading.load import require_device
from fssbench.markup import make_fields
from fssbench.metrics import Score
from fssbench.plural import describe_count
from fssbench.runs.pictures import PANELS
from fssbench.runs.store import compute_shard_range


@dataclass(frozen=True)
class Settings:
    """How an evaluation is carried out."""

    out: Path = Path("runs")
    score_size: ScoreSize | None = None
    """`input`: masks and predictions at the network's square size; `original`: the query's own; None: as the benchmark
    defines, which is `input` for all that are built in."""
    device: str = "cpu"
    precision: Precision = "float32"
    """`bf16`: products and convolutions in bfloat16, marked in every output; some episodes are computed in float32
    too."""
    batch: Count = 1
    """Episodes that a method predicts together, marked in every output if it is not 1; some episodes are then predicted
    alone too."""
    cache_mb: Natural = 2048
    """Budget of the feature cache in MiB.  It changes no number."""
    feature_cache: Path | None = None
    """Folder of features that later runs use too; None for none.  It changes no number."""
    cache_gb: Annotated[float, Field(ge=0)] = 20.0
    """Largest size of that folder, GiB."""
    workers: Natural = 2
    """Threads that read the images of the next episodes.  They change no number."""
    replay: bool = True
    """Whether the work of an episode is recorded on a CUDA device and replayed.  It changes no number."""
    shard: tuple[int, int] | None = None
    """Part i of n (1-based) of every plan."""
    panels: Natural = PANELS
    """Episodes whose pictures are kept for reports."""
    only: frozenset[int] | None = None
    """Indices of the episodes to compute; None for all."""
    save_masks: bool = False
    """Whether the predicted masks are stored beside the counts.  They change no number."""
    isolate: bool | None = False
    """Whether methods run in processes of their own; None: those that are not built in.  It changes no number."""
    episode_timeout: Annotated[float, Field(gt=0)] = 600.0
    """Seconds after which a method in a separate process is ended, with its stack in the error."""
    repeated: Natural = MOST
    """Largest number of episodes that a method of others computes again at the end, to notice that it keeps state."""
    sensitivity: Natural = 0
    """Number of episodes that are predicted a second time, with supports of another class.  They change no number."""
    probe_only: frozenset[int] | None = None
    """Indices of the episodes of which these may be; None for all."""
    inspect: Callable[[InspectedEpisode], None] | None = None
    """Called with each episode after its prediction.  It changes no number."""


def make_settings(**values: Any) -> Settings:
    """Make settings from the arguments of a Python call.

    Raises:
        UsageError: for an unknown argument, a value that is not allowed, or a part that does not exist.
    """
    settings = build_from_arguments(Settings, values, function="fssbench.evaluate")
    if settings.shard is not None:
        part, parts = settings.shard
        if not 1 <= part <= parts:
            raise UsageError(f"shard={settings.shard} must be (i, n) with 1 <= i <= n, such as (2, 4)")
    device = str(require_device(settings.device))
    require_precision(settings.precision, device)
    return replace(settings, device=device)


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The result of one method on one plan.  Its text shows the figures with their marks."""

    path: Path
    """The run's folder."""
    identity: str
    score: Score
    """Scores over all stored episodes; `score.episodes` is their number."""
    planned: int
    computed: int
    """Episodes this call computed; the others were stored already."""

    @property
    def marks(self) -> tuple[Mark, ...]:
        """Reasons why the figures are not benchmark figures, as the command line prints them."""
        return self.score.marks

    def __str__(self) -> str:
        """Return the name of the run, figures, number of episodes and marks."""
        part = "" if self.score.episodes == self.planned else f" of {self.planned} planned"
        return f"{self.path.name}: {self.score}{part}"

    __repr__ = __str__

    def estimate(self) -> tuple[Estimate, Estimate]:
        """Return mIoU and FB-IoU with their intervals, from the stored counts.

        Raises:
            DataError: if the run folder is gone, damaged or a shard, or holds other episodes than this result.
        """
        (run,) = load_name("fssbench.analysis.collect:collect")([self.path]).runs
        if run.episodes != self.score.episodes:
            raise DataError(
                f"{self.path} holds {describe_count(run.episodes, 'episode')} now, and this result is of "
                f"{self.score.episodes}"
            )
        return run.miou, run.fb_iou

    def describe_figures(self) -> tuple[str, str]:
        """Write mIoU and FB-IoU with their intervals, or the reason why there is none."""
        try:
            miou, fb_iou = self.estimate()
        except FssbenchError as error:
            values = (self.score.miou, self.score.fb_iou)
            without = f"(95 % interval none: {error})"
            return f"{values[0]:.1f} % {without}", f"{values[1]:.1f} % {without}"
        return str(miou), str(fb_iou)

    def _repr_html_(self) -> str:
        """Show the result in a notebook: figures with their intervals or the reason why there is none, and marks."""
        figures = self.describe_figures()
        return make_fields(
            {
                "run": self.path.name,
                "mIoU": figures[0],
                "FB-IoU": figures[1],
                "episodes": f"{self.score.episodes} of {self.planned} planned",
                "marks": self.marks,
                "identity": self.identity,
            }
        )


def make_cache(settings: Settings) -> FeatureCache:
    """Make the feature cache, with the folder behind it if there is one.

    Raises:
        DataError: if the folder cannot be used.
    """
    folder, limit = settings.feature_cache, int(settings.cache_gb * 2**30)
    return FeatureCache(settings.cache_mb << 20, None if folder is None else FeatureStore(folder, limit))


def select_part(plan: Plan, settings: Settings) -> tuple[Episode, ...]:
    """Select the episodes of a plan that belong to the shard: all without one."""
    part, parts = settings.shard or (1, 1)
    indices = compute_shard_range(len(plan), part, parts)
    return plan.episodes[indices.start : indices.stop]
