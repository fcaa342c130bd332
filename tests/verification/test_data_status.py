"""The fingerprint of a population says whether two people draw the same episodes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from fssbench.contracts.datasets import Entry, Pool
from fssbench.contracts.episodes import Episode
from fssbench.data.reader import Reader
from fssbench.new_plugins import make_start, write_start
from fssbench.plugins.registry import load_plugins
from fssbench.verification.data_status import collect_states, fingerprint_pool

ENTRIES = st.lists(st.builds(Entry, st.text(max_size=4), st.integers(0, 3)), max_size=6)


@given(ENTRIES, ENTRIES)
def test_fingerprints_are_equal_if_and_only_if_the_lists_are(one: list[Entry], two: list[Entry]) -> None:
    pools = [Pool(tuple(entries), source) for entries, source in ((one, "a"), (two, "b"))]
    assert (fingerprint_pool(pools[0]) == fingerprint_pool(pools[1])) == (one == two)


def test_a_removed_image_changes_one_population_and_its_count(mini: Path, tmp_path: Path) -> None:
    place = tmp_path / "LungSegmentation"
    for part in ("CXR_png", "masks"):
        (place / part).mkdir(parents=True)
        for file in (mini / "LungSegmentation" / part).iterdir():
            (place / part / file.name).hardlink_to(file)

    def look() -> dict[str | None, tuple[int, str | None]]:
        (state,) = [s for s in collect_states(str(tmp_path), None) if s.name == "chestxray"]
        return {p.variant: (p.entries, p.fingerprint) for p in state.populations}

    before = look()
    (place / "masks" / sorted(p.name for p in (place / "masks").glob("MCUCXR*"))[0]).unlink()
    after = look()
    assert before["lung566"] == after["lung566"]
    assert before["lung704"][0] == after["lung704"][0] + 1
    assert before["lung704"][1] != after["lung704"][1]


def test_pictures_of_training_images_are_not_opened(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, int]] = []

    def note(reader: Reader, episode: Episode) -> tuple[str, ...]:
        opened.append((reader.dataset.card.name, episode.class_id))
        return ()

    monkeypatch.setattr(Reader, "doubts", note)
    states = collect_states(str(mini), None)
    assert any(p.split == "trn" and p.entries for s in states if s.name == "pascal" for p in s.populations)
    assert sorted(class_id for name, class_id in opened if name == "pascal") == [*range(20)]


def test_a_data_set_whose_classes_cannot_be_named_does_not_stop_the_table(tmp_path: Path) -> None:
    (file,) = write_start(make_start("dataset", "needy"), tmp_path)
    text = file.read_text()
    line = "        return dict(enumerate(CLASSES))"
    assert line in text
    file.write_text(text.replace(line, f"        assert self.root is not None\n{line}"))
    load_plugins(file)
    states = {state.name: state for state in collect_states("mini", None)}
    assert "cannot name its classes" in (states["needy"].problem or "")
    assert states["pascal"].problem is None
