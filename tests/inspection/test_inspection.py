"""`fssbench run --first N --show`: the first episodes as a run computes them, with maps, and no run is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fssbench.cli import main
from fssbench.evaluation import precision
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.settings import Settings
from fssbench.inspection.episodes import MARGIN, Inspection
from fssbench.runs.store import find_run_folders, read_run

PLUGIN = """
import os
from pathlib import Path
import torch
from fssbench.api import ImageMethod, MethodCard

class Shows(ImageMethod):
    card = MethodCard(name="{name}", title="Shows", paper="none", year=2026, kind="other", backbone="none", size=32,
                      trained=False, reference="none", licence="none")

    def logits(self, query, support, support_mask):
        near = support_mask.mean(1) - 0.5
        return torch.stack([-near, near], 1)

    def debug_maps(self, query, support, support_mask):
        Path(os.environ["SHOWN"]).open("a").write("x")
        {body}
"""
GOOD = 'return {"<b>near</b>": support_mask.mean(1), "each": support_mask}'


@pytest.fixture(autouse=True)
def place(null: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOWN", str(tmp_path / "shown"))
    return tmp_path


def write_plugin(folder: Path, name: str = "shows", body: str = GOOD) -> Path:
    path = folder / f"{name}.py"
    path.write_text(PLUGIN.replace("{name}", name).replace("{body}", body))
    return path


def run(null: Any, *arguments: object) -> Result:
    words = ["run", "-b", "nulldata", "-k", 2, "--size", 32, "--data", null.data, *arguments]
    return CliRunner().invoke(main, list(map(str, words)))


def test_it_shows_what_a_run_computes_and_stores_none(null: Any, place: Path) -> None:
    plugin = ("--plugin", write_plugin(place), "-m", "shows")
    answer = run(null, *plugin, "--first", 3, "--show", "--json")
    assert answer.exit_code == 0, answer.output
    shown = [json.loads(line) for line in answer.stdout.splitlines()]
    assert not (place / "runs").exists()
    assert run(null, *plugin, "--episodes", 6, "-q").exit_code == 0
    (folder,) = find_run_folders(place / "runs")
    records = read_run(folder).records
    assert [each["episode"] for each in shown] == [0, 1, 2]
    for each in shown:
        record = records[each["episode"]]
        assert (each["inter"], each["union"]) == ([*record.inter], [*record.union])
        assert each["stored"] is False
        assert each["maps"]["each"]["shape"] == [2, 32, 32]
        assert each["maps"][MARGIN]["shape"] == [1, 32, 32]


def test_the_page_and_each_picture_are_labelled(null: Any, place: Path) -> None:
    answer = run(
        null, "--plugin", write_plugin(place), "-m", "shows", "--first", 2, "--show", "--show-out", "look"
    )
    assert "look/index.html" in answer.stderr
    assert "no run was stored" in answer.stderr
    page = (place / "look" / "index.html").read_text()
    assert "&lt;b&gt;near&lt;/b&gt;" in page
    assert "<b>near" not in page
    assert "default-src 'none'" in page
    pictures = sorted((place / "look").glob("*/*.png"))
    assert len(pictures) == page.count("data:image/png") == 2
    for index, path in enumerate(pictures):
        with Image.open(path) as image:
            title = image.text["Title"]
            assert np.asarray(image.convert("L")).std() > 10
        for text in (title, page, answer.stdout):
            assert f"episode {index}: class" in text
            assert "IoU" in text
    for text in (page, answer.stdout):
        assert "capped (2 of" in text


def test_without_show_nothing_is_drawn_and_no_map_is_asked_for(null: Any, place: Path) -> None:
    answer = run(null, "--plugin", write_plugin(place), "-m", "shows", "--first", 2)
    assert answer.stdout.count("IoU") == 2
    assert not (place / "inspection").exists()
    assert run(null, "-m", "shows", "--episodes", 3, "-q").exit_code == 0
    assert not (place / "shown").exists()


BROKEN = {
    "return [1]": "debug_maps returned list",
    "raise ValueError('mine')": "ValueError: mine",
    "support_mask.zero_()\n        return {}": "changed its input in place",
}


@pytest.mark.parametrize(("body", "text"), BROKEN.items())
def test_a_broken_map_is_an_error_of_its_method_alone(null: Any, place: Path, body: str, text: str) -> None:
    plugins = ("--plugin", write_plugin(place, "bad", body), "--plugin", write_plugin(place))
    answer = run(null, *plugins, "-m", "bad", "-m", "shows", "--first", 1, "--show", "--json")
    assert answer.exit_code == 4
    assert text in answer.stderr
    assert [json.loads(line)["label"] for line in answer.stdout.splitlines()] == ["shows"]


@pytest.mark.parametrize("option", [("--episodes", 3), ("--shard", "1/2"), ("--save-masks",)])
def test_options_of_stored_runs_are_refused(null: Any, option: tuple[object, ...]) -> None:
    answer = run(null, "-m", "null", "--first", 1, *option)
    assert answer.exit_code == 2
    assert str(option[0]) in answer.stderr


def test_errors_of_a_prediction_are_shown_apart(null: Any) -> None:
    inspection = Inspection(with_pictures=True)
    settings = Settings(out=null.folder / "look", panels=0, inspect=inspection.see)
    evaluate_all([null.method()], null.plan(4), settings)
    for shown in inspection.episodes:
        assert shown.pictures is not None
        missed, false = shown.pictures.predictions["missed"], shown.pictures.predictions["false"]
        assert missed.sum() + false.sum() == shown.union[1] - shown.inter[1]
        assert not (missed & false).any()


def test_the_margin_is_that_of_the_precision_of_the_run(
    null: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The maps are computed as the mask was: here by a product that autocast rounds."""
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: True)
    body = 'return {"product": (query @ query.transpose(2, 3)).mean(1)}'
    plugin = ("--plugin", write_plugin(place, body=body), "-m", "shows")
    products = {}
    for name in ("float32", "bf16"):
        words = (*plugin, "--first", 1, "--show", "--json", "--precision", name)
        answer = run(null, *words, "--show-out", f"look-{name}")
        assert answer.exit_code == 0, answer.output
        (shown,) = (json.loads(line) for line in answer.stdout.splitlines())
        products[name] = shown["maps"]["product"]["range"]
    assert products["float32"] != products["bf16"]
    assert np.allclose(products["float32"], products["bf16"], rtol=2**-6)
