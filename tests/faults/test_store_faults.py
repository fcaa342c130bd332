"""Damaged logs, full disks, failing system calls: refused by name or recovered, never skipped."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import zlib

import pytest
from kills import file_size_limit
from messages import error_names
from null_harness import NullHarness

from fssbench.errors import DataError
from fssbench.runs.store import EpisodeRecord, read_records, read_run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A complete null run of 20 episodes; read-only by agreement."""
    null = NullHarness(tmp_path_factory.mktemp("undisturbed"))
    (done,) = null.run("whole", null.plan(20))
    return done.path


@pytest.fixture
def whole(null, undisturbed):
    """A copy of that run, and the plan behind it."""
    return null.plan(20), shutil.copytree(undisturbed, null.folder / "whole" / undisturbed.name)


def test_log_cut_at_each_of_its_last_400_bytes(whole, tmp_path):
    _, path = whole
    data = (path / "episodes.jsonl").read_bytes()
    every, length = read_records(path / "episodes.jsonl")
    assert length == len(data) > 400
    log = tmp_path / "cut.jsonl"
    for cut in range(1, 401):
        kept = data[: len(data) - cut]
        log.write_bytes(kept)
        lines = kept.count(b"\n")
        if kept.endswith(b"\n"):
            result, good = read_records(log)
        else:
            with pytest.warns(UserWarning, match="the last record of .* is incomplete") as said:
                result, good = read_records(log)
            assert len(said) == 1
        assert result == {i: every[i] for i in range(lines)}
        assert good == kept.rfind(b"\n") + 1


def test_run_with_a_torn_log_is_completed(null, whole):
    plan, path = whole
    data = (path / "episodes.jsonl").read_bytes()
    before = null.read_results(path)
    for cut in (1, 40, 95, 200):
        (path / "episodes.jsonl").write_bytes(data[:-cut])
        if data[:-cut].endswith(b"\n"):
            null.run("whole", plan)
        else:
            with pytest.warns(UserWarning, match="is incomplete"):
                null.run("whole", plan)
        assert null.read_results(path) == before


def test_flipped_bytes_are_refused_with_their_line(whole, tmp_path):
    _, path = whole
    data = (path / "episodes.jsonl").read_bytes()
    ends = len(data) - len(data.splitlines(keepends=True)[-1])
    log = tmp_path / "flipped.jsonl"
    rng = random.Random(0)
    for _ in range(200):
        at = rng.randrange(ends)
        changed = bytearray(data)
        changed[at] ^= 1 << rng.randrange(8)
        log.write_bytes(changed)
        line = data[:at].count(b"\n") + 1
        with pytest.raises(DataError, match=rf"flipped.jsonl, line {line} is damaged"):
            read_records(log)


def test_run_over_a_damaged_log_is_refused_and_leaves_it_alone(null, whole):
    plan, path = whole
    log = path / "episodes.jsonl"
    changed = bytearray(log.read_bytes())
    changed[100] ^= 4
    log.write_bytes(changed)
    with pytest.raises(DataError, match="line 2 is damaged"):
        null.run("whole", plan)
    assert log.read_bytes() == changed


def test_record_stored_twice(whole):
    _, path = whole
    log = path / "episodes.jsonl"
    every, _ = read_records(log)
    with log.open("ab") as file:
        file.write(every[17].line())
    assert read_records(log)[0] == every
    assert read_run(path).done == 20
    other = EpisodeRecord(17, every[17].class_id, (0, 0), every[17].union, every[17].target)
    with log.open("ab") as file:
        file.write(other.line())
    with pytest.raises(DataError, match="line 22: episode 17 is stored twice"):
        read_records(log)


@pytest.mark.parametrize("index", [20, -1, 10**9])
def test_episode_outside_the_plan(null, whole, index):
    plan, path = whole
    with (path / "episodes.jsonl").open("ab") as file:
        file.write(EpisodeRecord(index, 0, (1, 1), (2, 2), 1).line())
    with pytest.raises(DataError, match=f"holds episode {index}, but its 20 episodes are 0 to 19"):
        read_run(path)
    with pytest.raises(DataError, match=f"holds episode {index}"):
        null.run("whole", plan)


def test_episode_of_another_class(null, whole):
    plan, path = whole
    log = path / "episodes.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(
        b"".join(lines[:-1]) + EpisodeRecord(19, (plan[19].class_id + 1) % 3, (1, 1), (2, 2), 1).line()
    )
    with pytest.raises(DataError, match="episode 19 with class"):
        null.run("whole", plan)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "cannot be read"),
        ("[]", "no schema"),
        ("{}", "no schema"),
        ('{"schema": "1"}', "no schema"),
        (
            '{"schema": 2, "identity": "x"}',
            "has schema 2, but this version of fssbench reads schemas up to 1",
        ),
        ('{"schema": 1}', "identity: Field required"),
        ("[" * 100_000, "cannot be read"),
        ("\x00\xff", "cannot be read"),
    ],
)
def test_damaged_manifest(whole, text, said):
    _, path = whole
    (path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=said) as error:
        read_run(path)
    assert str(path) in str(error.value)


def test_missing_manifest_and_missing_plan(null, whole):
    plan, path = whole
    results = null.read_results(path)
    (path / "plan.json").unlink()
    with pytest.raises(DataError, match=r"plan.json"):
        read_run(path)
    null.run("whole", plan)
    assert null.read_results(path) == results
    (path / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"manifest.json is missing"):
        read_run(path)
    null.run("whole", plan)
    assert null.read_results(path) == results


def test_plan_of_another_run(null, whole):
    _, path = whole
    (other,) = null.run("other", null.plan(10))
    shutil.copy(other.path / "plan.json", path / "plan.json")
    with pytest.raises(DataError, match=r"is not the plan that manifest.json names"):
        read_run(path)


def test_manifest_of_another_identity_in_the_folder(null, whole):
    plan, path = whole
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["identity"] = "0" * 64
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="000000000000"):
        null.run("whole", plan)


def limited(null, size: int, plan):
    def work() -> None:
        with file_size_limit(size):
            null.run("full", plan, panels=0)

    child = null.fork(work)
    return child.wait(), child.message


@pytest.mark.parametrize("sizes", [6, pytest.param(22, marks=pytest.mark.nightly)])
def test_disk_full_at_many_sizes(null, sizes):
    plan = null.plan(60)
    (done,) = null.run("undisturbed", plan, panels=0)
    names = ("plan.json", "manifest.json", "episodes.jsonl")
    largest = max((done.path / name).stat().st_size for name in names)
    stored = 0
    for size in [0, 1, 50, *range(largest // sizes, largest, largest // sizes), largest - 1]:
        code, message = limited(null, size, plan)
        assert code == DataError.exit_code, (size, message)
        assert re.search(r"cannot be (written|locked)", message)
        assert error_names(message, null.folder / "full", "Next:")
        log = null.folder / "full" / done.path.name / "episodes.jsonl"
        if log.is_file():
            kept = log.read_bytes()
            assert (done.path / "episodes.jsonl").read_bytes().startswith(kept), "previous data changed"
            assert kept.endswith(b"\n") or not kept
            assert len(kept) <= size
            assert "bytes cannot be written to" in message
            stored = max(stored, kept.count(b"\n"))
    assert 0 < stored < 60
    assert limited(null, largest, plan)[0] == 0
    assert null.read_results(null.find_run("full")) == null.read_results(done.path)


@pytest.mark.nightly
def test_a_full_file_system(null):
    """A real one: a tmpfs of one mebibyte, which needs root and the right to mount."""
    place = null.folder / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount a file system")
    try:
        plan = null.plan(60)
        (done,) = null.run("undisturbed", plan, panels=0)
        filler = place / "filler"
        filler.write_bytes(bytes((1 << 20) - (24 << 10)))
        codes = []
        for _ in range(24):  # a page less each time
            child = null.fork(lambda: null.run(place / "runs", plan, panels=0))
            codes.append(child.wait())
            if codes[-1] == 0:
                break
            assert codes[-1] == DataError.exit_code, child.message
            assert error_names(child.message, place / "runs", "Next:")
            filler.write_bytes(bytes(max(0, filler.stat().st_size - 4096)))
        assert len(codes) > 1
        assert codes[-1] == 0
        assert null.read_results(null.find_run(place / "runs")) == null.read_results(done.path)
    finally:
        subprocess.run(["umount", str(place)], check=True)


CALLS = ("write", "replace", "fsync", "open", "ftruncate")


def tries_the_file_system(path, flags: int, *_) -> bool:
    """Whether filelock (from 4.3 on) finds out what the file system can; it goes on if this fails."""
    return flags & os.O_TMPFILE == os.O_TMPFILE or ".filelock-probe-" in str(path)


def failing(patch, name: str, at: int, *, always: bool) -> list[int]:
    """`os.<name>` raises EIO at its `at`-th call, or from there on; returns the count of calls."""
    original, seen = getattr(os, name), [0]

    def call(*arguments, **options):
        if name == "open" and tries_the_file_system(*arguments):
            return original(*arguments, **options)
        seen[0] += 1
        if seen[0] == at or (always and seen[0] > at):
            raise OSError(5, "Input/output error")
        return original(*arguments, **options)

    patch.setattr(os, name, call)
    return seen


@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore:the last record")
def test_input_output_errors_at_every_call(null, name, always):
    plan, method = null.plan(2), null.method()
    (whole,) = null.run("whole", plan, method, panels=0)
    at = 0
    while True:
        at += 1
        out = null.folder / f"io{at}"
        with pytest.MonkeyPatch.context() as patch:
            seen = failing(patch, name, at, always=always)
            said = None
            try:
                null.run(out, plan, method, panels=0)
            except DataError as error:
                said = str(error)
        if said is None:
            assert seen[0] < at, f"the {at}-th {name} failed and nobody said so"
        else:
            assert str(out) in said
        (again,) = null.run(out, plan, method, panels=0)
        assert null.read_results(again.path) == null.read_results(whole.path)
        if seen[0] < at:
            break
    assert at > 1


def test_short_write_is_finished_or_taken_back(null, monkeypatch):
    plan, method = null.plan(3), null.method()
    (whole,) = null.run("whole", plan, method)
    original = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: original(handle, data[: max(1, len(data) // 2)]))
    with pytest.raises(DataError, match=r"only \d+ of \d+ bytes were written"):
        null.run("short", plan, method)
    halved = []

    def once(handle, data):
        if not halved:
            halved.append(1)
            return original(handle, data[:10])
        return original(handle, data)

    monkeypatch.setattr(os, "write", once)
    (again,) = null.run("slow", plan, method)
    assert null.read_results(again.path) == null.read_results(whole.path)


def test_record_line_round_trip_and_checksum():
    record = EpisodeRecord(7, 2, (2**40, 5), (2**41, 9), 6)
    line = record.line()
    assert line.endswith(b"}\n")
    assert EpisodeRecord.parse(line[:-1]) == record
    body = line[: line.rindex(b',"crc"')]
    assert json.loads(line)["crc"] == f"{zlib.crc32(body):08x}"
    for bad in (b"", b"{}", line[:-1] + b" ", line[1:-1], b'{"i":1,"crc":"00000000"}'):
        with pytest.raises(ValueError):
            EpisodeRecord.parse(bad)
