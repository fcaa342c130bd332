"""Tables 1-6 of the PMNet paper (WACV 2024) as LaTeX: columns, headings and titles."""

from __future__ import annotations

from dataclasses import dataclass

from ..content.published import MEAN
from ..content.text import clean

AVERAGE = "table3-average"
"""Benchmark of the last columns of Table 3: the mean over the four others."""
_BACKBONES = {
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "vgg16": "VGG-16",
    "efficientnet-lite0": "EfficientNet-Lite0",
    "own": "its own",
}
KINDS = {
    "": "",
    "prototype": "Prototype",
    "pixelwise": "Pixelwise",
    "adaptation": "Adaptation",
    "other": "Other",
    "bound": "Lower bound",
}
"""Printed names of the kinds of methods, in the order of the tables."""


def name_backbone(name: str) -> str:
    """Return the printed name of a backbone.

    Example:
        >>> name_backbone("resnet50"), name_backbone("my-own")
        ('ResNet-50', 'my-own')
    """
    return _BACKBONES.get(name, clean(name))


@dataclass(frozen=True)
class Column:
    """One column of figures."""

    head: str
    benchmark: str
    """Our benchmark id, without a variant."""
    shot: int
    fold: str
    """`0` to `3`, or `mean`."""


@dataclass(frozen=True)
class Heads:
    """Columns below one heading."""

    head: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Part:
    """The columns of one benchmark, or of several benchmarks side by side, below a line with the name."""

    heading: str
    heads: tuple[Heads, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns of the part."""
        return tuple(column for heads in self.heads for column in heads.columns)


@dataclass(frozen=True)
class Layout:
    """One table."""

    number: int
    title: str
    parts: tuple[Part, ...]
    """Parts of the table, one below the other, with common headings."""
    wide: bool = True
    """Whether the table spans both columns of a page."""
    backbone: bool = True
    """Whether there is a column of backbones.

    Without it the table is about ResNet-50, and other backbones are named beside the method."""
    kind: bool = False
    learnable: str = ""
    """Heading of the learnable parameters.  Empty if the table does not print them."""
    methods: str = "Methods"
    emphasis: bool = True
    """Whether the best number is bold."""
    ablations: bool = False
    """Whether the table shows only methods with ablations, and these ablations."""


def _make_fold_columns(benchmark: str, shot: int, mean: str = "mIoU") -> tuple[Column, ...]:
    return (
        *(Column(f"Fold-{f}", benchmark, shot, str(f)) for f in range(4)),
        Column(mean, benchmark, shot, MEAN),
    )


def _make_part(heading: str, benchmark: str) -> Part:
    return Part(heading, tuple(Heads(f"{shot}-shot", _make_fold_columns(benchmark, shot)) for shot in (1, 5)))


def _make_pair(head: str, benchmark: str) -> Heads:
    return Heads(head, tuple(Column(f"{shot}-shot", benchmark, shot, MEAN) for shot in (1, 5)))


_PASCAL, _COCO = r"PASCAL-$5^i$", r"COCO-$20^i$"
_TO = r" $\rightarrow$ "

LAYOUTS = (
    Layout(
        1,
        f"FSS performances (\\%) on {_PASCAL} and {_COCO} with different backbones.",
        (_make_part(_PASCAL, "pascal5i"), _make_part(_COCO, "coco20i")),
        kind=True,
        learnable=r"\shortstack{Learnable\\Params(M)}",
    ),
    Layout(
        2,
        f"FSS performances (\\%) on cross-dataset task, {_COCO}{_TO}{_PASCAL}, with different backbones.",
        (_make_part(f"{_COCO}{_TO}{_PASCAL}", "coco20i-to-pascal5i"),),
        learnable="Params(M)",
    ),
    Layout(
        3,
        r"FSS performances (\%) on four tasks under 1-shot and 5-shot settings. All models are trained with "
        "the whole PASCAL dataset.",
        (
            Part(
                "",
                (
                    _make_pair("Deepglobe", "pascal-to-deepglobe"),
                    _make_pair("ISIC2018", "pascal-to-isic2018"),
                    _make_pair("Chest X-ray", "pascal-to-chestxray"),
                    _make_pair("FSS-1000", "pascal-to-fss1000"),
                    _make_pair("average", AVERAGE),
                ),
            ),
        ),
    ),
    Layout(
        4,
        f"FSS performances (\\%) on cross-dataset task, {_COCO}{_TO}FSS1000, under 1-shot setting.",
        (Part(f"{_COCO}{_TO}FSS1000", (Heads("", _make_fold_columns("coco20i-to-fss1000", 1)),)),),
        wide=False,
        backbone=False,
    ),
    Layout(
        5,
        f"FSS performances (\\%) on cross-domain task, {_PASCAL}{_TO}SUIM, under 1-shot setting.",
        (Part(f"{_PASCAL}{_TO}SUIM", (Heads("", _make_fold_columns("pascal5i-to-suim", 1)),)),),
        wide=False,
        backbone=False,
    ),
    Layout(
        6,
        r"Impact (\%) of B3DConvs and the Support Background under 1-shot setting.",
        (Part("", (Heads("", _make_fold_columns("pascal5i", 1, "Mean")),)),),
        wide=False,
        backbone=False,
        methods="",
        emphasis=False,
        ablations=True,
    ),
)
