"""Plans as files: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from fssbench.api import DataError, Episode, Plan
from fssbench.episodes.plan_file import read_plan, write_plan


def made(episodes: tuple[Episode, ...] = (), shot: int = 1) -> Plan:
    return Plan(
        benchmark="pascal-to-isic2018:isic1",
        version=1,
        dataset="isic2018",
        dataset_variant="isic1",
        split="test",
        fold=0,
        shot=shot,
        protocol="published/1",
        seed=0,
        size=400,
        classes=(0, 3),
        class_names=("lesion", "größer"),
        lists="files on disk",
        marks=("miniature",),
        episodes=episodes,
        data=Path("somewhere"),
    )


THREE = (Episode(0, 0, "a", ("b",)), Episode(1, 3, "c", ("ü",)), Episode(2, 0, "b", ("a",)))


items = st.text(min_size=1).map(lambda text: f"a{text}").filter(lambda text: not {"/", "\\"} & set(text))


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from([0, 3]), items, items), max_size=8))
def test_round_trip(rows: list[tuple[int, str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("p") / "plan.json"
    plan = made(tuple(Episode(i, c, q, (s,)) for i, (c, q, s) in enumerate(rows)))
    write_plan(plan, path)
    again = read_plan(path)
    assert again == plan
    assert again.sha256 == plan.sha256
    assert again.data is None
    assert [p.name for p in path.parent.iterdir()] == ["plan.json"]


def test_one_episode_a_line_and_no_folder_of_this_machine(tmp_path: Path) -> None:
    write_plan(made(THREE), tmp_path / "p.json")
    text = (tmp_path / "p.json").read_text()
    assert ' [1, 3, "c", ["ü"]]' in text.replace("\n[", "\n [")
    assert "somewhere" not in text
    assert set(json.loads(text)) >= {"format", "sha256", "benchmark", "protocol", "episodes"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["episodes"][1].__setitem__(2, "x"), "was changed"),
        (lambda d: d.update(sha256="0" * 64), "was changed"),
        (lambda d: d["episodes"].pop(), "was changed"),
        (lambda d: d.update(extra=1), "extra: Extra inputs"),
        (lambda d: d.pop("protocol"), "protocol: Field required"),
        (lambda d: d.update(format="fssbench-plan/9"), "format: "),
        (lambda d: d["episodes"][0].__setitem__(1, "zero"), "episodes.0.1: "),
        (lambda d: d.update(shot=2), "episode 0 has 1 support, not 2"),
        (lambda d: d.update(classes=[0, 4]), "episode 1 has class 3"),
        (lambda d: d.update(class_names=["one"]), "has 2 classes, but 1 class name"),
        (lambda d: d["episodes"][2].__setitem__(0, 1), "episode 2 is out of order"),
        (lambda d: d["episodes"][0].__setitem__(0, -1), "episode 0 is out of order"),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, change, told: str) -> None:
    path = tmp_path / "p.json"
    write_plan(made(THREE), path)
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))
    with pytest.raises(DataError) as caught:
        read_plan(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not json", b"\x80\x04.", b"[]", b"null", b'{"a": 1'])
def test_what_is_no_plan(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a plan of fssbench"):
        read_plan(path)


def test_missing_and_unwritable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_plan(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot be written"):
        write_plan(made(THREE), tmp_path / "none" / "p.json")


@pytest.mark.parametrize("item", ["../secret.png", "/etc/passwd", "a/../../b", "..\\b", ""])
def test_a_plan_cannot_name_files_outside_its_data_set(tmp_path: Path, item: str) -> None:
    write_plan(made((Episode(0, 0, "a", (item,)),)), tmp_path / "p.json")
    with pytest.raises(DataError, match="outside its data set"):
        read_plan(tmp_path / "p.json")
