"""No mean of a report is over two measurements: folders of runs at random, recomputed by a stranger.

The stranger reads `manifest.json` and `episodes.jsonl` with the standard library and knows nothing of
fssbench.  Which runs belong together is known here because the folders were made that way.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fssbench.reports.formats.csv_report import CsvReporter
from fssbench.reports.formats.json_report import JsonReporter
from hypothesis import HealthCheck, given, settings, strategies as st
from run_folders import make_plan, write_run

from fssbench.analysis.collect import collect
from fssbench.api import Plan
from fssbench.errors import DataError
from fssbench.runs.store import EpisodeRecord

MAY_DIFFER = {"fold", "classes", "episodes", "episodes_sha256", "data_sha256", "head_sha256"}
"""Fields of the identity block in which folds of one measurement differ by nature."""
FOLDS = range(4)


@dataclass(frozen=True)
class Campaign:
    """One command of a user: the folds that it measured, and what its measurement is made of."""

    method: str = "pmnet"
    folds: frozenset[int] = frozenset(FOLDS)
    block: tuple[tuple[str, Any], ...] = ()
    marks: tuple[str, ...] = ()
    packages: str = "2.13.0"
    training: str | None = "t0"
    """Name of the training; None without a checkpoint."""
    data: str = "d0"

    @property
    def measurement(self) -> tuple[Any, ...]:
        """What makes it another measurement than another campaign's."""
        return (self.method, self.block, self.marks, self.packages, self.training, self.data)


@cache
def plan_of(benchmark: str, fold: int) -> Plan:
    return make_plan(benchmark, fold, 1, 7)


def write(root: Path, campaign: Campaign, number: int, benchmark: str = "pascal5i") -> set[str]:
    """The run folders of a campaign; their names."""
    written = set()
    for fold in sorted(campaign.folds):
        head = f"{campaign.training}/{fold}" if campaign.training else "untrained"
        block = {
            "source_sha256": "s0",
            "reader_sha256": "r0",
            "method_version": "file",
            "head_sha256": head,
            "data_sha256": f"{campaign.data}/{fold}",
            **dict(campaign.block),
        }
        context = {
            "command": f"command {number}",
            "created_utc": f"2026-01-02T03:{number:02}:{fold:02}.000+00:00",
            "packages": {"torch": campaign.packages},
            "checkpoint": f"fold{fold}.pth" if campaign.training else None,
            "checkpoint_sha256": head if campaign.training else None,
            "training": {"sha256": campaign.training, "shot": 1} if campaign.training else None,
        }
        try:
            run = write_run(
                root,
                plan_of(benchmark, fold),
                campaign.method,
                marks=campaign.marks,
                block=block,
                context=context,
            )
        except FileExistsError:  # the command found this run complete
            continue
        written.add(run.name)
    return written


CHANGES: list[dict[str, Any]] = [
    *(
        {"block": ((name, value),)}
        for name, value in (
            ("source_sha256", "s1"),
            ("source_sha256", "s2"),
            ("method_version", "mine 2"),
            ("reader_sha256", "r1"),
            ("engine", "2"),
            ("benchmark_version", 99),
            ("device", "cuda"),
            ("dtype", "bfloat16"),
            ("batch", 8),
            ("config", {"width": 1}),
            ("weights_sha256", "w1"),
            ("layout", "other"),
            ("absent", "exclude"),
            ("lists", "other lists"),
            ("a field of a later version", 1),
        )
    ),
    *({"marks": (mark,)} for mark in ("untrained", "random backbone", "selected on test", "miniature")),
    {"packages": "2.14.0"},
    {"training": "t1"},
    {"training": None},
    {"data": "d1"},
    {"method": "hsnet"},
]
"""What makes another measurement, one thing each."""
PARTS = st.sampled_from([{0, 1, 2, 3}, {0, 1}, {2, 3}, {3}]).map(frozenset)


@st.composite
def distinct(draw: st.DrawFn) -> list[Campaign]:
    """Campaigns that differ from one another in one thing or a few."""
    result = [Campaign(folds=draw(PARTS))]
    for _ in range(draw(st.integers(1, 4))):
        base = draw(st.sampled_from(result))
        change = draw(st.sampled_from(CHANGES))
        block = {**dict(base.block), **dict(change.get("block", ()))}
        result.append(
            replace(base, **{**change, "block": tuple(sorted(block.items())), "folds": draw(PARTS)})
        )
    return list({repr(each.measurement): each for each in result}.values())


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("folds", [{2, 3}, {0, 1, 2, 3}], ids=["other folds", "all folds"])
def test_one_change_makes_another_row(change: dict[str, Any], folds: set[int], tmp_path: Path) -> None:
    old = Campaign(folds=frozenset({0, 1}))
    new = replace(old, **change, folds=frozenset(folds))
    written = [write(tmp_path / "runs", each, number) for number, each in enumerate((old, new))]
    for manifest in (tmp_path / "runs").glob("*/manifest.json"):  # no command tells them apart
        content = json.loads(manifest.read_text())
        if "data" not in change:
            content["context"]["command"] = content["identity"]
        manifest.write_text(json.dumps(content))
    rows = require_sound(tmp_path)
    if change == {"data": "d1"} and len(folds) == 2:
        return  # no fold was measured on both versions: nothing tells that there are two
    assert sorted(map(sorted, rows)) == sorted(map(sorted, written))


def by_stranger(run: Path) -> tuple[float, dict[str, Any]]:
    """mIoU in percent and identity block of a run folder."""
    block = json.loads((run / "manifest.json").read_text())["block"]
    sums: dict[int, list[int]] = {}
    for line in (run / "episodes.jsonl").read_text().splitlines():
        record = json.loads(line)
        both = sums.setdefault(record["c"], [0, 0])
        both[0] += record["inter"][1]
        both[1] += record["union"][1]
    ious = [100 * inter / union for inter, union in sums.values()]
    return sum(ious) / len(block["classes"]), block


def means(report: Path) -> Iterator[dict[str, str]]:
    with (report / "results.csv").open(newline="") as file:
        yield from (row for row in csv.DictReader(file) if row["row"] == "mean")


def require_sound(root: Path, *more: Path) -> list[set[str]]:
    """Write a report of the folders and check every mean; return the runs of each row."""
    report = root / "report"
    report.mkdir()
    results = collect([root / "runs", *more], resamples=0)
    CsvReporter().write(results, report)
    JsonReporter().write(results, report)
    stored = json.loads((report / "results.json").read_text())
    by_identity = {run["identity"]: run["slug"] for run in stored["runs"]}
    cells = [({by_identity[i] for i in cell["folds"]}, cell["miou"][0]) for cell in stored["cells"]]
    rows, names = [], []
    for row in means(report):
        slugs = row["run"].split()
        read = [
            by_stranger(next(p for p in (root / "runs" / s, *(m / s for m in more)) if p.is_dir()))
            for s in slugs
        ]
        expected = sum(miou for miou, _ in read) / len(read)
        assert float(row["miou"]) == pytest.approx(expected, abs=1e-9)
        assert any(
            runs == set(slugs) and figure == pytest.approx(expected, abs=1e-9) for runs, figure in cells
        )
        blocks = [block for _, block in read]
        assert len({block["fold"] for block in blocks}) == len(blocks)
        for name in {name for block in blocks for name in block} - MAY_DIFFER:
            assert len({json.dumps(block.get(name), sort_keys=True) for block in blocks}) == 1, name
        missing = len(FOLDS) - len(slugs)
        assert bool(missing) == ("not run" in row["marks"])
        rows.append(set(slugs))
        names.append((row["benchmark"], row["shot"], row["backbone"], row["name"]))
    assert len(set(names)) == len(names), names
    assert len(cells) == len(rows)
    return rows


def mixed_only_in_data(campaigns: list[Campaign], written: list[set[str]], rows: list[set[str]]) -> bool:
    """Whether the rows are the campaigns, but for data versions of which no fold was measured on both."""
    of_run = {
        run: repr(replace(each, folds=frozenset(), data=""))
        for each, runs in zip(campaigns, written, strict=True)
        for run in runs
    }
    split = [runs for runs in filter(None, written) if not any(runs <= row for row in rows)]
    return not split and all(len({of_run[run] for run in row}) == 1 for row in rows)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(distinct())
def test_every_mean_is_of_one_measurement(campaigns: list[Campaign]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        written = [write(root / "runs", each, number) for number, each in enumerate(campaigns)]
        rows = require_sound(root)
        assert mixed_only_in_data(campaigns, written, rows)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(distinct(), st.data())
def test_copies_and_shards_move_nothing(campaigns: list[Campaign], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        written = [write(root / "runs", each, number) for number, each in enumerate(campaigns)]
        runs = sorted((root / "runs").iterdir())
        for run in data.draw(st.lists(st.sampled_from(runs), max_size=4, unique=True)):
            copy = Path(shutil.copytree(run, root / "elsewhere" / run.name))
            if data.draw(st.booleans()):  # an incomplete copy
                lines = (copy / "episodes.jsonl").read_bytes().splitlines(keepends=True)
                (copy / "episodes.jsonl").write_bytes(b"".join(lines[:4]))
        if data.draw(st.booleans()):
            write(root / "runs", Campaign(folds=frozenset({1}), block=(("shard", [1, 2]),)), 9)
        assert mixed_only_in_data(campaigns, written, require_sound(root, root / "elsewhere"))


def test_a_copy_with_other_counts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "runs", Campaign(), 0)
    run = sorted((tmp_path / "runs").iterdir())[0]
    shutil.copytree(run, tmp_path / "elsewhere" / run.name)
    lines = (run / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    changed = [EpisodeRecord.parse(line.rstrip(b"\n")) for line in lines]
    for i in (2, 5):
        r = changed[i]
        changed[i] = EpisodeRecord(r.index, r.class_id, (r.inter[0], r.inter[1] + 1), r.union, r.target)
    copy = tmp_path / "elsewhere" / run.name
    (copy / "episodes.jsonl").write_bytes(b"".join(r.line() for r in changed))
    with pytest.raises(DataError) as refused:
        collect([tmp_path / "runs", tmp_path / "elsewhere"])
    assert "2 of 7 episodes" in str(refused.value)
    assert str(run) in str(refused.value)
    assert str(copy) in str(refused.value)
    # an incomplete copy that disagrees is refused as well, whichever of the two comes first
    (copy / "episodes.jsonl").write_bytes(b"".join(r.line() for r in changed[:3]))
    for order in ([run, copy], [copy, run]):
        with pytest.raises(DataError, match="1 of 3 episodes"):
            collect(order)


class TestWithoutRecords:
    """Runs that record neither training nor command: what cannot be told is marked."""

    def rerun(self, root: Path, *campaigns: Campaign, together: bool) -> Any:
        for number, campaign in enumerate(campaigns):
            write(root / "runs", campaign, number)
        for manifest in (root / "runs").glob("*/manifest.json"):
            content = json.loads(manifest.read_text())
            content["context"]["training"] = None
            if not together:
                content["context"]["command"] = content["identity"]
            manifest.write_text(json.dumps(content))
        return collect([root / "runs"], resamples=0).cells

    def test_trainings_of_one_command_each_are_apart(self, tmp_path: Path) -> None:
        cells = self.rerun(tmp_path, Campaign(), Campaign(training="t1"), together=True)
        assert [sorted(cell.folds) for cell in cells] == [[0, 1, 2, 3]] * 2
        assert not any("joined" in mark for cell in cells for mark in cell.marks)
        for cell in cells:
            heads = [run.manifest.block.head_sha256 for run in cell.folds.values()]
            assert len({head[:2] for head in heads}) == 1

    def test_one_fold_trained_again_leaves_the_four_of_the_old(self, tmp_path: Path) -> None:
        again = Campaign(training="t1", folds=frozenset({2}))
        cells = self.rerun(tmp_path, Campaign(), again, together=False)
        assert sorted(sorted(cell.folds) for cell in cells) == [[0, 1, 2, 3], [2]]
        whole = next(cell for cell in cells if len(cell.folds) == 4)
        assert {run.manifest.block.head_sha256[:2] for run in whole.folds.values()} == {"t0"}
        assert any(mark.startswith("joined") for mark in whole.marks), "the date alone tells them apart"

    def test_one_checkpoint_for_all_folds_takes_no_fold_of_another(self, tmp_path: Path) -> None:
        old = Campaign(folds=frozenset({0, 1, 2}), block=(("head_sha256", "shared"),))
        new = Campaign(folds=frozenset({3}), block=(("head_sha256", "other"),))
        cells = self.rerun(tmp_path, old, new, together=False)
        assert sorted(sorted(cell.folds) for cell in cells) == [[0, 1, 2], [3]]


def test_folds_that_ask_the_same_episodes_have_read_the_same_data(tmp_path: Path) -> None:
    """The folds of PASCAL-5i to SUIM ask the same episodes."""
    first = plan_of("pascal5i-to-suim", 0)
    for fold in FOLDS:
        data = "before" if fold < 2 else "after"
        write_run(
            tmp_path,
            replace(first, fold=fold),
            "panet",
            block={"data_sha256": data},
            context={"checkpoint": None, "command": f"fold {fold}", "created_utc": f"2026-01-0{fold + 1}"},
        )
    cells = collect([tmp_path], resamples=0).cells
    assert sorted(sorted(cell.folds) for cell in cells) == [[0, 1], [2, 3]]
    assert {cell.variant for cell in cells} == {"data before", "data after"}
    assert not math.isnan(cells[0].miou.value)


class TestRepairedData:
    """One mask was repaired, which only some folds show, and everything was run again."""

    def runs(self, root: Path, *, again: set[int], confirmed: set[int], **changes: Any) -> Any:
        write(root / "runs", Campaign(), 0)
        for fold in confirmed:  # the second command found these complete
            (run,) = (root / "runs").glob(f"pascal5i-f{fold}-*")
            with (run / "sessions.jsonl").open("a") as file:
                file.write(json.dumps({"episodes": 0, "seconds": 0.0, "command": "command 1"}) + "\n")
        write(root / "runs", replace(Campaign(folds=frozenset(again), data="d1"), **changes), 1)
        return collect([root / "runs"], resamples=0)

    def test_folds_that_were_found_unchanged_are_in_both_rows(self, tmp_path: Path) -> None:
        results = self.runs(tmp_path, again={0, 2}, confirmed={1, 3})
        assert len(results.runs) == 6
        assert [sorted(cell.folds) for cell in results.cells] == [[0, 1, 2, 3]] * 2
        for cell in results.cells:
            data = {fold: run.manifest.block.data_sha256[:2] for fold, run in cell.folds.items()}
            assert data[0] == data[2]
            assert data[1] == data[3] == "d0"
        assert len({cell.variant for cell in results.cells}) == 2
        require_sound(tmp_path)

    def test_folds_that_no_command_has_seen_since_are_in_the_old_row_alone(self, tmp_path: Path) -> None:
        cells = self.runs(tmp_path, again={0}, confirmed={3}).cells
        assert sorted(sorted(cell.folds) for cell in cells) == [[0, 1, 2, 3], [0, 3]]

    def test_another_training_takes_no_fold_of_the_old(self, tmp_path: Path) -> None:
        changes = {"block": (("head_sha256", "trained again"),)}
        cells = self.runs(tmp_path, again={0}, confirmed={1, 2, 3}, **changes).cells
        assert sorted(sorted(cell.folds) for cell in cells) == [[0], [0, 1, 2, 3]]
