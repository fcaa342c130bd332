"""`fssbench predict`: output, exit codes and the folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import run_command
from drawn_data import draw_pair
from messages import error_names
from PIL import Image

PLUGIN = Path(__file__).parents[1] / "support/colour_method.py"


@pytest.fixture
def user(tmp_path):
    """A folder with a labelled example and two photographs."""
    image, mask = draw_pair(0)
    Image.fromarray(image).save(tmp_path / "example.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    (tmp_path / "photos").mkdir()
    for number in (1, 2):
        Image.fromarray(draw_pair(number)[0]).save(tmp_path / f"photos/{number}.png")
    return tmp_path


@pytest.fixture
def predict(user):
    """Run `fssbench predict` in the user's folder."""

    def call(*more, images=("photos",), mask="mask.png"):
        words = ("predict", "--plugin", PLUGIN, "-m", "colour-match", "--device", "cpu")
        return run_command(*words, "--support", "example.png", mask, *images, "-o", "out", *more, folder=user)

    return call


def test_one_line_names_the_page_to_open_and_the_rest_goes_to_standard_error(predict, user):
    result = predict()
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1
    assert error_names(result.stdout, "2 images", Path("out/contact-sheet.html"))
    assert "2 of 2 images" in result.stderr
    quiet = predict("-q")
    assert quiet.stderr == ""
    assert "2 of them before" in quiet.stdout


def test_json_has_one_line_per_image_and_nothing_else(predict, user):
    (user / "photos/3.png").write_bytes(b"no picture")
    result = predict("--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["status"] for row in rows] == ["done", "done", "failed"]
    mask = np.asarray(Image.open(user / "out" / rows[0]["mask"])) > 0
    assert rows[0]["foreground"] == mask.mean()
    assert result.exit_code == 3
    assert error_names(result.stderr, "3.png", "1 image was")


@pytest.mark.parametrize(
    ("more", "code", "named"),
    [
        (("--threshold", "1"), 2, "--threshold"),
        (("--label", "0"), 2, "--label"),
        (("--set", "sharpnes=2"), 2, "sharpness"),
        (("--set", "plan=2"), 2, "plan"),
        (("--checkpoint", "none.safetensors"), 3, "none.safetensors"),
        (("--category", "cat"), 2, "--label"),
        (("--label", "7"), 3, "mask.png"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(more, code, named, predict, user):
    result = predict(*more)
    assert result.exit_code == code
    assert error_names(result.stderr, named)
    assert "Traceback" not in result.output
    assert not (user / "out").exists()


def test_missing_image_or_example_is_refused(predict, user):
    assert predict(images=("photos", "nothing.png")).exit_code == 2
    assert error_names(predict(mask="nothing.png").stderr, "nothing.png")


def test_other_settings_are_refused_with_the_option(predict):
    assert predict().exit_code == 0
    refused = predict("--threshold", "0.6")
    assert refused.exit_code == 2
    assert error_names(refused.stderr, "threshold: 0.5", "0.6", "--force")
    assert predict("--threshold", "0.6", "--force").exit_code == 0


def test_interrupt_says_how_to_go_on(predict, monkeypatch):
    from fssbench.prediction.job import PredictionJob

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(PredictionJob, "_segment_group", interrupt)
    result = predict()
    assert result.exit_code == 130
    assert "resumes" in result.stderr
    assert "Traceback" not in result.output
