"""Doubts are facts of episodes: stored with them, joined and resumed with them, and shown as marks everywhere."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, strategies as st
from PIL import Image

import fssbench
from fssbench.analysis.collect import collect
from fssbench.cli import main
from fssbench.errors import DataError
from fssbench.files.state_dicts import read_safetensors
from fssbench.images.judgements import (
    DOUBTS,
    Judgement,
    act_on_judgements,
    admit_released,
    gather_doubts,
    note_doubt,
)
from fssbench.plugins.registry import DATASETS
from fssbench.runs.early_marks import make_training_marks
from fssbench.runs.marks import make_counted_marks
from fssbench.runs.merge import merge
from fssbench.runs.store import EpisodeRecord, read_run
from fssbench.training.settings import Settings
from fssbench.training.trainer import train

ODD = {"0/0003", "1/0002", "2/0007"}


@pytest.fixture
def odd(null, monkeypatch):
    """The null data set with three masks that are foreground everywhere."""
    cls = DATASETS.get("nulldata")
    plain = cls.mask

    def mask(self, item, class_id):
        if item in ODD:  # whatever the plugin says of it
            return np.ones((32, 32), np.uint8)
        return plain(self, item, class_id)

    monkeypatch.setattr(cls, "mask", mask)
    return null


def count_odd(plan):
    return sum(bool(ODD & {e.query, *e.supports}) for e in plan)


kinds = st.lists(st.sampled_from(sorted(DOUBTS)), unique=True).map(sorted).map(tuple)


@given(kinds)
def test_records_carry_doubts_through_the_log(doubts):
    record = EpisodeRecord(3, 1, (10, 20), (30, 40), 25, doubts)
    assert EpisodeRecord.parse(record.line()[:-1]) == record


def test_a_record_without_doubts_is_written_as_before():
    line = b'{"i":3,"c":1,"inter":[10,20],"union":[30,40],"target":25,"crc":"7478c936"}\n'
    assert EpisodeRecord(3, 1, (10, 20), (30, 40), 25).line() == line


def test_a_run_says_how_many_episodes_are_doubtful_wherever_marks_are_shown(odd):
    plan = odd.plan(40)
    (run,) = odd.run("runs", plan, panels=0)
    expected = f"doubtful masks ({count_odd(plan)} of 40 episodes: every pixel is foreground)"
    assert count_odd(plan) > 1
    assert expected in json.loads((run.path / "summary.json").read_text())["marks"]
    results = collect([run.path], resamples=0)
    assert expected in results.runs[0].marks
    assert expected in results.cells[0].marks
    out = CliRunner().invoke(main, ["score", str(run.path), "--json"])
    assert expected in json.loads(out.stdout)["marks"]
    report = odd.folder / "report"
    out = CliRunner().invoke(main, ["report", str(run.path), "-o", str(report), "--format", "markdown"])
    assert out.exit_code == 0
    text = "\n".join(path.read_text() for path in report.rglob("*.md"))
    assert f"{count_odd(plan)} of 40 episodes: every pixel is foreground" in text


def test_shards_of_a_doubtful_run_join_to_the_whole(odd):
    plan = odd.plan(40)
    (whole,) = odd.run("whole", plan, panels=0)
    for part in (1, 2, 3):
        odd.run("parts", plan, panels=0, shard=(part, 3))
    (joined,) = merge([odd.folder / "parts"], odd.folder / "joined")
    assert odd.read_results(joined) == odd.read_results(whole.path)
    assert sum(bool(r.doubts) for r in read_run(joined).records.values()) == count_odd(plan)


def make_marks(episodes):
    return make_counted_marks(Counter(kind for kinds in episodes for kind in kinds), len(episodes))


def test_marks_count_each_kind_apart():
    episodes = [(), ("full",), ("full", "soft"), ()]
    assert make_marks(episodes) == [
        f"doubtful masks (2 of 4 episodes: {DOUBTS['full']})",
        f"doubtful masks (1 of 4 episodes: {DOUBTS['soft']})",
    ]
    assert make_marks([(), ()]) == []
    assert make_marks([("resized",)]) == [f"as-published masks (1 of 1 episodes: {DOUBTS['resized']})"]
    assert "of 1 episodes: a kind of tomorrow" in make_marks([("a kind of tomorrow",)])[0]


def test_errors_are_raised_and_doubts_gathered_where_they_are_asked_for(tmp_path):
    doubt = Judgement("doubt", "soft", "edges", "sharpen them")
    fault = Judgement("error", "photograph", "it is a picture", "get the mask")
    with gather_doubts() as outer:
        with gather_doubts() as inner:
            act_on_judgements(tmp_path, [doubt, Judgement("note", "alpha", "opaque", "nothing")])
        assert inner == {"soft"}
        act_on_judgements(tmp_path, admit_released([fault], ["photograph"], "the reference reads it"))
        with pytest.raises(DataError, match="it is a picture. Get the mask. Next:"):
            act_on_judgements(tmp_path, admit_released([fault], ["size"], ""))
    assert outer == {"photograph"}
    note_doubt("soft")  # nobody asks
    with pytest.raises(ValueError, match="Known: full, "):
        note_doubt("strange")


def settings_of(shapes, out, **others):
    given = {"data": str(shapes), "steps": 6, "batch": 4, "size": 32, "val_episodes": 0, "save_every": 1}
    return Settings(benchmark="shapes", out=out, **{**given, **others})


def marks_of(checkpoint):
    _, metadata = read_safetensors(checkpoint)
    text = next(value for value in metadata.values() if "marks" in value)
    return json.loads(text)


def find_marks(block):
    """The marks, wherever the header keeps them."""
    if isinstance(block, dict):
        if isinstance(block.get("marks"), list):
            return block["marks"]
        for value in block.values():
            if (marks := find_marks(value)) is not None:
                return marks
    return None


def test_a_training_counts_its_doubtful_episodes_and_a_resumed_one_counts_the_same(
    shapes, tmp_path, monkeypatch
):
    cls = DATASETS.get("shapes")
    plain = cls.mask

    def mask(self, item, class_id):
        if int(item.split("/")[-1]) % 3 == 0:
            note_doubt("soft")
        return plain(self, item, class_id)

    sound = train(fssbench.load_method("learner", untrained=True), settings_of(shapes, tmp_path / "sound"))
    monkeypatch.setattr(cls, "mask", mask)
    whole = train(fssbench.load_method("learner", untrained=True), settings_of(shapes, tmp_path / "whole"))
    (mark,) = [m for m in find_marks(marks_of(whole.checkpoint)) if m.startswith("doubtful")]
    assert mark.endswith("of 24 episodes: soft edges, a threshold decides)")

    class Stopped(KeyboardInterrupt):
        pass

    def stop(progress):
        if progress.step == 3:
            raise Stopped

    cut = settings_of(shapes, tmp_path / "cut")
    with pytest.raises(Stopped):
        train(fssbench.load_method("learner", untrained=True), cut, watch=stop)
    again = train(fssbench.load_method("learner", untrained=True), cut)
    assert again.computed == 3
    assert mark in find_marks(marks_of(again.checkpoint))
    assert not any(m.startswith("doubtful") for m in find_marks(marks_of(sound.checkpoint)))
    method = fssbench.load_method("learner", checkpoint=whole.checkpoint)
    told = make_training_marks(method, fssbench.plan("shapes", data=str(shapes), episodes=4))
    assert mark in told


def test_thumbnails_come_from_the_same_reader(odd, monkeypatch):
    """A picture for a report is no way around the checks."""
    cls = DATASETS.get("nulldata")
    calls = []

    def image(self, item):
        calls.append(item)
        return Image.new("RGB" if len(calls) <= 2 else "L", (32, 32))

    monkeypatch.setattr(cls, "image", image)
    with pytest.raises(fssbench.api.PluginError, match="mode L"):
        odd.run("runs", odd.plan(1), panels=1)


@pytest.mark.parametrize("place", ["query", "support"])
def test_an_object_that_vanishes_at_the_size_of_the_network_is_marked(null, monkeypatch, place):
    """The stored mask shows it, the mask that a method is given or scored on does not."""
    cls, plan = DATASETS.get("nulldata"), null.plan(4)
    plain = cls.mask
    tiny = plan[1].query if place == "query" else plan[1].supports[0]

    def mask(self, item, class_id):
        whole = plain(self, item, class_id)
        if item != tiny:
            return whole
        alone = np.zeros_like(whole)
        alone[1, 1] = 1
        return alone

    monkeypatch.setattr(cls, "mask", mask)
    used = [tiny in (e.query, *e.supports) for e in plan]
    (full,) = null.run("full", null.plan(4, size=32), panels=0)
    (small,) = null.run("small", plan, panels=0)
    assert ["vanished" in r.doubts for r in read_run(small.path).records.values()] == used
    assert not any(r.doubts for r in read_run(full.path).records.values())
