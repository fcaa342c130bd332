"""Sizes of supports beside a run: what they hold, and that they move no byte of anything else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from null_harness import null_dataset

from fssbench.analysis.collect import collect
from fssbench.errors import DataError
from fssbench.runs.merge import merge
from fssbench.runs.support_sizes import FILE, read_support_sizes
from fssbench.verification.seals import Outcome
from fssbench.verification.stored_run import VerificationInputs, verify_run


def test_sizes_are_those_of_the_masks_at_the_size_of_the_input(null):
    plan = null.plan(20, shot=2)
    (run,) = null.run("runs", plan)
    dataset = null_dataset(null)
    sizes = read_support_sizes(run.path)
    assert sizes.keys() == {(e.class_id, item) for e in plan for item in e.supports}
    for (c, item), pixels in sizes.items():
        assert pixels == int((dataset.mask(item, c)[::2, ::2] == 1).sum())
    (result,) = collect([run.path], resamples=0).runs
    assert result.support_pixels == tuple(tuple(sizes[e.class_id, item] for item in e.supports) for e in plan)


def test_a_run_in_parts_has_the_file_of_the_whole(null):
    plan = null.plan(21)
    (whole,) = null.run("whole", plan)
    for part in (1, 2):
        null.run("shards", plan, shard=(part, 2))
    (joined,) = merge([null.folder / "shards"], null.folder / "joined")
    null.run("resumed", plan, only=frozenset(range(5)))
    (null.find_run("resumed") / FILE).unlink()  # as after a kill, or begun by an earlier version
    null.run("resumed", plan)
    for path in (joined, null.find_run("resumed")):
        assert (path / FILE).read_bytes() == (whole.path / FILE).read_bytes()


def test_a_finished_run_without_the_file_is_left_as_it_is(null):
    (run,) = null.run("runs", null.plan(10))
    (run.path / FILE).unlink()
    null.run("runs", null.plan(10))
    assert not (run.path / FILE).exists()
    (result,) = collect([run.path], resamples=0).runs
    assert set(result.support_pixels) == {()}


def test_an_edited_size_is_noticed_by_verify(null):
    plan = replace(null.plan(12), episodes=null.plan(12).episodes)
    (run,) = null.run("runs", plan)
    inputs = VerificationInputs(data=null.data, share=1.0)

    def outcome() -> Outcome:
        return {f.check: f.outcome for f in verify_run(run.path, inputs)}["sizes of supports"]

    assert outcome() == Outcome.EQUAL
    path = run.path / FILE
    sizes = read_support_sizes(run.path)
    (place, pixels), *_ = sizes.items()
    path.write_text(path.read_text().replace(f'"{place[1]}": {pixels}', f'"{place[1]}": {pixels + 1}'))
    assert outcome() == Outcome.DIFFERS


@pytest.mark.parametrize(
    "text",
    ['{"schema":1}', '{"schema":1,"pixels":{"x":{"a":1}}}', '{"schema":1,"pixels":{"0":{"a":-1}}}', "x"],
)
def test_damage_is_named_and_costs_no_score(null, text):
    run = null.copy_run(10)
    (run / FILE).write_text(text)
    with pytest.raises(DataError, match=FILE):
        read_support_sizes(run)
    results = collect([run], resamples=0)
    assert results.runs[0].episodes == 10
    assert any(FILE in note for note in results.notes)
