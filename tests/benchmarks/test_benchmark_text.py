"""A benchmark as text: reading what was written gives the same benchmark, and the same episodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from fssbench import plan
from fssbench.benchmarks.benchmark_file import list_other_classes, read_benchmark_file
from fssbench.benchmarks.benchmark_text import format_benchmark, format_suite
from fssbench.benchmarks.catalogue import BENCHMARKS, find_benchmark
from fssbench.benchmarks.definition import collect_content, make_own_id, restore_benchmark
from fssbench.benchmarks.pmnet_paper import SQUARE_RESIZE
from fssbench.benchmarks.suites import SUITES, find_suite
from fssbench.contracts.benchmarks import Benchmark, Source, Variant

NAMES = [f"{b.id}:{v.name}" if v else b.id for b in BENCHMARKS.values() for v in b.variants or (None,)]


@pytest.mark.parametrize("name", NAMES)
def test_every_built_in_read_from_its_text_gives_the_same_plans(
    name: str, tmp_path: Path, mini: Path
) -> None:
    base, _, variant = name.partition(":")
    file = tmp_path / "b.toml"
    file.write_text(format_benchmark(BENCHMARKS[base]))
    named = f"{file}:{variant}" if variant else str(file)
    assert find_benchmark(named) == find_benchmark(name)
    for protocol in ("published", "fssbench"):
        places: dict[str, Any] = {"data": mini, "shot": 1, "protocol": protocol, "episodes": 50}
        assert plan(named, **places) == plan(name, **places)


@pytest.mark.parametrize(
    "name", ["pascal5i", "coco20i:contiguous", "pascal-to-isic2018:isic3", "pascal5i-to-suim"]
)
def test_an_own_copy_draws_the_same_episodes_and_is_another_benchmark(
    name: str, tmp_path: Path, mini: Path
) -> None:
    base, _, variant = name.partition(":")
    record = BENCHMARKS[base].changed(id="mine", title="Mine")
    file = tmp_path / "mine.toml"
    file.write_text(format_benchmark(record))
    ours = plan(f"{file}:{variant}" if variant else file, data=mini, episodes=50)
    theirs = plan(name, data=mini, episodes=50)
    assert ours.sha256 == theirs.sha256
    assert ours.benchmark.startswith("mine@")
    assert ours != theirs


lines = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), min_size=1, max_size=30)
words = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,12}", fullmatch=True)


@st.composite
def benchmarks(draw: st.DrawFn) -> Benchmark:
    """A benchmark on PASCAL whose source is another data set, or the classes that a fold does not test."""
    classes = st.sets(st.integers(0, 19), min_size=1, max_size=5)
    folds = [tuple(sorted(fold)) for fold in draw(st.lists(classes, min_size=1, max_size=4))]
    rest = tuple(tuple(c for c in range(20) if c not in fold) for fold in folds)
    apart = len({c for fold in folds for c in fold}) == sum(map(len, folds)) and len(folds) > 1
    own = [
        Source(dataset="pascal", folds=each) for each in (rest, *[list_other_classes(tuple(folds))] * apart)
    ]
    source = draw(st.sampled_from([Source(dataset="fss1000", folds=None), *own]))
    names = draw(st.lists(words, unique=True, max_size=2))
    return Benchmark(
        id=draw(words),
        version=draw(st.integers(1, 99)),
        title=draw(lines),
        category="custom",
        source=draw(lines),
        trained_on=source,
        target="pascal",
        split=draw(st.sampled_from(["val", "trn"])),
        folds=tuple(folds),
        shots=tuple(draw(st.lists(st.integers(1, 20), min_size=1, max_size=3, unique=True))),
        episodes=draw(st.integers(1, 1_000_000)),
        size=draw(st.integers(32, 8192)),
        sampler=draw(st.sampled_from(["walk", "walk-numbered", "class", "round-robin"])),
        absent=draw(st.sampled_from(["zero", "exclude"])),
        protocol=draw(st.sampled_from(["published/1", "fssbench/1"])),
        score_size=draw(st.sampled_from(["input", "original"])),
        variants=tuple(
            Variant(
                name=name,
                title=draw(lines),
                folds=draw(st.sampled_from([None, tuple(fold[:1] for fold in folds)])),
                trained_on=draw(st.sampled_from([None, Source(dataset="fss1000", folds=None)])),
            )
            for name in names
        ),
        resize=SQUARE_RESIZE,
        meter="sum",
        origin=draw(lines),
        pitfalls=tuple(draw(st.lists(lines, max_size=2))),
    )


@settings(max_examples=30, deadline=None)
@given(record=benchmarks())
def test_any_definition_is_read_as_it_was_written(
    record: Benchmark, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("b") / "b.toml"
    file.write_text(format_benchmark(record), encoding="utf-8", newline="\n")
    again = read_benchmark_file(file)
    assert collect_content(again) == collect_content(record)
    assert make_own_id(again) == make_own_id(record)
    stored = json.loads(json.dumps(collect_content(record)))
    assert restore_benchmark(stored) == again


@pytest.mark.parametrize("name", sorted(SUITES))
def test_a_suite_is_read_as_it_was_written_but_for_its_id(name: str, tmp_path: Path) -> None:
    file = tmp_path / "suite.toml"
    file.write_text(format_suite(find_suite(name)).replace(f'id = "{name}"', 'id = "mine"'))
    assert find_suite(file).members == find_suite(name).members
