"""The fingerprint of a population says whether two people draw the same episodes."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, strategies as st

from fssbench.contracts.datasets import Entry, Pool
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
