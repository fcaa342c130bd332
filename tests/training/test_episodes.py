"""What is trained on, what is held out, and the stream of episodes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from fssbench.benchmarks.catalogue import BENCHMARKS, find_benchmark
from fssbench.data.location import open_dataset
from fssbench.errors import DataError, UsageError
from fssbench.training.episodes import (
    EpisodeStream,
    collect_training_set,
    draw_validation_episodes,
    is_held_out,
)

ITEMS = {2: [f"a{i}" for i in range(9)], 5: [f"b{i}" for i in range(4)], 7: [f"c{i}" for i in range(30)]}


@given(st.integers(0, 10**6), st.integers(0, 200), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_an_episode_is_a_function_of_step_and_slot(step, slot, shot):
    one = EpisodeStream(ITEMS, shot, "0|x|0")
    one.episode(3, 1)  # whatever was drawn before
    episode = one.episode(step, slot)
    assert episode == EpisodeStream(dict(reversed(ITEMS.items())), shot, "0|x|0").episode(step, slot)
    assert episode.index == slot
    images = [episode.query, *episode.supports]
    assert len(set(images)) == shot + 1
    assert set(images) <= set(ITEMS[episode.class_id])


def test_streams_of_other_names_shots_and_slots_differ():
    def first(shot=1, name="0|x|0", step=0):
        stream = EpisodeStream(ITEMS, shot, name)
        return [(e.class_id, e.query, e.supports[0]) for e in (stream.episode(step, i) for i in range(40))]

    drawn = [first(), first(name="1|x|0"), first(name="0|x|1"), first(shot=2), first(step=1)]
    assert len({tuple(d) for d in drawn}) == len(drawn)


def test_another_attempt_keeps_the_class_and_changes_the_images():
    stream = EpisodeStream(ITEMS, 1, "0|x|0")
    drawn = [stream.episode(0, 0, attempt) for attempt in range(12)]
    assert len({e.class_id for e in drawn}) == 1
    assert len({(e.query, e.supports) for e in drawn}) > 3


def test_classes_and_images_are_drawn_evenly():
    stream = EpisodeStream(ITEMS, 1, "0|x|0")
    drawn = [stream.episode(step, slot) for step in range(750) for slot in range(4)]
    classes = Counter(e.class_id for e in drawn)
    assert all(900 < classes[c] < 1100 for c in ITEMS), classes
    images = Counter(e.query for e in drawn if e.class_id == 5)
    assert all(200 < images[i] < 300 for i in ITEMS[5]), images


def test_pairs_are_drawn_evenly_where_asked():
    stream = EpisodeStream(ITEMS, 1, "0|x|0", draw="pairs")
    drawn = Counter(stream.episode(step, slot).query for step in range(1075) for slot in range(4))
    assert set(drawn) == {i for names in ITEMS.values() for i in names}
    assert all(65 < count < 140 for count in drawn.values()), drawn


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_object_and_background_change_places_in_the_share_asked_for(share):
    stream = EpisodeStream(ITEMS, 1, "0|x|0", invert=share)
    slots = [(step, slot) for step in range(500) for slot in range(4)]
    swapped = {each for each in slots if stream.inverted(*each)}
    assert len(swapped) == pytest.approx(share * len(slots), abs=100 if 0 < share < 1 else 0)
    plain, fewer = (EpisodeStream(ITEMS, 1, "0|x|0", invert=s) for s in (0.0, share / 2))
    assert swapped >= {each for each in slots if fewer.inverted(*each)}
    assert [stream.episode(*each) for each in slots] == [plain.episode(*each) for each in slots]


def test_images_that_show_a_test_class_may_be_left_out(mini):
    for fold in range(4):
        whole = collect_training_set("pascal5i", fold=fold, data=mini)
        without = collect_training_set("pascal5i", fold=fold, data=mini, without_novel=True)
        novel = {
            e.item
            for e in whole.dataset.pool("trn").entries
            if e.class_id in find_benchmark("pascal5i").folds[fold]
        }
        assert set(without.items) <= set(whole.items) - novel
        assert all(len(names) > 1 for names in without.training.values())
        assert set(without.classes) == set(without.training) <= set(whole.classes)
    assert any(
        set(collect_training_set("pascal5i", fold=f, data=mini).items)
        > set(collect_training_set("pascal5i", fold=f, data=mini, without_novel=True).items)
        for f in range(4)
    )


def test_another_target_has_no_images_to_leave_out(mini):
    whole, without = (
        collect_training_set("pascal-to-isic2018", data=mini, without_novel=choice)
        for choice in (False, True)
    )
    assert whole.items == without.items


def test_a_tenth_of_the_images_is_held_out():
    held = sum(is_held_out(f"2008_{i:06d}") for i in range(20_000))
    assert 1850 < held < 2150
    assert [is_held_out(f"2008_{i:06d}") for i in range(12)] == [
        is_held_out(f"2008_{i:06d}") for i in range(12)
    ]


def test_held_out_images_and_test_images_are_never_trained_on(shapes):
    result = collect_training_set("shapes", data=shapes)
    training = {i for names in result.training.values() for i in names}
    held = {i for names in result.held_out.values() for i in names}
    assert training
    assert held
    assert not training & held
    assert all(is_held_out(i) for i in held)
    assert {i.split("/")[0] for i in training | held} == {"trn"}
    assert result.pairs == sum(map(len, result.training.values()))
    assert result.items == sorted(training | held)


@pytest.mark.parametrize("name", ["pascal5i", "pascal-to-isic2018", "coco20i:contiguous"])
def test_training_classes_and_images_of_the_ten(mini: Path, name: str):
    resolved = find_benchmark(name)
    for fold in range(len(resolved.folds)):
        training = collect_training_set(name, fold=fold, data=mini)
        assert training.marks == ("miniature",)
        tested = open_dataset(resolved.benchmark.target, data=mini).pool(resolved.benchmark.split)
        if resolved.benchmark.target == training.dataset.card.name:
            assert not {e.item for e in tested.entries} & set(training.items)
            assert not set(training.classes) & set(resolved.folds[fold])
        else:
            assert len(training.classes) == 20
            val = {e.item for e in training.dataset.pool("val").entries}
            assert not val & set(training.items)


def test_sources_never_share_a_class_with_the_test_in_cross_category():
    for record in BENCHMARKS.values():
        folds = record.trained_on.folds
        assert folds is not None
        assert len(folds) == len(record.folds) or record.id.endswith("fss1000")
        if record.category == "cross-category":
            assert not any(set(a) & set(b) for a, b in zip(folds, record.folds, strict=True))


def test_validation_queries_are_held_out(shapes):
    training = collect_training_set("shapes", data=shapes)
    for shot in (1, 2, 8):
        episodes = draw_validation_episodes(training, shot, 12)
        assert episodes == draw_validation_episodes(training, shot, 40)[:12]
        for episode in episodes:
            held = training.held_out[episode.class_id]
            assert episode.query in held
            assert episode.query not in episode.supports
            assert len(set(episode.supports)) == shot
            assert shot > len(held) - 1 or set(episode.supports) <= set(held)


def test_too_few_images_are_said_by_class(shapes, monkeypatch):
    monkeypatch.setenv("TRAIN_IMAGES", "3")
    with pytest.raises(DataError, match=r"3 of 3 classes have fewer than the 6 images .*: red \(\d\), green"):
        collect_training_set("shapes", shot=5, data=shapes)


@pytest.mark.parametrize(("fold", "shot"), [(1, 1), (-1, 1), (0, 0)])
def test_folds_and_shots_that_do_not_exist(shapes, fold, shot):
    with pytest.raises(UsageError, match="no fold|at least one support"):
        collect_training_set("shapes", fold=fold, shot=shot, data=shapes)
