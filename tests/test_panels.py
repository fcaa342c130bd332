"""Stored example images: which, how large, and what is read back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fssbench.errors import DataError
from fssbench.panels import SIDE, Panels, read_panels
from fssbench.registry import DATASETS
from fssbench.store import Record, read_run


@given(st.integers(1, 3000), st.integers(0, 12))
def test_kept_episodes_are_spread_and_within_the_plan(episodes, keep):
    panels = Panels(None, None, episodes, keep)  # type: ignore[arg-type]
    kept = [i for i in range(episodes) if panels.wanted(i)]
    assert len(kept) == min(keep, episodes)
    if len(kept) > 1:
        gaps = np.diff(kept)
        assert gaps.max() - gaps.min() <= 1


def test_every_method_shows_the_same_episodes(null):
    plan = null.plan(20)
    done = null.run("runs", plan, null.broken("a"), null.broken("b"), panels=3)
    shown = [sorted(p.name for p in (d.path / "predictions").iterdir()) for d in done]
    assert shown[0] == shown[1]
    assert len(shown[0]) == 3 * (3 + 2)


def test_panels_read_back_are_what_was_counted(null):
    plan = null.plan(8, shot=2, size=32)
    (run,) = null.run("runs", plan, panels=4)
    stored = read_run(run.path)
    panels = list(read_panels(stored))
    assert len(panels) == 4
    dataset = DATASETS.get("nulldata")(null.data / "nulldata")
    for panel in panels:
        episode, record = plan[panel.index], stored.records[panel.index]
        assert panel.class_name == dataset.classes()[episode.class_id]
        assert panel.iou == pytest.approx(100 * record.inter[1] / record.union[1])
        assert len(panel.supports) == 2
        truth, guess = (np.asarray(Image.open(p)) > 127 for p in (panel.truth, panel.prediction))
        assert (truth == (dataset.mask(episode.query, 0) == 1)).all()
        assert (np.count_nonzero(truth & guess), np.count_nonzero(truth | guess)) == (
            record.inter[1],
            record.union[1],
        )
        for (image, mask), item in zip(panel.supports, episode.supports, strict=True):
            assert Image.open(image).size == (32, 32)
            assert ((np.asarray(Image.open(mask)) > 0) == (dataset.mask(item, 0) == 1)).all()


def test_stored_images_are_small(null, monkeypatch):
    cls = DATASETS.get("nulldata")
    monkeypatch.setattr(cls, "image", lambda self, item: Image.new("RGB", (1200, 600), 99))
    monkeypatch.setattr(
        cls, "mask", lambda self, item, c: np.pad(np.ones((300, 600), np.uint8), ((0, 300), (0, 600)))
    )
    (run,) = null.run("runs", null.plan(2), panels=1)
    sizes = {Image.open(p).size for p in (run.path / "predictions").iterdir()}
    assert sizes == {(SIDE, SIDE // 2)}


def test_ignored_pixels_are_grey(null, monkeypatch):
    cls = DATASETS.get("nulldata")
    plain = cls.mask

    def void(self, item, class_id):
        mask = plain(self, item, class_id).copy()
        mask[:8] = 255
        return mask

    monkeypatch.setattr(cls, "mask", void)
    (run,) = null.run("runs", null.plan(1, size=32), panels=1)
    (panel,) = read_panels(read_run(run.path))
    assert set(np.unique(np.asarray(Image.open(panel.truth)))) <= {0, 128, 255}
    assert (np.asarray(Image.open(panel.truth))[:8] == 128).all()


def test_incomplete_panels_are_left_out(null):
    (run,) = null.run("runs", null.plan(6), panels=3)
    folder = run.path / "predictions"
    first, second, third = sorted(folder.glob("*-query.jpg"))
    (folder / first.name.replace("query.jpg", "truth.png")).unlink()
    second.unlink()
    assert [p.index for p in read_panels(read_run(run.path))] == [int(third.name[:6])]
    # an episode that was not counted is not shown
    log = run.path / "episodes.jsonl"
    log.write_bytes(b"")
    assert list(read_panels(read_run(run.path))) == []


def test_empty_truth_and_prediction_have_no_iou(null):
    (run,) = null.run("runs", null.plan(1), panels=1)
    (run.path / "episodes.jsonl").write_bytes(Record(0, null.plan(1)[0].class_id, (9, 0), (9, 0), 0).line())
    (panel,) = read_panels(read_run(run.path))
    assert np.isnan(panel.iou)


def test_no_panels_no_folder(null):
    (run,) = null.run("runs", null.plan(2), panels=0)
    assert not (run.path / "predictions").exists()


def test_folder_that_cannot_be_written(null):
    plan = null.plan(2)
    (run,) = null.run("runs", plan, panels=0)
    (run.path / "episodes.jsonl").unlink()
    (run.path / "predictions").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot write .*predictions"):
        null.run("runs", plan, panels=1)
