"""Shards joined equal the unsharded run to the bit; whatever is lacking is named."""

from __future__ import annotations

import itertools
import random
import shutil

import pytest
from messages import error_names

from fssbench.errors import DataError
from fssbench.runs.merge import merge
from fssbench.runs.store import EpisodeRecord, compute_shard_range, read_run


@pytest.mark.parametrize("total", [1, 7, 20, 1000])
def test_shard_ranges_partition_the_plan(total):
    for parts in range(1, min(total, 30) + 1):
        ranges = [compute_shard_range(total, part, parts) for part in range(1, parts + 1)]
        assert list(itertools.chain(*ranges)) == list(range(total))
        assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_merged_equals_unsharded_in_any_order(null, parts):
    plan = null.plan(20)
    (whole,) = null.run("whole", plan)
    order = list(range(1, parts + 1))
    random.Random(parts).shuffle(order)
    paths = [null.run("shards", plan, shard=(part, parts))[0].path for part in order]
    assert len({read_run(p).identity for p in [*paths, whole.path]}) == parts + 1
    for turn, given in enumerate([paths, paths[::-1], [null.folder / "shards"]]):
        (path,) = merge(given, null.folder / f"merged{turn}")
        assert path.name == whole.path.name
        assert null.read_results(path) == null.read_results(whole.path)
        assert read_run(path).identity == whole.identity
    assert (path / "panels.jsonl").read_bytes() == (whole.path / "panels.jsonl").read_bytes()
    assert sum(s.episodes for s in read_run(path).sessions()) == 20


def test_merging_again_changes_no_byte(null):
    plan = null.plan(9)
    for part in (1, 2):
        null.run("shards", plan, shard=(part, 2))
    (path,) = merge([null.folder / "shards"], null.folder / "out")
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    assert merge([null.folder / "shards"], null.folder / "out") == [path]
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_merged_run_is_complete_for_the_run_command(null):
    plan = null.plan(6)
    for part in (1, 2):
        null.run("runs", plan, shard=(part, 2))
    merge([null.folder / "runs"], null.folder / "runs")
    (again,) = null.run("runs", plan)
    assert again.computed == 0


def test_merge_goes_on_with_an_unsharded_run_that_was_begun(null):
    plan = null.plan(8)
    (whole,) = null.run("whole", plan)
    begun = null.folder / "out" / whole.path.name
    shutil.copytree(whole.path, begun)
    log = (begun / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (begun / "episodes.jsonl").write_bytes(b"".join(log[:3]))
    for part in (1, 2):
        null.run("shards", plan, shard=(part, 2))
    (path,) = merge([null.folder / "shards"], null.folder / "out")
    assert null.read_results(path) == null.read_results(whole.path)


def test_more_shards_than_episodes(null):
    plan = null.plan(2)
    (whole,) = null.run("whole", plan)
    for part in range(1, 4):
        null.run("shards", plan, shard=(part, 3))
    (path,) = merge([null.folder / "shards"], null.folder / "out")
    assert null.read_results(path) == null.read_results(whole.path)


def test_missing_shards_are_named(null):
    plan = null.plan(9)
    null.run("shards", plan, shard=(2, 4))
    with pytest.raises(DataError, match="shards 1/4, 3/4, 4/4 of .* are missing"):
        merge([null.folder / "shards"], null.folder / "out")
    assert not (null.folder / "out").exists()


def test_a_number_of_shards_beyond_any_memory_is_counted_and_not_listed(null):
    null.run("shards", null.plan(9), shard=(2, 10**20))
    with pytest.raises(DataError) as refused:
        merge([null.folder / "shards"], null.folder / "out")
    assert error_names(refused.value, f"1/{10**20}, 3/{10**20}", f"and {10**20 - 101} more")
    assert len(str(refused.value)) < 5000


def test_incomplete_shard_is_named_with_its_episode(null):
    plan = null.plan(8)
    paths = [null.run("shards", plan, shard=(part, 2))[0].path for part in (1, 2)]
    log = paths[1] / "episodes.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:1] + lines[2:]))
    with pytest.raises(DataError, match=r"shard2of2.* lacks 1 of its 4 episodes \(the first is 5\)"):
        merge(paths, null.folder / "out")
    assert not (null.folder / "out").exists()


def test_shards_of_different_cuts_do_not_mix(null):
    plan = null.plan(6)
    null.run("shards", plan, shard=(1, 2))
    null.run("shards", plan, shard=(2, 3))
    with pytest.raises(DataError, match="are missing"):
        merge([null.folder / "shards"], null.folder / "out")


def test_a_set_that_lacks_a_shard_keeps_no_other_from_being_joined(null):
    for episodes, parts in ((6, (1, 2)), (8, (2,)), (10, (1, 2))):
        for part in parts:
            null.run("shards", null.plan(episodes), shard=(part, 2))
    with pytest.raises(DataError) as raised:
        merge(null.folder / "shards", out=null.folder / "out")
    assert error_names(str(raised.value), "shards 1/2 of", "are missing", "2 complete runs were joined")
    assert sorted(read_run(path).done for path in (null.folder / "out").iterdir()) == [6, 10]


def test_shards_of_two_methods_make_two_runs(null):
    plan = null.plan(6)
    methods = null.make_broken("a"), null.make_broken("b")
    whole = null.run("whole", plan, *methods)
    for part in (1, 2):
        null.run("shards", plan, *methods, shard=(part, 2))
    paths = merge([null.folder / "shards"], null.folder / "out")
    assert {p.name: null.read_results(p) for p in paths} == {
        w.path.name: null.read_results(w.path) for w in whole
    }


def test_shards_that_disagree_with_what_is_there(null):
    plan = null.plan(4)
    paths = [null.run("shards", plan, shard=(part, 2))[0].path for part in (1, 2)]
    (path,) = merge(paths, null.folder / "out")
    old = read_run(path).records
    log = path / "episodes.jsonl"
    changed = EpisodeRecord(0, old[0].class_id, (1, 1), (2, 2), 1)
    log.write_bytes(b"".join((changed if i == 0 else old[i]).line() for i in range(4)))
    with pytest.raises(DataError, match="episode 0 has other counts"):
        merge(paths, null.folder / "out")


def test_nothing_to_merge(null):
    null.run("runs", null.plan(2))
    for where in ("runs", "nowhere"):
        with pytest.raises(DataError, match="no shards in"):
            merge([null.folder / where], null.folder / "out")


def test_damaged_shard_is_refused(null):
    plan = null.plan(4)
    paths = [null.run("shards", plan, shard=(part, 2))[0].path for part in (1, 2)]
    (paths[0] / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"manifest\.json cannot be read"):
        merge(paths, null.folder / "out")
