"""`fssbench data fetch` and `data status` as a user types them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fssbench.benchmarks.catalogue import BENCHMARKS
from fssbench.cli import main
from fssbench.plugins.registry import DATASETS


def run(*arguments: str | Path, check: int = 0) -> Result:
    result = CliRunner().invoke(main, ["data", *map(str, arguments)])
    assert result.exit_code == check, result.output + result.stderr
    return result


@pytest.fixture
def archive(mini: Path, tmp_path: Path) -> Path:
    """Two classes of FSS-1000 as a user downloads them."""
    path = tmp_path / "fewshot_data.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for folder in sorted(p for p in (mini / "FSS-1000").iterdir() if p.is_dir())[:2]:
            for file in sorted(folder.iterdir()):
                packed.write(file, f"fewshot_data/fewshot_data/{folder.name}/{file.name}")
    return path


def test_a_set_behind_a_login_first_says_how_then_takes_the_archive(archive: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    result = run("fetch", "fss1000", "--data", data, check=3)
    assert "HKUSTCV/FSS-1000" in result.stderr
    assert f"`fssbench data fetch fss1000 --from ARCHIVE --accept-licence --data {data}`" in result.stderr
    result = run("fetch", "fss1000", "--data", data, "--from", archive, check=2)
    assert "the owners state none" in result.stderr
    assert not data.exists()
    result = run("fetch", "fss1000", "--data", data, "--from", archive, "--accept-licence")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() in result.stdout
    assert f"fss1000 is in place: {data / 'FSS-1000'}" in result.stdout
    assert "20 images, 20 masks" in result.stdout
    assert f"Next: `fssbench data fetch splits --data {data}`" in result.stderr


def test_json_owns_the_output_and_the_second_call_does_nothing(archive: Path, tmp_path: Path) -> None:
    arguments = (
        "fetch",
        "fss1000",
        "--data",
        tmp_path / "data",
        "--from",
        archive,
        "--accept-licence",
        "--json",
    )
    for there_already in (False, True):
        (row,) = map(json.loads, run(*arguments).stdout.splitlines())
        assert (row["dataset"], row["there_already"]) == ("fss1000", there_already)
        assert row["verification"]["ok"]
        assert row["verification"]["images"] == 20


def test_errors_of_the_data_end_with_3(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("fewshot_data/fewshot_data/broken/1.jpg", b"no picture")
        packed.writestr("fewshot_data/fewshot_data/broken/1.png", b"no picture")
    result = run(
        "fetch", "fss1000", "--data", tmp_path / "data", "--from", archive, "--accept-licence", check=3
    )
    assert "not usable in this state" in result.stdout
    assert "data verify fss1000 --all" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("isaid", "--data", "d"), "unknown data set"),
        (("fss1000",), "--data DIR"),
        (("fss1000", "--data", "mini"), "--data DIR"),
    ],
)
def test_wrong_commands_end_with_2(arguments: tuple[str, ...], words: str) -> None:
    assert words in run("fetch", *arguments, check=2).stderr


def test_status_counts_every_set_and_benchmark(mini: Path) -> None:
    rows = [json.loads(line) for line in run("status", "--data", mini, "--json").stdout.splitlines()]
    sets = {row["dataset"]: row for row in rows if row["kind"] == "data set"}
    assert set(sets) == set(DATASETS.names())
    population = next(p for p in sets["chestxray"]["populations"] if p["variant"] == "lung566")
    assert (population["entries"], population["published_entries"]) == (24, 566)
    assert population["state"] == "sample (24 of 566 entries)"
    ready = {row["benchmark"].partition(":")[0]: row["ready"] for row in rows if row["kind"] == "benchmark"}
    assert set(ready) == set(BENCHMARKS)
    assert all(ready.values())


def test_status_names_what_is_missing_and_the_next_command(archive: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    run("fetch", "fss1000", "--data", data, "--from", archive, "--accept-licence")
    result = run("status", "--data", data, "--hashes")
    table = [line.split("\t") for line in result.stdout.splitlines()]
    assert ["coco", "", "", "", "", "missing", ""] in table
    assert ["pascal-to-deepglobe", "deepglobe", "missing"] in table
    assert f"Next: `fssbench data fetch coco --data {data}`" in result.stderr
    assert "fssbench data fetch splits" in result.stderr
    record = tmp_path / "record"
    written = run("verify", "fss1000", "--data", data, "--record", record).stderr
    (fingerprint,) = [row[-1] for row in table if row[:3] == ["fss1000", "", "all files"]]
    assert fingerprint in written


def test_status_without_a_folder_is_a_sentence() -> None:
    assert "no data folder was given" in run("status", check=3).stderr


def read_status(data: Path) -> tuple[dict[str, dict[str, object]], str]:
    """Return the benchmarks of `data status` by their ids, and what it suggests."""
    rows = [json.loads(line) for line in run("status", "--data", data, "--json").stdout.splitlines()]
    hints = " ".join(hint for row in rows if row["kind"] == "data set" for hint in row["hints"])
    return {row["benchmark"]: row for row in rows if row["kind"] == "benchmark"}, hints


def test_status_refuses_what_run_and_verify_refuse(drawn: Any, tmp_path: Path) -> None:
    """Too few images of a class, and a mask without foreground: both are refused, and `data verify` says so."""
    drawn.draw_suim(tmp_path, 1)
    drawn.draw_fss(tmp_path)
    (one, other) = sorted((tmp_path / "FSS-1000").iterdir())[:2]
    for mask in other.glob("*.png"):
        Image.new("L", Image.open(mask).size).save(mask)
    benchmarks, hints = read_status(tmp_path)
    for name, label in (("pascal5i-to-suim:suim7", "suim:suim7"), ("fss1000", "fss1000")):
        assert (benchmarks[name]["state"], benchmarks[name]["ready"]) == ("refused", False)
        assert f"`fssbench data verify {label}`" in hints
        assert "not usable in this state" in run("verify", label, "--data", tmp_path, check=3).stdout
    assert "fish and vertebrates (1)" in str(benchmarks["pascal5i-to-suim:suim7"]["problem"])
    assert f"{other.name}/1.png" in str(benchmarks["fss1000"]["problem"])
    assert one.name not in str(benchmarks["fss1000"]["problem"])
    shown = run("status", "--data", tmp_path)
    assert "pascal5i-to-suim:suim7\tsuim:suim7\trefused" in shown.stdout
    assert f"`fssbench data verify suim:suim7 --data {tmp_path}`" in shown.stderr


def test_status_names_no_check_that_finds_nothing(drawn: Any, tmp_path: Path) -> None:
    """A missing folder of a variant and missing training images: `data verify` of the data set calls it sound."""
    drawn.draw_isic(tmp_path)
    drawn.draw_fss(tmp_path)
    benchmarks, hints = read_status(tmp_path)
    assert benchmarks["pascal-to-isic2018:isic1"]["ready"]
    assert not benchmarks["pascal-to-isic2018:isic3"]["ready"]
    assert "isic2018:isic3 test: " in hints
    assert "`fssbench data prepare isic2018`" in hints
    assert benchmarks["fss1000"]["ready"]
    assert "fss1000 trn: " in hints
    assert "Only training needs it" in hints
    assert "data verify" not in hints
