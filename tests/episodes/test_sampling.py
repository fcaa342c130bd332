"""Episodes: the reference streams, and the properties of the order-free protocol."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from at_night import draw_more
from hypothesis import given, settings, strategies as st
from made_up_plans import drawn, entries_of
from messages import error_names

import fssbench
from fssbench.api import DataError, Entry, PluginError, Pool, UsageError
from fssbench.benchmarks.catalogue import find_benchmark, list_benchmark_names
from fssbench.contracts.limits import LARGEST_SHOT, LARGEST_SIDE, SMALLEST_SIDE
from fssbench.data.list_files import load_plain_pickle
from fssbench.episodes.sampling import PROTOCOLS, _draw_counted, _draw_published, plan, shuffle_items

PINNED = "c59855f11f78ae20bfe26555b53e94123ed6f705ca0062b29f57e94bac3833e5"
PINNED_FIRST = ["0/9.jpg", "0/7.jpg", "0/16.jpg", "0/5.jpg", "0/17.jpg", "0/2.jpg"]


PASCAL = entries_of(dict.fromkeys(range(5), 12))
ISIC3 = entries_of({0: 20, 1: 9, 2: 7})


# ---- published: against an independent replay and the goldens ----------------------------------


def replay(
    entries: tuple[Entry, ...], sampler: str, count: int, shot: int
) -> list[tuple[int, str, list[str]]]:
    """The reference rules written out with the legacy global generator, as protocols.md 1 states them."""
    np.random.seed(0)

    def choice(population):
        return np.random.choice(population, 1, replace=False)[0]

    classes = sorted({e.class_id for e in entries})
    items = {c: [e.item for e in entries if e.class_id == c] for c in classes}
    episodes = []
    for index in range(count):
        if sampler in {"walk", "walk-numbered"}:
            entry = entries[index % len(entries)]
            class_id, query = entry.class_id, entry.item
        else:
            class_id = int(choice(classes)) if sampler == "class" else classes[index % len(classes)]
            query = str(choice(items[class_id]))
        supports: list[str] = []
        while len(supports) < shot:
            if sampler == "walk-numbered":
                support = f"{query.split('/')[0]}/{choice(range(1, 11))}.jpg"
            else:
                support = str(choice(items[class_id]))
            if support != query:
                supports.append(support)
        episodes.append((class_id, query, supports))
    return episodes


@pytest.mark.parametrize("shot", [1, 5])
@pytest.mark.parametrize("sampler", ["walk", "class", "round-robin"])
@settings(max_examples=15, deadline=None)
@given(
    counts=st.dictionaries(st.integers(0, 50), st.integers(2, 30), min_size=1, max_size=6), mix=st.randoms()
)
def test_published_is_the_legacy_stream(
    sampler: str, shot: int, counts: dict[int, int], mix: random.Random
) -> None:
    shuffled = list(entries_of(counts))
    mix.shuffle(shuffled)
    mine = _draw_published(shuffled, sampler, 60, shot, np.random.RandomState(0))
    assert [(c, q, list(s)) for c, q, s in mine] == replay(tuple(shuffled), sampler, 60, shot)


@pytest.mark.parametrize("shot", [1, 5])
def test_published_counts_fss_supports_by_number(shot: int) -> None:
    names = ["abacus", "bus"]
    entries = tuple(
        Entry(f"{n}/{k}.jpg", 760 + c) for c, n in enumerate(names) for k in sorted(range(1, 11), key=str)
    )
    mine = _draw_published(entries, "walk-numbered", 50, shot, np.random.RandomState(0))
    assert [(c, q, list(s)) for c, q, s in mine] == replay(entries, "walk-numbered", 50, shot)


def test_the_golden_streams(shared: Path) -> None:
    """The shared acceptance check itself, as it is run by others."""
    run = subprocess.run(
        [sys.executable, str(shared / "golden" / "check_episodes.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "7 streams equal" in run.stdout


def test_the_golden_hash_is_the_plans_hash(shared: Path) -> None:
    golden = json.loads((shared / "golden" / "episodes" / "pascal5i_fold2_5shot.json").read_text())
    made = fssbench.plan("pascal5i", fold=2, shot=5, splits=shared / "golden" / "splits")
    assert made.sha256 == golden["sha256"]
    assert made.class_names == ("diningtable", "dog", "horse", "motorbike", "person")
    assert made.lists == "reference list files"
    assert made.marks == ()


@pytest.mark.parametrize("shot", [1, 5])
@pytest.mark.parametrize("fold", range(4))
def test_every_pascal_fold_is_the_replay_of_its_list(fold: int, shot: int, shared: Path) -> None:
    splits = shared / "golden" / "splits"
    listed = (splits / "pascal" / "val" / f"fold{fold}.txt").read_text().split()
    entries = tuple(Entry(line[:-4], int(line[-2:]) - 1) for line in listed)
    made = fssbench.plan("pascal5i", fold=fold, shot=shot, splits=splits)
    assert [(e.class_id, e.query, list(e.supports)) for e in made] == replay(entries, "walk", 1000, shot)


@pytest.mark.nightly
@pytest.mark.parametrize("shot", [1, 5])
@pytest.mark.parametrize("fold", range(4))
def test_every_coco_fold_is_the_replay_of_its_list(fold: int, shot: int, shared: Path) -> None:
    splits = shared / "golden" / "splits"
    listed = load_plain_pickle(splits / "coco" / "val" / f"fold{fold}.pkl")
    entries = tuple(Entry(item, c) for c, items in listed.items() for item in items)
    made = fssbench.plan("coco20i", fold=fold, shot=shot, splits=splits)
    assert [(e.class_id, e.query, list(e.supports)) for e in made] == replay(entries, "class", 1000, shot)


def test_naive5i_draws_the_episodes_of_pascal5i(shared: Path) -> None:
    splits = shared / "golden" / "splits"
    naive = fssbench.plan("coco20i-to-pascal5i:naive5i", fold=1, splits=splits)
    assert naive.sha256 == fssbench.plan("pascal5i", fold=1, splits=splits).sha256
    assert naive.benchmark != "pascal5i"


def test_a_published_seed_other_than_zero_is_another_stream_and_says_so() -> None:
    zero, one = (drawn("pascal5i", PASCAL, seed=seed) for seed in (0, 1))
    assert (zero.seed, one.seed) == (0, 1)
    assert zero.sha256 != one.sha256
    assert [e.query for e in zero] == [e.query for e in one]


def test_published_supports_may_repeat_but_never_hold_the_query() -> None:
    made = drawn("pascal5i", entries_of(dict.fromkeys(range(5), 3)), shot=5)
    assert any(len(set(e.supports)) < 5 for e in made)
    assert not any(e.query in e.supports for e in made)


# ---- fssbench: the order-free protocol -----------------------------------------------------------

pools = st.dictionaries(st.integers(0, 99), st.integers(6, 25), min_size=1, max_size=7)


COUNTED = given(counts=pools, shot=st.integers(1, 5), seed=st.integers(0, 2**32 - 1), mix=st.randoms())


@settings(max_examples=60, deadline=None)
@COUNTED
def test_counted_episodes(counts: dict[int, int], shot: int, seed: int, mix: random.Random) -> None:
    """Distinct supports, query apart, classes in balance, prefix property, list order without effect."""
    entries = entries_of(counts)
    rows = list(_draw_counted(entries, 40, shot, f"{seed}|x"))
    for class_id, query, supports in rows:
        assert len({query, *supports}) == shot + 1
        assert all(item.startswith(f"{class_id}/") for item in (query, *supports))
    drawn_of = Counter(c for c, _, _ in rows)
    assert max(drawn_of[c] for c in counts) - min(drawn_of[c] for c in counts) <= 1
    assert rows[:17] == list(_draw_counted(entries, 17, shot, f"{seed}|x"))
    shuffled = list(entries)
    mix.shuffle(shuffled)
    assert rows == list(_draw_counted(shuffled, 40, shot, f"{seed}|x"))


test_counted_episodes_at_night = draw_more(test_counted_episodes, COUNTED, 300)


ONE_EPISODE = given(
    counts=pools, shot=st.integers(1, 5), index=st.integers(0, 39), poison=st.integers(0, 2**32 - 1)
)


@settings(max_examples=60, deadline=None)
@ONE_EPISODE
def test_one_episode_is_a_pure_function_of_its_index(
    counts: dict[int, int], shot: int, index: int, poison: int
) -> None:
    """The same episode comes out alone, among others, and whatever global generators hold."""
    entries = entries_of(counts)
    rows = list(_draw_counted(entries, 40, shot, "a"))
    np.random.seed(poison)
    random.seed(poison)
    again = list(_draw_counted(entries, index + 1, shot, "a"))
    assert again[index] == rows[index]
    # classes take turns; a class's items alone decide its episodes
    class_id = rows[index][0]
    others = tuple(e for e in entries if e.class_id == class_id) + tuple(
        Entry(f"other/{e.item}", e.class_id) for e in entries if e.class_id != class_id
    )
    assert list(_draw_counted(others, 40, shot, "a"))[index] == rows[index]


test_one_episode_is_a_pure_function_of_its_index_at_night = draw_more(
    test_one_episode_is_a_pure_function_of_its_index, ONE_EPISODE, 300
)


TWO_KEYS = given(
    counts=pools,
    one=st.tuples(
        st.integers(0, 2**32 - 1), st.sampled_from(["b", "c"]), st.integers(0, 3), st.integers(1, 5)
    ),
    two=st.tuples(
        st.integers(0, 2**32 - 1), st.sampled_from(["b", "c"]), st.integers(0, 3), st.integers(1, 5)
    ),
)


@settings(max_examples=60, deadline=None)
@TWO_KEYS
def test_every_part_of_the_key_changes_the_draws(counts: dict[int, int], one: Any, two: Any) -> None:
    entries = entries_of(counts)
    first, second = (
        [(c, q) for c, q, _ in _draw_counted(entries, 60, 1, "|".join(map(str, key)))] for key in (one, two)
    )
    assert (first == second) == (one == two)


test_every_part_of_the_key_changes_the_draws_at_night = draw_more(
    test_every_part_of_the_key_changes_the_draws, TWO_KEYS, 300
)


def test_plans_differ_by_seed_benchmark_fold_and_shot() -> None:
    everything = entries_of(dict.fromkeys(range(20), 9))
    made = [
        drawn("pascal5i", everything, protocol="fssbench"),
        drawn("pascal5i", everything, protocol="fssbench", seed=1),
        drawn("pascal5i", everything, protocol="fssbench", fold=1),
        drawn("pascal5i", everything, protocol="fssbench", shot=5),
        drawn("coco20i-to-pascal5i:naive5i", everything, protocol="fssbench"),
    ]
    assert len({tuple(e.query for e in p) for p in made}) == 5


def test_the_counted_stream_is_pinned() -> None:
    """What was drawn under `fssbench/1` stays so; a change needs `fssbench/2`.

    The values were derived by a second script that shares nothing with the module but the rule.
    """
    made = drawn("pascal-to-isic2018:isic3", ISIC3, protocol="fssbench", shot=5, seed=3)
    assert made.protocol == PROTOCOLS["fssbench"] == "fssbench/1"
    assert made.sha256 == PINNED
    assert [made[0].query, *made[0].supports] == PINNED_FIRST


def test_an_image_listed_twice_counts_once() -> None:
    twice = (*ISIC3, *ISIC3)
    assert list(_draw_counted(twice, 50, 5, "n")) == list(_draw_counted(ISIC3, 50, 5, "n"))


def test_the_shuffle_is_fair() -> None:
    """Chi-square (scipy) over all ordered pairs of five."""
    stats = pytest.importorskip("scipy.stats")
    words = np.random.Philox(key=7)
    seen = Counter("".join(shuffle_items("abcde", 2, words.random_raw)) for _ in range(20_000))
    assert len(seen) == 20
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3


def test_the_shuffle_rejects_words_that_would_bias_it() -> None:
    words = iter([2**64 - 1, 2, 0])  # 2**64 - 1 is above the largest multiple of three
    assert shuffle_items("abc", 2, lambda: next(words)) == ["c", "b"]


# ---- what a plan records ---------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["published", "fssbench"])
def test_a_plan_records_what_it_is(protocol: str) -> None:
    made = drawn("pascal5i", PASCAL, shot=5, protocol=protocol, seed=4)
    assert (made.benchmark, made.version, made.dataset, made.split) == ("pascal5i", 1, "pascal", "val")
    assert (made.fold, made.shot, made.seed, made.size) == (0, 5, 4, 400)
    assert made.protocol == f"{protocol}/1"
    assert made.classes == (0, 1, 2, 3, 4)
    assert made.class_names[2] == "class 2"
    assert made.lists == "made up"
    assert len(made) == 1000
    assert [e.index for e in made] == list(range(1000))
    assert made == drawn("pascal5i", PASCAL, shot=5, protocol=protocol, seed=4)


def test_a_cap_leaves_a_marked_prefix() -> None:
    full = drawn("pascal5i", PASCAL)
    capped = drawn("pascal5i", PASCAL, episodes=10)
    assert tuple(capped) == full[:10]
    assert capped.marks == ("capped (10 of 1000 episodes)",)
    assert drawn("pascal5i", PASCAL, episodes=5000) == full


def test_a_sample_is_marked() -> None:
    assert drawn("pascal5i", Pool(PASCAL, "x", published=1868)).marks == ("sample (60 of 1868 entries)",)
    assert drawn("pascal5i", Pool(PASCAL, "x", published=60)).marks == ()


def test_a_part_of_the_classes_is_marked_and_is_what_miou_is_over() -> None:
    made = drawn("pascal-to-fss1000", entries_of({760: 10, 800: 10}), names={760: "a", 800: "b", 3: "c"})
    assert made.classes == (760, 800)
    assert made.marks == ("sample (2 of 240 classes)",)


def test_a_hostile_plugin_changes_nothing(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.miniature(tmp_path, 0)
    calm = [plan("toy", data=tmp_path, protocol=p, shot=5).sha256 for p in PROTOCOLS]
    honest = toy.pool

    def hostile(self: Any, split: str) -> Pool:
        np.random.seed(1)
        random.seed(1)
        return honest(self, split)

    monkeypatch.setattr(toy, "pool", hostile)
    np.random.seed(99)
    assert [plan("toy", data=tmp_path, protocol=p, shot=5).sha256 for p in PROTOCOLS] == calm


def test_the_global_generators_are_left_alone() -> None:
    np.random.seed(5)
    before = np.random.get_state()
    drawn("pascal5i", PASCAL)
    drawn("pascal5i", PASCAL, protocol="fssbench")
    after = np.random.get_state()
    assert before[0] == after[0]
    assert np.array_equal(before[1], after[1])
    assert before[2:] == after[2:]


@pytest.mark.parametrize("protocol", ["published", "fssbench"])
@pytest.mark.parametrize("name", list_benchmark_names())
def test_every_benchmark_has_a_plan_on_the_miniature(name: str, protocol: str, mini: Path) -> None:
    resolved = find_benchmark(name)
    # the published way draws with replacement: any number is possible
    shot = 5 if protocol == "fssbench" else 1
    for fold in range(len(resolved.folds)):
        made = plan(name, fold=fold, shot=shot, protocol=protocol, data=mini)
        assert len(made) == resolved.benchmark.episodes
        assert made.marks[0] == "miniature"
        assert {e.class_id for e in made} == set(made.classes) <= set(resolved.folds[fold])
        assert not any(e.query in e.supports for e in made)


# ---- errors before episode 0 -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "shot", "protocol", "told"),
    [
        (
            {0: 4, 1: 4, 2: 4, 4: 4},
            1,
            "published",
            "1 of 5 classes have fewer than the 2 images .*: class 3 .0.",
        ),
        ({0: 9, 1: 1, 2: 9, 3: 9, 4: 9}, 1, "published", "fewer than the 2 images .*: class 1 .1."),
        ({0: 9, 1: 1, 2: 9, 3: 9, 4: 9}, 5, "published", "fewer than the 2 images .*: class 1 .1."),
        ({0: 9, 1: 1, 2: 9, 3: 9, 4: 9}, 1, "fssbench", "fewer than the 2 images .*: class 1 .1."),
        (
            {0: 9, 1: 5, 2: 9, 3: 9, 4: 4},
            5,
            "fssbench",
            "2 of 5 .* than the 6 images .*: class 1 .5., class 4 .4.",
        ),
    ],
)
def test_a_class_with_too_few_images(counts: dict[int, int], shot: int, protocol: str, told: str) -> None:
    names = {c: f"class {c}" for c in range(5)}
    with pytest.raises(DataError, match=told) as caught:
        drawn("pascal5i", entries_of(counts), names, shot=shot, protocol=protocol)
    assert error_names(caught.value, "pascal5i fold 0", f"at {shot} shots", "fssbench data verify pascal")


def test_five_shots_of_two_images_are_drawn_under_published() -> None:
    made = drawn("pascal5i", entries_of(dict.fromkeys(range(5), 2)), shot=5)
    assert all(len(set(e.supports)) == 1 for e in made)


def test_one_image_listed_twice_is_one_image() -> None:
    pool = (*entries_of({0: 4, 1: 4, 2: 4, 3: 4}), Entry("4/1.jpg", 4), Entry("4/1.jpg", 4))
    with pytest.raises(DataError, match=r"class 4 \(1\)"):
        drawn("pascal5i", pool)


def test_no_class_of_the_fold() -> None:
    with pytest.raises(DataError, match="none of the 5 classes of pascal5i fold 2"):
        drawn("pascal5i", PASCAL, fold=2)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fold": 4}, "folds are 0 to 3"),
        ({"fold": -1}, "no fold -1"),
        ({"shot": 0}, "at least one support"),
        ({"protocol": "publised"}, "Did you mean published"),
        ({"seed": -1}, "a seed is 0 to 4294967295"),
        ({"seed": 2**32}, "a seed is 0 to 4294967295"),
        ({"episodes": 0}, "at least one"),
    ],
)
@pytest.mark.parametrize("protocol", ["published", "fssbench"])
def test_what_does_not_exist(options: dict[str, Any], told: str, protocol: str) -> None:
    with pytest.raises(UsageError) as caught:
        drawn("pascal5i", PASCAL, **{"protocol": protocol, **options})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"size": SMALLEST_SIDE}, {"size": LARGEST_SIDE}, {"shot": LARGEST_SHOT}, {"seed": 2**32 - 1}]
)
def test_the_largest_and_the_smallest_are_possible(options: dict[str, Any]) -> None:
    made = drawn("pascal5i", PASCAL, **{"episodes": 1, **options})
    assert {name: getattr(made, name) for name in options} == options
    if "size" in options:
        assert made.marks[0] == f"resized ({options['size']} px, published: 400)"
        beyond = options["size"] + (1 if options["size"] == LARGEST_SIDE else -1)
        with pytest.raises(UsageError, match=f"size {beyond} is too"):
            drawn("pascal5i", PASCAL, size=beyond)


def test_without_data_and_lists_the_next_step_is_told() -> None:
    with pytest.raises(DataError, match="give --data DIR, set FSSBENCH_DATA or use --data mini"):
        plan("pascal5i")


@pytest.mark.parametrize("answer", [ValueError("bad listing"), {"a": 1}])
def test_a_plugin_that_cannot_list_is_named(toy: Any, tmp_path: Path, answer: Any, monkeypatch: Any) -> None:
    toy.miniature(tmp_path, 0)
    monkeypatch.setattr(toy, "pool", mock.Mock(side_effect=[answer]))
    with pytest.raises(PluginError, match="data set 'toy'"):
        plan("toy", data=tmp_path)
