"""Every figure of the page once more, from `episodes.jsonl` and `plan.json`, in plain Python.

Nothing of fssbench's metrics, statistics or reports takes part: numbers are read off the page's cells
(what and of which runs stands in their data attributes) and computed anew from the stored integers.
Intervals are compared with a bootstrap of the test's own, within its Monte Carlo error.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fssbench.reports.formats.html
import pytest
from run_folders import make_plan, write_run

from fssbench.analysis.collect import collect

RESAMPLES = 1000
PLACES = (
    ("pascal5i", range(4), (1, 5)),
    ("pascal-to-deepglobe", range(1), (1, 5)),
    ("pascal-to-isic2018:isic1", range(1), (1,)),
)
METHODS = ("pmnet", "hsnet", "panet")
BINS = (0, 0.01, 0.05, 0.15, 0.35, 0.60, 1.01)


class Cells(HTMLParser):
    """Table cells that say what they show: their attributes and their text, without marks."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[dict[str, str]] = []
        self.inside = self.hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {k.removeprefix("data-"): v or "" for k, v in attrs}
        if tag == "td" and "what" in values:
            self.found.append({**values, "text": ""})
            self.inside = True
        self.hidden |= tag == "sup"

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag != "td"
        self.hidden &= tag != "sup"

    def handle_data(self, data: str) -> None:
        if self.inside and not self.hidden:
            self.found[-1]["text"] += " " + data


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for benchmark, folds, shots in PLACES:
        for fold in folds:
            for shot in shots:
                plan = make_plan(benchmark, fold, shot, 120)
                for method in METHODS:
                    write_run(root, plan, method)
                if benchmark == "pascal5i" and shot == 1:
                    write_run(root, plan, "pmnet", ablations=("background",))
    return root


@pytest.fixture(scope="module")
def stored(folders: Path) -> dict[str, dict[str, Any]]:
    """Runs as they lie on disk, by the first digits of their identity."""
    out = {}
    for manifest in folders.glob("*/manifest.json"):
        head = json.loads(manifest.read_text())
        plan = json.loads((manifest.parent / "plan.json").read_text())
        rows = [json.loads(line) for line in (manifest.parent / "episodes.jsonl").read_text().splitlines()]
        query = {row[0]: row[2] for row in plan["episodes"]}
        out[head["identity"][:12]] = {
            "classes": plan["classes"],
            "fold": plan["fold"],
            "rows": [(r["c"], query[r["i"]], *r["inter"], *r["union"], r["target"]) for r in rows],
        }
    return out


@pytest.fixture(scope="module")
def cells(folders: Path) -> list[dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fssbench.reports.formats.html.make_inline", lambda drawing: "<svg></svg>")
        page = fssbench.reports.formats.html.render_page(collect([folders], resamples=RESAMPLES))
    reader = Cells()
    reader.feed(page)
    return reader.found


def miou(rows: list[Any], classes: list[int]) -> float:
    ious = []
    for c in classes:
        mine = [r for r in rows if r[0] == c]
        union = sum(r[5] for r in mine)
        ious.append(sum(r[3] for r in mine) / max(union, 1))
    return 100 * sum(ious) / len(ious)


def fb_iou(rows: list[Any], classes: list[int]) -> float:
    back = sum(r[2] for r in rows) / sum(r[4] for r in rows)
    return 50 * (back + sum(r[3] for r in rows) / sum(r[5] for r in rows))


def share(row: Any) -> float:
    return row[6] / (row[5] + row[2])


def value(cell: dict[str, str], runs: list[dict[str, Any]]) -> float:
    """What the cell says it shows, from the rows of its runs."""
    kind = cell["what"]
    if kind == "episodes":
        return sum(len(run["rows"]) for run in runs)
    if kind == "size":
        low, high = BINS[int(cell["key"])], BINS[int(cell["key"]) + 1]
        inside = [[r for r in run["rows"] if low <= share(r) < high] for run in runs]
        asked = [{c: len({r[1] for r in rows if r[0] == c}) for c in {r[0] for r in rows}} for rows in inside]
        enough = [[c for c, queries in each.items() if queries >= 3] for each in asked]
        taken = enough if any(enough) else [list(each) for each in asked]
        figures = [miou(rows, classes) for rows, classes in zip(inside, taken, strict=True) if classes]
        return sum(figures) / len(figures)
    if kind == "class":
        c = int(cell["key"])
        runs = [run for run in runs if c in run["classes"]]
        return sum(miou(run["rows"], [c]) for run in runs) / len(runs)
    score = {"miou": miou, "fb-iou": fb_iou, "difference": miou}[kind]
    return sum(score(run["rows"], run["classes"]) for run in runs) / len(runs)


def numbers(text: str) -> list[float]:
    plain = text.replace("−", "-").replace("+", "").replace(",", " ").replace("[", " ").replace("]", " ")
    return [float(word) for word in plain.split() if word.lstrip("-").replace(".", "", 1).isdigit()]


def test_every_kind_of_figure_is_on_the_page(cells: list[dict[str, str]]) -> None:
    kinds: dict[str, int] = defaultdict(int)
    for cell in cells:
        kinds[cell["what"]] += 1
    assert set(kinds) == {"miou", "fb-iou", "episodes", "class", "size", "difficulty", "difference"}
    assert kinds["miou"] > 80
    assert kinds["class"] > 60
    assert kinds["size"] > 80
    assert kinds["difference"] > 20


def test_every_figure_is_that_of_the_stored_integers(
    cells: list[dict[str, str]], stored: dict[str, dict[str, Any]]
) -> None:
    for cell in cells:
        if cell["what"] == "difficulty":
            continue  # it depends on all methods: tests/analysis/test_strata.py
        runs = [stored[name] for name in cell["runs"].split()]
        expected = value(cell, runs)
        if cell["what"] == "difference":
            expected -= value(cell, [stored[name] for name in cell["against"].split()])
        first = cell["text"].split("[")[0]
        if cell["what"] == "episodes":
            assert int(first.replace(",", "")) == expected
        elif "–" in first:
            raise AssertionError(f"no figure where there is one: {cell}")
        else:
            assert numbers(first)[0] == pytest.approx(expected, abs=0.0500001), cell


def replicate(draw: random.Random, runs: list[dict[str, Any]], kind: str, key: str) -> list[list[Any]]:
    """Rows of each run, whole queries at a time, within class (or within the bin)."""
    out = []
    for run in runs:
        strata: dict[int, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for row in run["rows"]:
            strata[row[0]][row[1]].append(row)
        rows = []
        for queries in strata.values():
            names = sorted(queries)
            for name in draw.choices(names, k=len(names)):
                rows += queries[name]
        out.append(rows)
    return out


def bootstrap(
    cell: dict[str, str], stored: dict[str, dict[str, Any]], times: int = 300
) -> tuple[float, float, float]:
    """Interval ends and the deviation of the replicates."""
    seen = []
    for i in range(times):
        total = 0.0
        for sign, names in ((1, cell["runs"]), (-1, cell.get("against", ""))):
            runs = [stored[name] for name in names.split()]
            if not runs:
                continue
            rows = replicate(random.Random(i), runs, cell["what"], cell.get("key", ""))
            total += sign * value(cell, [{**run, "rows": r} for run, r in zip(runs, rows, strict=True)])
        seen.append(total)
    seen.sort()
    mean = sum(seen) / times
    spread = (sum((v - mean) ** 2 for v in seen) / times) ** 0.5
    return seen[int(0.025 * times)], seen[int(0.975 * times)], spread


@pytest.mark.parametrize("kind", ["miou", "fb-iou", "class", "difference"])
def test_intervals_are_those_of_another_bootstrap(
    kind: str, cells: list[dict[str, str]], stored: dict[str, dict[str, Any]]
) -> None:
    mine = [c for c in cells if c["what"] == kind and "[" in c["text"]]
    for cell in mine[:: max(1, len(mine) // 5)]:
        low, high = numbers("[" + cell["text"].split("[")[1].split("]")[0])
        expected_low, expected_high, spread = bootstrap(cell, stored)
        error = 0.6 * spread + 0.1  # the ends of 300 replicates move by a quarter of their deviation
        assert low == pytest.approx(expected_low, abs=error), cell
        assert high == pytest.approx(expected_high, abs=error), cell
        assert high - low > spread
