"""Runs that git or an editor gave other line ends: read, scored, resumed and joined as if nothing had happened."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from null_harness import NullHarness

from fssbench.errors import DataError
from fssbench.files.append_log import seal, split_log, unseal
from fssbench.runs.merge import merge
from fssbench.runs.pictures import FILE, read_panels
from fssbench.runs.store import read_records, read_run

TEXTS = ("episodes.jsonl", "sessions.jsonl", "manifest.json", "plan.json", "summary.json", FILE)


def convert(run: Path, change: Any) -> None:
    for name in TEXTS:
        path = run / name
        if path.is_file():
            path.write_bytes(change(path.read_bytes()))


CHANGES = {
    "CR LF": lambda data: data.replace(b"\n", b"\r\n"),
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "both": lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"),
    "blank lines": lambda data: data.replace(b"\n", b"\n\r\n") + b"\n \n",
}
changed = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 10 episodes; read-only by agreement."""
    null = NullHarness(tmp_path_factory.mktemp("whole"))
    return null.run("whole", null.plan(10))[0].path


@pytest.fixture
def copied(null: Any, whole: Path) -> Path:
    """A copy of that run, which a test may change."""
    return shutil.copytree(whole, null.folder / "runs" / whole.name)


@changed
def test_a_complete_run_is_read_and_stays_complete(null: Any, copied: Path, change: Any) -> None:
    before = read_run(copied)
    pictures = [panel.pictures() for panel in read_panels(before)]
    convert(copied, change)
    after = read_run(copied)
    assert (after.records, after.plan, after.status) == (before.records, before.plan, "complete")
    assert len(after.sessions()) == len(before.sessions()) == 1
    for one, other in zip(pictures, [panel.pictures() for panel in read_panels(after)], strict=True):
        assert np.array_equal(np.asarray(one.query), np.asarray(other.query))
        assert np.array_equal(one.prediction, other.prediction)
    log = (copied / "episodes.jsonl").read_bytes()
    (again,) = null.run("runs", null.plan(10))
    assert again.path == copied
    assert (copied / "episodes.jsonl").read_bytes() == log, "nothing is computed or written anew"


@changed
@pytest.mark.parametrize("torn", [0, 1, 30])
def test_a_part_of_a_run_is_completed(null: Any, whole: Path, copied: Path, change: Any, torn: int) -> None:
    plan = null.plan(10)
    log = copied / "episodes.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:7]))
    convert(copied, change)
    kept = log.read_bytes()
    log.write_bytes(kept + change(lines[7]).strip(b"\xef\xbb\xbf\r\n ")[:torn])
    if torn:
        with pytest.warns(UserWarning, match="is incomplete"):
            (again,) = null.run("runs", plan)
    else:
        (again,) = null.run("runs", plan)
    assert null.read_results(again.path)[0] == null.read_results(whole)[0], "the summary"
    assert log.read_bytes().startswith(kept), "what was stored is left as it is"
    assert read_run(copied).records == read_run(whole).records
    assert len(read_run(copied).sessions()) == 2


def test_every_wrong_byte_of_a_line_is_still_found(null: Any, tmp_path: Path) -> None:
    (done,) = null.run("runs", null.plan(3))
    content = (done.path / "episodes.jsonl").read_bytes().replace(b"\n", b"\r\n")
    log = tmp_path / "log.jsonl"
    whole, _ = read_records(done.path / "episodes.jsonl")
    for place in range(content.index(b"\n") + 1, content.rindex(b"\r\n")):
        log.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            records, _ = read_records(log)
        except DataError as error:
            assert "line 2" in str(error) or "line 3" in str(error)
        else:
            assert records == whole, "only what ends a line may change without a word"


def test_a_log_with_lines_that_end_in_cr_alone_is_refused_and_left_alone(null: Any) -> None:
    plan = null.plan(5)
    (done,) = null.run("runs", plan)
    log = done.path / "episodes.jsonl"
    content = log.read_bytes().replace(b"\n", b"\r")
    log.write_bytes(content)
    with pytest.raises(DataError, match="CR alone"):
        null.run("runs", plan)
    assert log.read_bytes() == content


def test_a_log_in_utf_16_is_refused_and_left_alone(null: Any) -> None:
    plan = null.plan(5)
    (done,) = null.run("runs", plan)
    log = done.path / "episodes.jsonl"
    content = log.read_text().encode("utf-16")
    log.write_bytes(content)
    with pytest.raises(DataError, match="line 1"):
        null.run("runs", plan)
    assert log.read_bytes() == content


def test_shards_with_other_line_ends_are_joined(null: Any) -> None:
    plan = null.plan(6)
    (whole,) = null.run("whole", plan)
    parts = [null.run("parts", plan, shard=(part, 2))[0].path for part in (1, 2)]
    convert(parts[0], CHANGES["both"])
    (joined,) = merge(parts, null.folder / "joined")
    assert read_run(joined).records == read_run(whole.path).records
    assert b"\r" not in (joined / "episodes.jsonl").read_bytes()


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from([b"\n", b"\r\n", b"\r\r\n"]), st.integers(0, 2)),
        max_size=8,
    ),
    st.booleans(),
    st.integers(0, 20),
)
@settings(max_examples=100, deadline=None)
def test_places_lead_back_to_the_lines(rows: list[tuple[int, bytes, int]], mark: bool, torn: int) -> None:
    lines = [seal({"i": value}) for value, _, _ in rows]
    whole = b"\xef\xbb\xbf" * mark + b"".join(
        line[:-1] + end + end * blanks for line, (_, end, blanks) in zip(lines, rows, strict=True)
    )
    data = whole + seal({"i": 1})[:torn] if rows else b""
    split, good = split_log(data, Path("log"))
    assert good == (len(whole) if rows else 0)
    assert [unseal(line.content)["i"] for line in split] == [value for value, _, _ in rows]
    for line in split:
        assert data[line.place : line.place + len(line.content)] == line.content
        assert data.count(b"\n", 0, line.place) + 1 == line.number
