"""The columns of the tables for programs: name, type, unit and meaning, stated once.

`fssbench.results`, the CSV and Parquet files and `docs/results.md` all take them from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "integer", "number", "flag"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    kind: Kind
    """`integer` and `flag` have a value on every row; a missing `number` is NaN, a missing `text` is empty."""
    unit: str
    """Unit of a number; empty for text and flags."""
    meaning: str


_BENCHMARK = Column(
    "benchmark", "text", "", "benchmark id with its variant, such as `pascal-to-isic2018:isic1`"
)
_METHOD = Column("method", "text", "", "method id")
_LABEL = Column("label", "text", "", "method with its ablations and settings")
_BACKBONE = Column("backbone", "text", "", "backbone id; `own` if the method brings its own")
_SEED = Column("seed", "integer", "", "seed of the episodes")
_SHOT = Column("shot", "integer", "images", "support images per episode")
_FOLD = Column("fold", "integer", "", "fold of the benchmark")
_MARKS = Column(
    "marks",
    "text",
    "",
    "everything that keeps the figures from being benchmark figures, joined by `; `; empty if nothing does",
)

_MEASURED = (
    Column("ablations", "text", "", "ablations by name, joined by spaces"),
    _BACKBONE,
    Column("weights", "text", "", "id of the backbone's weights"),
    Column("protocol", "text", "", "rule that draws episodes and counts pixels, with its version"),
    Column("score_size", "text", "", "size at which masks are compared: `input` or `original`"),
    _SEED,
    _SHOT,
)
_FIGURES = (
    Column("miou", "number", "%", "mIoU"),
    Column(
        "miou_low", "number", "%", "lower end of its 95 % interval; NaN if there is none, see `no_interval`"
    ),
    Column("miou_high", "number", "%", "upper end of the interval"),
    Column("fb_iou", "number", "%", "FB-IoU"),
    Column(
        "fb_iou_low", "number", "%", "lower end of its 95 % interval; NaN if there is none, see `no_interval`"
    ),
    Column("fb_iou_high", "number", "%", "upper end of the interval"),
    Column(
        "episodes",
        "integer",
        "episodes",
        "episodes counted; folds that are tested on the same episodes count them once",
    ),
    Column("planned", "integer", "episodes", "episodes of the plan"),
    Column("queries", "integer", "queries", "distinct queries, an image of two classes counted twice"),
    Column(
        "fewest_queries_in_a_class", "integer", "queries", "distinct queries of the class that has fewest"
    ),
    Column("too_few_queries", "flag", "", "whether there are too few queries for an interval and a verdict"),
)
_SIZES = (
    Column("learnable", "integer", "parameters", "parameters outside the frozen backbone"),
    Column("parameters", "integer", "parameters", "all parameters, those of the backbone included"),
)
_DRAWS = (
    Column("resamples", "integer", "resamples", "bootstrap resamples behind the intervals; 0 for none"),
    Column("bootstrap_seed", "integer", "", "seed of the bootstrap"),
)
_PRETRAINING = Column(
    "pretraining",
    "text",
    "",
    "what the networks saw in pretraining, such as `ImageNet-1K`; `not recorded` for runs of earlier versions",
)
_DOUBT = (
    Column("status", "text", "", "`complete`, or `incomplete` if planned episodes were not counted"),
    Column(
        "absent_rule",
        "text",
        "",
        "what mIoU does with a class without a pixel in any episode: `zero` counts it as 0, `exclude` leaves it out",
    ),
    Column(
        "no_interval",
        "text",
        "",
        "why there is no interval, such as `too few queries (8; 1 in a class)`; empty if there is one",
    ),
)

RUN_COLUMNS: tuple[Column, ...] = (
    _BENCHMARK,
    _METHOD,
    _LABEL,
    Column(
        "name",
        "text",
        "",
        "label with what tells the row apart from others of its benchmark and backbone",
    ),
    *_MEASURED,
    _FOLD,
    *_FIGURES,
    *_SIZES,
    Column(
        "seconds_per_episode",
        "number",
        "seconds",
        "mean time of a prediction on the machine that ran it, without images and shared features; NaN if not timed",
    ),
    _MARKS,
    Column("absent_classes", "text", "", "classes without a pixel in any episode, joined by `; `"),
    Column("identity", "text", "", "sha256 over everything that can move a number"),
    Column("plan_sha256", "text", "", "sha256 of the episodes"),
    Column("run", "text", "", "name of the run's folder"),
    *_DRAWS,
    *_DOUBT,
    _PRETRAINING,
)
"""Columns of the table of runs: one row per run."""

MEAN_COLUMNS: tuple[Column, ...] = (
    _BENCHMARK,
    _METHOD,
    _LABEL,
    Column(
        "name",
        "text",
        "",
        "label with what tells the row apart from others of its benchmark and backbone",
    ),
    *_MEASURED,
    *_FIGURES,
    *_SIZES,
    Column(
        "best",
        "flag",
        "",
        "highest mIoU of the methods it can be compared with, if there are enough queries to say so",
    ),
    Column("tied", "flag", "", "not significantly worse than the best"),
    _MARKS,
    Column("run", "text", "", "names of the runs' folders, joined by spaces"),
    *_DRAWS,
    *_DOUBT,
    Column("folds", "text", "", "folds behind the mean, joined by spaces"),
    Column("missing_folds", "text", "", "folds of the benchmark that were not run, joined by spaces"),
    _PRETRAINING,
)
"""Columns of the table of means: one row per mean over the folds of a measurement."""

EPISODE_COLUMNS: tuple[Column, ...] = (
    Column("run", "text", "", "name of the run's folder, as in the table of runs"),
    _BENCHMARK,
    _METHOD,
    _LABEL,
    _BACKBONE,
    _FOLD,
    _SHOT,
    _SEED,
    Column("index", "integer", "", "place of the episode in the plan, from 0"),
    Column("class_id", "integer", "", "class of the episode"),
    Column("class_name", "text", "", "name of the class"),
    Column("query", "text", "", "query image, as the data set names it"),
    Column("inter_background", "integer", "pixels", "intersection of prediction and truth, background"),
    Column("inter_foreground", "integer", "pixels", "intersection of prediction and truth, foreground"),
    Column("union_background", "integer", "pixels", "union of prediction and truth, background"),
    Column("union_foreground", "integer", "pixels", "union of prediction and truth, foreground"),
    Column("target", "integer", "pixels", "foreground pixels of the truth"),
    Column("name", "text", "", "the method's name as in the table of runs"),
    Column(
        "iou",
        "number",
        "%",
        "foreground IoU of this episode alone; NaN if its union is empty. mIoU is not the mean of these: it sums "
        "pixels over the episodes of a class",
    ),
    _MARKS,
)
"""Columns of the table of episodes: one row per episode of a run."""

_ROW = (
    _BENCHMARK,
    _METHOD,
    _LABEL,
    Column("name", "text", "", "the method's name as in the table of means"),
    _BACKBONE,
    _SEED,
    _SHOT,
)
_DISTINCT = Column(
    "episodes", "integer", "episodes", "distinct episodes; folds of one plan count theirs once"
)
_LACK = Column("no_interval", "text", "", "why there is no interval; empty if there is one")

STRATUM_COLUMNS: tuple[Column, ...] = (
    *_ROW,
    Column("split", "text", "", "`object size`, `difficulty` or `object size beside the support's`"),
    Column("stratum", "text", "", "name of the stratum, such as `1 to 5 %`"),
    Column("stratum_number", "integer", "", "place of the stratum in its split, from 0"),
    Column("miou", "number", "%", "mIoU of the episodes of the stratum; NaN if it has none"),
    Column("miou_low", "number", "%", "lower end of its 95 % interval; NaN if there is none"),
    Column("miou_high", "number", "%", "upper end of the interval"),
    _DISTINCT,
    Column("classes", "integer", "classes", "classes that the figure averages, over all folds"),
    Column("classes_met", "integer", "classes", "classes with an episode in the stratum"),
    _LACK,
    _MARKS,
)
"""Columns of the table of strata: one row per stratum of a mean."""

SENSITIVITY_COLUMNS: tuple[Column, ...] = (
    *_ROW,
    Column("replaced_by", "text", "", "what replaced the supports"),
    Column("changed", "number", "%", "object pixels of both answers that only one of them has"),
    Column("changed_low", "number", "%", "lower end of its 95 % interval; NaN if there is none"),
    Column("changed_high", "number", "%", "upper end of the interval"),
    Column("miou", "number", "%", "mIoU of these episodes with their own supports"),
    Column("other_miou", "number", "%", "mIoU of these episodes with the other supports"),
    Column("difference", "number", "points", "the first minus the second"),
    Column(
        "difference_low", "number", "points", "lower end of its paired 95 % interval; NaN if there is none"
    ),
    Column("difference_high", "number", "points", "upper end of the interval"),
    _DISTINCT,
    Column(
        "dependence",
        "text",
        "",
        "verdict on the changed share: above 5 %, below, unclear, or too few queries",
    ),
    _LACK,
    _MARKS,
)
"""Columns of the table of sensitivity: one row per mean whose episodes were asked again with other supports."""

SUPPORT_CHOICE_COLUMNS: tuple[Column, ...] = (
    *_ROW,
    Column("support_sets", "integer", "sets", "support sets per query"),
    Column("miou", "number", "%", "mIoU, the mean over the support sets"),
    Column("query_error", "number", "points", "standard deviation of mIoU from the choice of queries"),
    Column(
        "support_error", "number", "points", "the same from the choice of supports, with one set per query"
    ),
    Column(
        "support_share",
        "number",
        "%",
        "share of the variance of a single draw that the choice of supports causes",
    ),
    Column(
        "half_width",
        "number",
        "points",
        "how much a single draw can be off: half its 95 % interval, queries fixed",
    ),
    Column("half_width_low", "number", "points", "lower end of its 95 % interval; NaN if there is none"),
    Column("half_width_high", "number", "points", "upper end of the interval"),
    Column("queries", "integer", "queries", "distinct queries, an image of two classes counted twice"),
    _DISTINCT,
    _LACK,
    _MARKS,
)
"""Columns of the table of support choice: one row per mean with several support sets per query."""


def column_names(columns: Iterable[Column]) -> list[str]:
    """List the names of columns in their order."""
    return [column.name for column in columns]
