"""The curve of a training as CSV and as a picture."""

from __future__ import annotations

import pytest
from PIL import Image

from fssbench.errors import DataError
from fssbench.training.curves import Curve, Point, draw_curve, read_curve

POINTS = [Point(1, 0.1 + 0.2, 0.01), Point(2, 0.25, 0.01, 55.5, 66.25), Point(3, 1e-9, 0.005)]


def written(path, points=POINTS):
    curve = Curve(path, 0)
    for point in points:
        curve.add(point)
    return path


def test_points_come_back_digit_for_digit(tmp_path):
    path = written(tmp_path / "curve.csv")
    assert read_curve(path) == POINTS
    assert path.read_text().splitlines()[0] == "step,loss,learning_rate,val_miou,val_fb_iou"
    assert read_curve(tmp_path / "none.csv") == []


def test_opening_at_a_step_drops_what_came_after(tmp_path):
    path = written(tmp_path / "curve.csv")
    Curve(path, 2).add(POINTS[2])
    assert read_curve(path) == POINTS
    Curve(path, 0)
    assert read_curve(path) == []


def test_a_torn_last_line_is_left_out_at_every_length(tmp_path):
    path = written(tmp_path / "curve.csv")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert read_curve(path) == POINTS[: max(0, whole[:length].count(b"\n") - 1)]


def test_damage_is_named_by_line(tmp_path):
    path = written(tmp_path / "curve.csv")
    path.write_text(path.read_text().replace("0.25", "a quarter"))
    with pytest.raises(DataError, match="line 3 is damaged"):
        read_curve(path)


def test_the_picture_is_a_png(tmp_path):
    for points in (POINTS, POINTS[:1], []):
        draw_curve(points, tmp_path / "curve.png", "a $ in a title")
        with Image.open(tmp_path / "curve.png") as image:
            assert image.size == (800, 450)
            assert (
                len(
                    set(
                        image.convert("L").get_flattened_data()
                        if hasattr(image, "get_flattened_data")
                        else image.convert("L").getdata()
                    )
                )
                > 10
            )


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        Curve(tmp_path / "file" / "curve.csv", 0)
    with pytest.raises(DataError, match="cannot be written"):
        draw_curve(POINTS, tmp_path / "none" / "curve.png", "t")
