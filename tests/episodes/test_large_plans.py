"""Plans of many episodes are hashed, written and drawn piece by piece, with the bytes of the plain way."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fssbench.api import Episode, Plan
from fssbench.contracts import episodes as module
from fssbench.contracts.benchmarks import PROTOCOLS, name_stream
from fssbench.episodes.plan_file import write_plan
from fssbench.episodes.sampling import plan

NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=5)
ROWS = st.lists(st.tuples(st.integers(0, 80), NAMES, st.lists(NAMES, min_size=1, max_size=5)), max_size=9)
EMPTY = Plan("b", 1, "d", None, "test", 0, 1, "published/1", 0, 400, (0,), ("c",), "lists")


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, together=st.integers(1, 5))
def test_hash_and_file_equal_those_of_the_json_of_all_rows(
    rows: list[tuple[int, str, list[str]]], together: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = replace(EMPTY, episodes=tuple(Episode(i, c, q, tuple(s)) for i, (c, q, s) in enumerate(rows)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_HASHED_TOGETHER", together)
        text = json.dumps([list(row) for row in rows], separators=(",", ":"))
        assert made.sha256 == hashlib.sha256(text.encode()).hexdigest()
    path = tmp_path_factory.mktemp("p") / "plan.json"
    write_plan(made, path)
    lines = [json.dumps([i, *row], ensure_ascii=False) for i, row in enumerate(rows)]
    assert path.read_bytes().decode().split('"episodes": [\n', 1)[1] == ",\n".join(lines) + "\n ]\n}\n"


def test_words_of_an_episode_are_those_of_a_generator_of_its_own() -> None:
    drawn = plan("pascal-to-chestxray", shot=5, data="mini", protocol="fssbench")
    name = f"{PROTOCOLS['fssbench']}|0|{name_stream(drawn.benchmark)}|0|5"
    key = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u8").astype(np.uint64)
    items = sorted({item for e in drawn for item in (e.query, *e.supports)})
    for index in (0, 1, 7, len(drawn) - 1):
        words = np.random.Philox(counter=np.array([0, 0, 0, index], dtype=np.uint64), key=key)
        assert drawn[index].query == items[int(words.random_raw()) % len(items)]


def test_hashing_a_long_plan_takes_no_memory_that_grows_with_it() -> None:
    made = replace(EMPTY, episodes=tuple(Episode(i, 0, "query", ("support",)) for i in range(60_000)))
    tracemalloc.start()
    try:
        assert len(made.sha256) == 64
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60_000 * 100, "the text of all rows, with its lists, takes about 200 bytes per episode"
