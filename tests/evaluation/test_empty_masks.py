"""Masks whose object vanishes, and masks with nothing that counts, in query and support: every count by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from messages import error_names
from null_harness import null_dataset
from numpy.typing import NDArray

from fssbench.errors import DataError
from fssbench.runs.store import read_run
from fssbench.runs.summary import score_run

SIDE = 16
"""Of the network.  Masks are twice as large, and their pixels at odd places are lost."""
_HALF = np.repeat([[1], [0]], SIDE, 0).repeat(2 * SIDE, 1).astype(np.uint8)
_DOT = np.zeros((2 * SIDE, 2 * SIDE), np.uint8)
_DOT[1, 1] = 1
MASKS: dict[str, NDArray[np.uint8]] = {
    "half": _HALF,
    "empty": _DOT,
    "full": np.ones_like(_DOT),
    "ignored": np.where(_DOT == 1, 1, 255).astype(np.uint8),
}
"""Masks by what they are at the size of the network; `half` is an object that fills the upper half."""
ALL, HALF = SIDE * SIDE, SIDE * SIDE // 2
# The method answers the support's mask, in which ignored pixels are background.
# (answer, truth): intersections and unions of background and foreground, in pixels
COUNTS = {
    ("half", "half"): ((HALF, HALF), (HALF, HALF)),
    ("half", "empty"): ((HALF, 0), (ALL, HALF)),
    ("half", "full"): ((0, HALF), (HALF, ALL)),
    ("half", "ignored"): ((0, 0), (0, 0)),
    ("empty", "half"): ((HALF, 0), (ALL, HALF)),
    ("empty", "empty"): ((ALL, 0), (ALL, 0)),
    ("empty", "full"): ((0, 0), (ALL, ALL)),
    ("empty", "ignored"): ((0, 0), (0, 0)),
    ("full", "half"): ((0, HALF), (HALF, ALL)),
    ("full", "empty"): ((0, 0), (ALL, ALL)),
    ("full", "full"): ((0, ALL), (0, ALL)),
    ("full", "ignored"): ((0, 0), (0, 0)),
    ("ignored", "half"): ((HALF, 0), (ALL, HALF)),
    ("ignored", "empty"): ((ALL, 0), (ALL, 0)),
    ("ignored", "full"): ((0, 0), (ALL, ALL)),
    ("ignored", "ignored"): ((0, 0), (0, 0)),
}


@pytest.fixture
def one_class(null: Any) -> Any:
    """A plan of one episode."""
    return null.plan(1, size=SIDE)


@pytest.mark.parametrize(("support", "query"), list(itertools.product(MASKS, MASKS)))
def test_counts_and_scores_of_every_pair(
    null: Any, one_class: Any, monkeypatch: pytest.MonkeyPatch, support: str, query: str
) -> None:
    (episode,) = one_class
    kind = {episode.query: query} | dict.fromkeys(episode.supports, support)
    assert len(kind) == 2
    monkeypatch.setattr(type(null_dataset(null)), "mask", lambda self, item, class_id: MASKS[kind[item]])
    (done,) = null.run("runs", one_class, panels=0)
    run = read_run(done.path)
    (record,) = run.records.values()
    inter, union = COUNTS[support, query]
    assert (record.inter, record.union) == (inter, union)
    iou = 100 * inter[1] / union[1] if union[1] else 0.0
    zero, exclude = score_run(run, absent="zero"), score_run(run, absent="exclude")
    assert zero.miou == pytest.approx(iou / 3)  # the fold has three classes, and two of them no pixel
    if union[1]:
        assert exclude.miou == pytest.approx(iou)
    else:
        assert np.isnan(exclude.miou)
    pooled = [100 * i / u if u else 0.0 for i, u in zip(inter, union, strict=True)]
    for score in (zero, exclude):
        assert score.fb_iou == pytest.approx(sum(pooled) / 2)
        assert (episode.class_id in score.absent) == (not union[1])


@pytest.mark.parametrize("role", ["query", "support"])
@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_that_has_no_object_at_its_own_size_is_refused_by_name(
    null: Any, one_class: Any, monkeypatch: pytest.MonkeyPatch, role: str, value: int
) -> None:
    (episode,) = one_class
    bad = episode.query if role == "query" else episode.supports[0]
    nothing = np.full_like(_DOT, value)
    monkeypatch.setattr(
        type(null_dataset(null)), "mask", lambda self, item, class_id: nothing if item == bad else _HALF
    )
    with pytest.raises(DataError) as refused:
        null.run("runs", one_class, panels=0)
    error_names(refused.value, bad, "nulldata", "Next:")
