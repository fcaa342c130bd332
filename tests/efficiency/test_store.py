"""Stored measurements: round trip, replacement, damage, full disks, and how a report finds them."""

from __future__ import annotations

import json
import resource
import shutil
import signal

import pytest
from measurements import TIMING, make_measurement

from fssbench.analysis.collect import collect
from fssbench.efficiency.store import FOLDER, read, read_all, save
from fssbench.errors import DataError


def test_round_trip_is_exact(tmp_path):
    shaky = TIMING.model_copy(update={"unstable": ("noise",)})
    given = make_measurement(head=shaky, memory_mb=None)
    path = save(given, tmp_path / "runs")
    assert path.parent == tmp_path / "runs" / FOLDER
    assert read(path) == given
    assert given.unstable == ("head alone: noise",)
    assert given.flops == 2**60


def test_same_thing_again_replaces_and_another_does_not(tmp_path):
    save(make_measurement(), tmp_path)
    save(make_measurement(memory_mb=2.0), tmp_path)
    save(make_measurement(identity="b" * 64), tmp_path)
    result, notes = read_all([tmp_path])
    assert [e.memory_mb for e in result] == [2.0, 1.25]
    assert notes == []
    assert not list((tmp_path / FOLDER).glob(".*"))


@pytest.mark.parametrize("name", ["../../up", "a/b", "日本", "n" * 300, "-x", "CON"])
def test_any_name_makes_a_plain_file(tmp_path, name):
    path = save(make_measurement(method=name, backbone=name), tmp_path)
    assert path.parent == tmp_path / FOLDER
    assert path.name.isascii()
    assert len(path.name) < 140
    assert read(path).method == name


def test_latest_of_two_copies_counts_once(tmp_path):
    save(make_measurement(), tmp_path / "a")
    save(make_measurement(memory_mb=9.0, created_utc="2026-02-01T00:00:00+00:00"), tmp_path / "b")
    for order in (["a", "b"], ["b", "a"], ["a", "b", "a"]):
        result, _ = read_all([tmp_path / name for name in order])
        assert [e.memory_mb for e in result] == [9.0]


DAMAGE = {
    "cut": (lambda text: text[:100], "cannot be read"),
    "empty": (lambda text: "", "cannot be read"),
    "no object": (lambda text: "[]", "not a file of fssbench"),
    "newer": (lambda text: text.replace('"schema": 1', '"schema": 99'), "schema 99.*pip install -U fssbench"),
    "field missing": (lambda text: text.replace('"threads"', '"thread"'), "not a measurement"),
    "wrong type": (lambda text: text.replace('"shot": 1', '"shot": "many"'), "not a measurement.*shot"),
    "not a number": (lambda text: text.replace("12.5", "NaN"), "not a measurement.*median"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_bad_files_are_named_and_stop_nothing(tmp_path, kind):
    change, said = DAMAGE[kind]
    bad = save(make_measurement(), tmp_path)
    bad.write_text(change(bad.read_text()))
    good = save(make_measurement(identity="b" * 64), tmp_path)
    with pytest.raises(DataError, match=f"(?s){said}"):
        read(bad)
    result, notes = read_all([tmp_path])
    assert result == (read(good),)
    assert len(notes) == 1
    assert str(bad) in notes[0]


def test_disk_full_leaves_the_old_measurement(null):
    out = null.folder / "runs"
    path = save(make_measurement(), out)
    before, length = path.read_bytes(), path.stat().st_size

    def attempt(limit: int) -> int:
        def work() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                save(make_measurement(memory_mb=7.25), out)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        child = null.fork(work)
        code = child.wait()
        assert code == 0 or (
            code == DataError.exit_code and f"bytes cannot be written to {path}" in child.message
        )
        return code

    for limit in (0, 1, length // 2, length - 1):
        assert attempt(limit) != 0
        assert path.read_bytes() == before
        assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert attempt(length) == 0
    assert read(path).memory_mb == 7.25


def test_kill_while_writing_leaves_the_old_or_the_new(null):
    import os

    out = null.folder / "runs"
    path = save(make_measurement(), out)

    def work() -> None:
        real = os.write

        def half(handle: int, data: bytes) -> int:
            real(handle, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

        os.write = half
        save(make_measurement(memory_mb=7.25), out)

    assert null.fork(work).wait() == -signal.SIGKILL
    assert read(path).memory_mb == 1.25
    result, notes = read_all([out])
    assert (len(result), notes) == (1, [])  # the partial file is no measurement
    save(make_measurement(memory_mb=8.0), out)
    assert read(path).memory_mb == 8.0


def test_table_model_carries_what_lies_beside_the_runs(null):
    (run,) = null.run("runs", null.plan(3))
    assert collect([null.folder / "runs"]).efficiency == ()
    save(make_measurement(), null.folder / "runs")
    (null.folder / "runs" / FOLDER / "odd.json").write_text(json.dumps({"schema": 1}))
    for paths in ([null.folder / "runs"], [run.path], [run.path, null.folder / "runs"]):
        results = collect(paths)
        assert results.efficiency == (make_measurement(),)
        assert sum("odd.json" in note for note in results.notes) == 1
        assert len(results.runs) == 1
    # a folder called `bench` beside the folder of runs is somebody else's
    shutil.move(null.folder / "runs" / FOLDER, null.folder / FOLDER)
    assert collect([null.folder / "runs"]).efficiency == ()
