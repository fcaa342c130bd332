"""Equal runs are said to be equal; nothing is tested for significance there."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from fssbench.cli import main
from fssbench.runs.equality import find_equal
from fssbench.runs.store import read_records


def compare(*folders, options=()):
    return CliRunner().invoke(main, ["compare", *map(str, folders), *options])


@pytest.fixture
def whole(null):
    (run,) = null.run("runs", null.plan(9), panels=0)
    return run.path


def test_run_and_its_copy_are_one_measurement(null, whole):
    copy = shutil.copytree(whole, null.folder / "elsewhere" / whole.name)
    for folders in ((whole, copy), (whole.parent, copy.parent)):
        result = compare(*folders)
        assert result.exit_code == 0, result.output
        assert "are equal: they have the same identity" in result.stdout
        assert "significant" not in result.output
    (line,) = map(json.loads, compare(whole, copy, options=["--json"]).stdout.splitlines())
    assert (line["kind"], line["equal"], line["episodes"]) == ("equal", "one_measurement", 9)


def test_equal_counts_of_another_identity_are_said_with_what_differs(null, whole):
    (other,) = null.run("other", null.plan(9), null.method(bias=1e-9), panels=0)
    result = compare(whole, other.path)
    assert result.exit_code == 0, result.output
    assert "equal counts in all 9 episodes" in result.stdout
    assert "(config)" in result.stdout


def test_other_counts_are_not_equal(null, whole):
    (other,) = null.run("other", null.plan(9), null.method(bias=0.9), panels=0)
    assert read_records(whole / "episodes.jsonl") != read_records(other.path / "episodes.jsonl")
    assert find_equal([whole, other.path]) == []


def test_part_of_a_run_is_not_equal_to_the_whole(null, whole):
    part = shutil.copytree(whole, null.folder / "part" / whole.name)
    log = part / "episodes.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:5]))
    assert find_equal([whole, part]) == []


def test_one_identity_with_other_counts_is_an_error(null, whole):
    (other,) = null.run("other", null.plan(9), null.method(bias=0.9), panels=0)
    forged = shutil.copytree(whole, null.folder / "forged" / whole.name)
    shutil.copy(other.path / "episodes.jsonl", forged / "episodes.jsonl")
    result = compare(whole, forged)
    assert result.exit_code == 3
    assert "9 of 9 episodes" in result.stderr
    assert "fssbench verify" in result.stderr
