"""Stored masks: lossless, complete after a resume, joined with their shards, and checked by `verify`."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from null_harness import null_dataset
from PIL import Image

from fssbench.contracts.episodes import Episode
from fssbench.data.reader import Reader
from fssbench.errors import DataError, RunFolderError
from fssbench.images.reading import resize_mask
from fssbench.metrics import count
from fssbench.runs.masks import FILE, FOLDER, SavedMasks, encode_mask, read_mask, read_masks
from fssbench.runs.merge import merge
from fssbench.runs.store import read_run
from fssbench.verification.masks import check_mask_files, recount_masks
from fssbench.verification.seals import Outcome
from fssbench.verification.stored_run import VerificationInputs, verify_run


def read_all(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / FOLDER).iterdir()}


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_mask_is_stored_without_loss(tmp_path_factory: Any, height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.4
    path = tmp_path_factory.getbasetemp() / "mask.png"
    path.write_bytes(encode_mask(mask))
    with Image.open(path) as image:
        assert (np.asarray(image) == mask * np.uint8(255)).all()


def test_names_end_in_one_png_and_no_mask_takes_the_place_of_another(tmp_path: Path) -> None:
    queries = ("disc/1.png", "disc/1.PNG", "disc/1.jpg", "disc/1", "disc/1.png.png")
    drawn = [np.arange(9).reshape(3, 3) == number for number in range(len(queries))]
    saved = SavedMasks(tmp_path)
    for index, (query, mask) in enumerate(zip(queries, drawn, strict=True)):
        saved.save(Episode(index, 0, query, ()), mask)
    saved.close()
    records = read_masks(tmp_path)
    assert [records[index].file for index in range(3)] == [
        "00000-disc-1.png",
        "00001-disc-1.png",
        "00002-disc-1.jpg.png",
    ]
    assert not any(record.file.lower().endswith(".png.png") for record in records.values())
    assert len({record.file.lower() for record in records.values()}) == len(queries)
    for index, mask in enumerate(drawn):
        assert np.array_equal(read_mask(tmp_path, records[index]), mask)


@pytest.mark.parametrize(("score_size", "side"), [("input", 16), ("original", 32)])
def test_counts_of_the_stored_masks_are_the_stored_counts(null: Any, score_size: str, side: int) -> None:
    plan = null.plan(12)
    (done,) = null.run("runs", plan, save_masks=True, score_size=score_size)
    records, reader = read_run(done.path).records, Reader(null_dataset(null))
    masks = read_masks(done.path)
    assert masks.keys() == records.keys()
    for index, record in records.items():
        assert masks[index].file.startswith(f"{index:05d}-{plan[index].query.replace('/', '-')}")
        mask = read_mask(done.path, masks[index])
        assert mask.shape == (side, side)
        truth = resize_mask(reader.mask(plan[index].query, record.class_id), side, side)
        inter, union = count(mask, truth == 1, None)
        assert (tuple(inter), tuple(union)) == (record.inter, record.union)


def test_masks_change_no_other_file_and_no_identity(null: Any) -> None:
    plan = null.plan(6)
    (plain,) = null.run("plain", plan)
    (saved,) = null.run("saved", plan, save_masks=True)
    assert saved.identity == plain.identity
    assert null.read_results(saved.path) == null.read_results(plain.path)
    assert not (plain.path / FOLDER).exists()


def test_a_run_without_masks_gets_them_later_and_lost_ones_are_stored_again(null: Any) -> None:
    plan = null.plan(6)
    (whole,) = null.run("whole", plan, save_masks=True)
    (done,) = null.run("runs", plan)
    before, calls = null.read_results(done.path), null.count_calls()
    (again,) = null.run("runs", plan, save_masks=True)
    assert null.count_calls() == calls + 6
    assert again.computed == 0
    assert null.read_results(done.path) == before
    assert read_all(done.path) == read_all(whole.path)
    lost, damaged = sorted((done.path / FOLDER).iterdir())[1:3]
    lost.unlink()
    damaged.write_bytes(b"no picture")
    null.run("runs", plan, save_masks=True)
    assert null.count_calls() == calls + 8
    assert read_all(done.path) == read_all(whole.path)
    assert (done.path / FILE).read_bytes() == (whole.path / FILE).read_bytes()


def test_an_interrupted_run_resumes_with_its_masks(null: Any) -> None:
    plan = null.plan(8)
    (whole,) = null.run("whole", plan, save_masks=True)
    null.run("runs", plan, save_masks=True, only=frozenset({1, 4, 5}))
    path = null.find_run("runs")
    with (path / FILE).open("ab") as file:
        file.write(b'{"index": 2, "fi')  # killed while it wrote
    null.run("runs", plan, save_masks=True)
    assert read_all(path) == read_all(whole.path)
    assert (path / FILE).read_bytes() == (whole.path / FILE).read_bytes()


def test_masks_of_other_counts_are_refused(null: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = null.plan(4)
    (done,) = null.run("runs", plan)
    monkeypatch.setattr(
        "fssbench.evaluation.method_run.segment_episode", lambda *_, **__: np.zeros((16, 16), np.bool_)
    )
    with pytest.raises(RunFolderError, match="--out"):
        null.run("runs", plan, save_masks=True)
    assert not (done.path / FOLDER).exists()


def test_shards_are_joined_with_their_masks(null: Any) -> None:
    plan = null.plan(7)
    (whole,) = null.run("whole", plan, save_masks=True)
    for part in (1, 2):
        null.run("shards", plan, save_masks=True, shard=(part, 2))
    (joined,) = merge([null.folder / "shards"], null.folder / "joined")
    assert read_all(joined) == read_all(whole.path)
    assert read_masks(joined) == read_masks(whole.path)


def test_verify_finds_a_changed_mask_and_a_mask_of_other_counts(null: Any) -> None:
    plan = null.plan(5)
    (done,) = null.run("runs", plan, save_masks=True)
    run = read_run(done.path)

    def outcomes() -> dict[str, Outcome]:
        inputs = VerificationInputs(data=null.data, share=1.0)
        return {finding.check: finding.outcome for finding in verify_run(done.path, inputs)}

    assert outcomes()["masks"] == outcomes()["counts of masks"] == Outcome.EQUAL
    path = done.path / FOLDER / read_masks(done.path)[3].file
    path.write_bytes(encode_mask(np.ones((16, 16), np.bool_)))
    (finding,) = check_mask_files(run)
    assert finding.outcome == Outcome.DIFFERS
    assert path.name in finding.detail
    assert recount_masks(run, plan, range(5))[0].outcome == Outcome.DIFFERS
    # somebody who also writes the hash anew is found by the counts
    records = read_masks(done.path).values()
    sha = sha256(path.read_bytes()).hexdigest()
    lines = [(replace(r, sha256=sha) if r.index == 3 else r).line() for r in records]
    (done.path / FILE).write_bytes(b"".join(lines))
    assert outcomes()["masks"] == Outcome.EQUAL
    assert outcomes()["counts of masks"] == Outcome.DIFFERS


def test_a_run_without_masks_has_no_such_finding(null: Any) -> None:
    (done,) = null.run("runs", null.plan(3))
    assert check_mask_files(read_run(done.path)) == []


def test_a_record_that_leads_out_of_the_folder_is_refused(null: Any, tmp_path: Path) -> None:
    (done,) = null.run("runs", null.plan(1), save_masks=True)
    (record,) = read_masks(done.path).values()
    outside = tmp_path / "outside.png"
    outside.write_bytes((done.path / FOLDER / record.file).read_bytes())
    with pytest.raises(DataError, match="outside"):
        read_mask(done.path, replace(record, file=str(outside)))
