"""The store: records, JSON files, run folders, and a model of it under random treatment."""

from __future__ import annotations

import json
import math
import os
import shutil
import stat
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from manifests import make_manifest

from fssbench.api import Episode, Plan
from fssbench.errors import DataError, LockedError
from fssbench.runs.sessions import Session, read_sessions
from fssbench.runs.store import (
    SCHEMA,
    EpisodeRecord,
    find_run_folders,
    read_json,
    read_records,
    read_run,
    write_json,
)
from fssbench.runs.summary import score_run
from fssbench.runs.writer import RunWriter

TOTAL = 12
PLAN = Plan(
    benchmark="made-up",
    version=1,
    dataset="none",
    dataset_variant=None,
    split="test",
    fold=0,
    shot=1,
    protocol="published/1",
    seed=0,
    size=8,
    classes=(3, 5),
    class_names=("a", "b"),
    lists="made up",
    episodes=tuple(Episode(i, (3, 5)[i % 2], f"q{i}", (f"s{i}",)) for i in range(TOTAL)),
)
MANIFEST = make_manifest(episodes_sha256=PLAN.sha256)
counts = st.integers(0, 2**62)
records = st.builds(
    EpisodeRecord,
    st.integers(0, 10**9),
    st.integers(0, 10**6),
    st.tuples(counts, counts),
    st.tuples(counts, counts),
    counts,
)


def record(index: int, value: int = 1) -> EpisodeRecord:
    return EpisodeRecord(index, PLAN[index].class_id, (value, index), (value + 9, index + 5), 4)


@given(records)
def test_record_round_trip_is_exact(given_record):
    line = given_record.line()
    assert line.count(b"\n") == 1
    assert EpisodeRecord.parse(line.rstrip(b"\n")) == given_record
    assert json.loads(line)["inter"] == list(given_record.inter)


@given(records, st.data())
def test_any_changed_byte_of_a_record_is_found(given_record, data):
    line = bytearray(given_record.line()[:-1])
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises((ValueError, KeyError, TypeError)):
        EpisodeRecord.parse(bytes(line))


def test_write_json_is_whole_readable_by_others_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "x.json"
    for value in range(3):
        write_json(path, {"schema": SCHEMA, "value": value, "ä": None})
        assert read_json(path)["value"] == value
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644 & ~mask
    with pytest.raises(ValueError):
        write_json(path, {"schema": SCHEMA, "value": float("nan")})
    assert read_json(path)["value"] == 2
    with pytest.raises(DataError, match=r"bytes cannot be written to .*nowhere"):
        write_json(tmp_path / "nowhere" / "x.json", {})


def test_interrupt_while_writing_json_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, {"schema": 1})
    before = path.read_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"schema": 1, "more": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert path.read_bytes() == before


def test_writer_and_reader(tmp_path):
    path = tmp_path / "runs" / "one"
    with RunWriter(path, MANIFEST, PLAN) as writer:
        assert writer.done == {}
        for i in (0, 1, 5):
            writer.append(record(i))
        writer.record_session(Session(episodes=3, seconds=0.5))
    run = read_run(path)
    assert (run.slug, run.identity, run.absent) == ("one", MANIFEST.identity, "zero")
    assert (run.done, run.planned, run.status) == (3, TOTAL, "incomplete")
    assert run.plan == PLAN
    assert run.records == {i: record(i) for i in (0, 1, 5)}
    assert run.sessions() == [Session(episodes=3, seconds=0.5)]
    with RunWriter(path, MANIFEST, PLAN) as writer:
        assert set(writer.done) == {0, 1, 5}
        for i in set(range(TOTAL)) - {0, 1, 5}:
            writer.append(record(i))
    assert read_run(path).status == "complete"
    assert sorted(p.name for p in path.iterdir() if p.name != ".lock") == [
        "checksums.json",
        "episodes.jsonl",
        "manifest.json",
        "plan.json",
        "sessions.jsonl",
    ]


def test_manifest_is_written_once(tmp_path):
    with RunWriter(tmp_path / "r", MANIFEST, PLAN):
        pass
    before = (tmp_path / "r" / "manifest.json").read_bytes()
    with RunWriter(
        tmp_path / "r", MANIFEST.changed(context=MANIFEST.context.changed(marks=("later",))), PLAN
    ):
        pass
    assert (tmp_path / "r" / "manifest.json").read_bytes() == before


def test_a_pipe_in_place_of_the_owners_file_is_named_at_once_and_frees_the_lock(tmp_path):
    with RunWriter(tmp_path / "r", MANIFEST, PLAN):
        pass
    owner = tmp_path / "r" / ".owner.json"
    os.mkfifo(owner)
    with pytest.raises(DataError, match="pipe"), RunWriter(tmp_path / "r", MANIFEST, PLAN):
        pass
    owner.unlink()
    with RunWriter(tmp_path / "r", MANIFEST, PLAN):
        pass


def test_second_writer_of_one_process_is_refused_and_the_first_goes_on(tmp_path):
    with RunWriter(tmp_path / "r", MANIFEST, PLAN) as first:
        with (
            pytest.raises(LockedError, match=f"process {os.getpid()}"),
            RunWriter(tmp_path / "r", MANIFEST, PLAN),
        ):
            pass
        first.append(record(0))
    with RunWriter(tmp_path / "r", MANIFEST, PLAN) as second:
        assert set(second.done) == {0}


def test_writer_that_cannot_open_gives_the_lock_back(tmp_path):
    with RunWriter(tmp_path / "r", MANIFEST, PLAN):
        pass
    (tmp_path / "r" / "episodes.jsonl").write_bytes(b"junk\n")
    for _ in range(2):
        with pytest.raises(DataError, match="line 1"), RunWriter(tmp_path / "r", MANIFEST, PLAN):
            pass
    (tmp_path / "r" / "episodes.jsonl").unlink()
    with RunWriter(tmp_path / "r", MANIFEST, PLAN) as writer:
        assert writer.done == {}


def test_litter_of_a_killed_writer_is_swept(tmp_path):
    (tmp_path / "r").mkdir()
    for name in (".summary.json.77.partial", ".plan.json.77.partial"):
        (tmp_path / "r" / name).write_text("half")
    with RunWriter(tmp_path / "r", MANIFEST, PLAN):
        pass
    assert not list((tmp_path / "r").glob(".*.partial"))


def test_shard_wants_its_own_episodes_only(tmp_path):
    manifest = make_manifest(episodes_sha256=PLAN.sha256, shard=(2, 3))
    with RunWriter(tmp_path / "r", manifest, PLAN) as writer:
        for i in range(4, 8):
            writer.append(record(i))
    run = read_run(tmp_path / "r")
    assert (run.wanted, run.status) == (range(4, 8), "complete")
    with (tmp_path / "r" / "episodes.jsonl").open("ab") as file:
        file.write(record(0).line())
    with pytest.raises(DataError, match=r"holds episode 0, but its 4 episodes are 4 to 7"):
        read_run(tmp_path / "r")


def test_scan_finds_runs_in_order(tmp_path):
    for name in ("b", "a", "c"):
        with RunWriter(tmp_path / "runs" / name, MANIFEST, PLAN):
            pass
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "file.txt").write_text("")
    assert [p.name for p in find_run_folders(tmp_path / "runs")] == ["a", "b", "c"]
    assert list(find_run_folders(tmp_path / "runs" / "b")) == [tmp_path / "runs" / "b"]
    assert list(find_run_folders(tmp_path / "nowhere")) == []


def test_damaged_sessions_cost_only_their_times(tmp_path):
    wrong = b'{"episodes": "many", "seconds": 2}'
    lines = [
        b'{"episodes": 1, "seconds": 2}',
        b"{torn",
        b"[]",
        b"7",
        b'{"episodes": 1}',
        wrong,
        b"\xff\xfe",
        b"",
    ]
    (tmp_path / "sessions.jsonl").write_bytes(b"\n".join([*lines, lines[0]]) + b"\n")
    assert read_sessions(tmp_path) == [Session(episodes=1, seconds=2)] * 2
    assert read_sessions(tmp_path / "nowhere") == []


def test_a_session_keeps_its_line_and_what_other_versions_wrote(tmp_path):
    line = b'{"command": "a1", "episodes": 4, "peak_mb": 812.5, "prediction_seconds": 0.25, "seconds": 0.5}\n'
    (tmp_path / "sessions.jsonl").write_bytes(line)
    (session,) = read_sessions(tmp_path)
    assert (session.command, session.prediction_seconds) == ("a1", 0.25)
    assert session.as_line() == line
    assert session.changed(shard="part").as_line() == line.replace(b"}", b', "shard": "part"}')


def test_many_records_are_read_fast_enough(tmp_path):
    import time

    log = tmp_path / "episodes.jsonl"
    log.write_bytes(
        b"".join(EpisodeRecord(i, 3, (160_000, i), (160_000, i), 9).line() for i in range(25_000))
    )
    assert log.stat().st_size < 25e6 / 4
    started = time.process_time()
    assert len(read_records(log)[0]) == 25_000
    assert time.process_time() - started < 5 / 4  # 5 s per 100,000


class Store(RuleBasedStateMachine):
    """A run folder under random treatment, against a dictionary; nightly, test_store_machine.py does so at length."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "run"
        self.model: dict[int, EpisodeRecord] = {}
        self.writer: RunWriter | None = None

    def teardown(self) -> None:
        self.close()
        shutil.rmtree(self.folder)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.__exit__(None, None, None)
            self.writer = None

    @property
    def log(self) -> Path:
        return self.path / "episodes.jsonl"

    @precondition(lambda self: self.writer is None)
    @rule()
    def resume(self) -> None:
        self.writer = RunWriter(self.path, MANIFEST, PLAN).__enter__()
        assert self.writer.done == self.model

    @precondition(lambda self: self.writer is not None)
    @rule(index=st.integers(0, TOTAL - 1), value=st.integers(0, 99))
    def append(self, index: int, value: int) -> None:
        assert self.writer is not None
        if index not in self.writer.done:
            self.writer.append(record(index, value))
            self.model[index] = record(index, value)

    @precondition(lambda self: self.writer is not None)
    @rule()
    def finish(self) -> None:
        self.close()

    @precondition(lambda self: self.log.is_file())
    @rule(cut=st.integers(0, 150))
    def kill_in_the_middle_of_a_write(self, cut: int) -> None:
        self.close()
        data = self.log.read_bytes()
        kept = data[: max(0, len(data) - cut)]
        self.log.write_bytes(kept)
        whole = [EpisodeRecord.parse(line) for line in kept.split(b"\n")[:-1]]
        self.model = {r.index: r for r in whole}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.writer = RunWriter(self.path, MANIFEST, PLAN).__enter__()
        assert self.writer.done == self.model

    @precondition(lambda self: self.writer is not None and bool(self.model))
    @rule(data=st.data())
    def duplicate(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.model)))
        with self.log.open("ab") as file:
            file.write(self.model[index].line())

    @precondition(lambda self: bool(self.model))
    @rule(data=st.data())
    def contradict(self, data: st.DataObject) -> None:
        self.close()
        before = self.log.read_bytes()
        index = data.draw(st.sampled_from(sorted(self.model)))
        known = self.model[index]
        with self.log.open("ab") as file:
            file.write(replace(known, target=known.target + 1).line())
        with pytest.raises(DataError, match="stored twice"):
            read_run(self.path)
        self.log.write_bytes(before)

    @precondition(lambda self: self.log.is_file())
    @rule()
    def rescore(self) -> None:
        run = read_run(self.path)
        got = score_run(run)
        for class_id in PLAN.classes:
            mine = [r for r in self.model.values() if r.class_id == class_id]
            union = sum(r.union[1] for r in mine)
            iou = 100 * sum(r.inter[1] for r in mine) / max(union, 1)
            met = bool(mine) or run.whole
            assert got.per_class[class_id] == pytest.approx(iou if met else math.nan, abs=1e-9, nan_ok=True)
            assert (class_id in got.unmet) is not met
        assert got.episodes == len(self.model)

    @invariant()
    def everything_appended_is_on_disk(self) -> None:
        if self.log.is_file():
            assert read_records(self.log)[0] == self.model


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
