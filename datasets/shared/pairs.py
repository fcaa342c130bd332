"""Checks of images with foreground masks that are stored as grey files."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fssbench.api import DataError, Dataset, Verification, find_size_marks

from . import checks


def check_pair(
    report: Verification, image_path: str, mask_path: str, *, expected: Collection[str] = ()
) -> bool:
    """Check one image and its foreground mask; findings go into the report.

    Args:
        report: what is filled in.
        image_path: relative to the data set's root.
        mask_path: relative to the data set's root.
        expected: kinds of judgement of masks that are in order here (`fssbench.images.mask_values.judge_binary`).

    Returns:
        Whether the pair can serve in an episode.
    """
    image = checks.decode_file(report, image_path, "image")
    mask = checks.decode_file(report, mask_path, "mask")
    usable = mask is not None and checks.check_binary(report, mask, mask_path, expected=expected)
    fits = image is not None and mask is not None and checks.check_sizes(report, image, mask, mask_path)
    return usable and fits


def warn_of_files(report: Verification, folder: str, names: Sequence[str], problem: str, remedy: str) -> None:
    """Warn once about a problem of many files in a folder, and name the first three."""
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        checks.add_warning(report, folder, f"{len(names):,} files: {problem} ({shown})", remedy)


def warn_of_other_size(
    report: Verification, folder: str, dataset: Dataset, what: str, split: str = "test"
) -> None:
    """Warn if the set does not have the published size, by the rule that marks a run.

    Args:
        report: what is filled in.
        folder: where the warning points.
        dataset: what is looked at; its pool has the published size.
        what: what an entry is called, such as `patches`.
        split: the split whose size is published.
    """
    try:
        pool = dataset.pool(split)
    except DataError:
        return  # an empty set; other findings report it
    for mark in find_size_marks(pool):
        expected = pool.population
        assert expected is not None
        count, published = len(pool.entries), expected.entries
        if published is None:
            count, published, what = len({e.item for e in pool.entries}), expected.images, "images"
        assert published is not None
        if count < published:
            problem = f"{count:,} of {published:,} published {what} are there: a sample"
            remedy = (
                "numbers measured on it are marked as a sample; get the full data set for benchmark numbers"
            )
        else:
            problem = mark
            remedy = "no published episode can be drawn from it, so runs are marked; keep the published files alone"
        checks.add_warning(report, folder, problem, remedy)
