"""`fssbench merge`: joined runs on standard output, exit codes."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from messages import error_names

from fssbench.cli import main


def merge(*arguments: object):
    return CliRunner().invoke(main, ["merge", *map(str, arguments)])


def test_shards_become_one_run(null):
    plan = null.plan(7)
    (whole,) = null.run("whole", plan)
    for part in (3, 1, 2):
        null.run("shards", plan, shard=(part, 3))
    result = merge(null.folder / "shards", "-o", null.folder / "out", "--json")
    assert result.exit_code == 0, result.stderr
    (row,) = null.parse_json_lines(result.stdout)
    assert null.read_results(Path(row["run"])) == null.read_results(whole.path)
    again = merge(null.folder / "shards", "-o", null.folder / "out")
    assert again.stdout == f"The shards were joined in {row['run']}\n"


def test_missing_shard_ends_in_three(null):
    null.run("shards", null.plan(7), shard=(1, 3))
    result = merge(null.folder / "shards", "-o", null.folder / "out")
    assert result.exit_code == 3
    assert error_names(result.stderr, "shards 2/3, 3/3", "are missing", "Next:")
    assert not (null.folder / "out").exists()


def test_nothing_given_and_nothing_found(null):
    assert merge().exit_code == 2
    result = merge(null.folder / "none")
    assert result.exit_code == 3
    assert "Next: `fssbench run --shard" in result.stderr


def test_target_that_cannot_be_written(null):
    plan = null.plan(4)
    for part in (1, 2):
        null.run("shards", plan, shard=(part, 2))
    (null.folder / "file").write_text("")
    result = merge(null.folder / "shards", "-o", null.folder / "file")
    assert result.exit_code == 3
    assert "cannot be made" in result.stderr
