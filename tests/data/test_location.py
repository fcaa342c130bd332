"""Where data sets come from: folders, the environment, and the miniature drawn on demand."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from messages import error_names
from registries import add_lazily

from fssbench.api import DataError, Dataset, PluginError, UsageError
from fssbench.data import location
from fssbench.data.location import MARKER, find_data_folder, is_miniature, make_miniature, open_dataset
from fssbench.episodes.sampling import plan
from fssbench.plugins.registry import DATASETS


@pytest.fixture(autouse=True)
def _nothing_drawn(toy: Any) -> None:
    toy.miniature_folders.clear()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_resolve_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_data_folder(None) is None
    assert find_data_folder(tmp_path) == tmp_path
    assert find_data_folder(str(tmp_path)) == tmp_path
    monkeypatch.setenv("FSSBENCH_DATA", str(tmp_path))
    assert find_data_folder(None) == tmp_path
    monkeypatch.setenv("FSSBENCH_DATA", "")
    assert find_data_folder(None) is None


def test_resolve_expands_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "d").mkdir()
    assert find_data_folder("~/d") == tmp_path / "d"


def test_a_relative_folder_stays_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_data_folder("d") == tmp_path / "d"


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none does not exist. Next: .* `--data mini`"):
        find_data_folder(tmp_path / "none")


def test_resolving_mini_draws_nothing(cache: Path, toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root = find_data_folder("mini")
    assert root is not None
    assert root.parent == cache
    assert is_miniature(root)
    assert toy.miniature_folders == []
    assert find_data_folder("mini") == root
    monkeypatch.setenv("FSSBENCH_DATA", "mini")
    assert find_data_folder(None) == root


def test_a_data_set_is_drawn_once_when_it_is_first_opened(toy: Any) -> None:
    first = open_dataset("toy", data="mini")
    second = open_dataset("toy", data="mini", variant="two")
    assert first.root == second.root
    assert len(toy.miniature_folders) == 1
    assert len(first.pool("test").entries) == 24
    assert len(second.pool("test").entries) == 16
    assert first.root is not None
    assert is_miniature(first.root.parent)
    # the folder of the one data set is a data folder too
    assert open_dataset("toy", data=first.root.parent).root == first.root


def test_only_what_is_asked_for_is_drawn(toy: Any) -> None:
    root = find_data_folder("mini")
    assert root is not None
    open_dataset("toy", data=root)
    assert [p.name.split("-")[0] for p in root.glob("[!.]*/")] == ["toy"]


def test_openers_of_one_process_mark_the_cache_at_once(tmp_path: Path) -> None:
    """Each writes a file of its own and renames it; they never share one."""
    together = Barrier(8, timeout=20)  # one that fails leaves the others to this

    def write(seed: int) -> None:
        for _ in range(30):
            together.wait()
            location._Marker(seed=seed).write(tmp_path)

    with ThreadPoolExecutor(8) as workers:
        list(workers.map(write, range(8)))
    assert [p.name for p in tmp_path.iterdir()] == [MARKER]
    assert location._Marker.read(tmp_path).seed in range(8)


def test_two_openers_draw_once(toy: Any) -> None:
    with ThreadPoolExecutor(4) as workers:
        opened = list(workers.map(lambda _: open_dataset("toy", data="mini"), range(4)))
    assert len({d.root for d in opened}) == 1
    assert len(toy.miniature_folders) == 1


def test_what_a_killed_process_left_is_cleared(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = toy.miniature

    def killed(folder: Path, seed: int) -> None:
        honest(folder, seed)
        raise KeyboardInterrupt

    monkeypatch.setattr(toy, "miniature", killed)
    with pytest.raises(KeyboardInterrupt):
        open_dataset("toy", data="mini")
    root = find_data_folder("mini")
    assert root is not None
    assert any(p.name.startswith(".drawing-toy") for p in root.iterdir())
    monkeypatch.setattr(toy, "miniature", honest)
    assert len(open_dataset("toy", data="mini").pool("test").entries) == 24
    assert not any(p.name.startswith(".drawing") for p in root.iterdir())


def test_changed_code_draws_anew(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_dataset("toy", data="mini")
    monkeypatch.setattr(location, "_hash_drawing_code", lambda cls: "f" * 64)
    assert open_dataset("toy", data="mini").root != first.root
    assert len(toy.miniature_folders) == 2


def test_a_plugin_that_cannot_draw_is_named_and_leaves_no_data_set(toy: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(toy, "miniature", lambda folder, seed: (folder / "toy").mkdir() or 1 / 0)
    for _ in range(2):
        with pytest.raises(PluginError, match="'toy' cannot draw its miniature: ZeroDivisionError"):
            open_dataset("toy", data="mini")


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FSSBENCH_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(DataError, match="FSSBENCH_CACHE"):
        find_data_folder("mini")


def test_a_full_disk_is_a_data_error(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, seed: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(toy, "miniature", full)
    with pytest.raises(DataError, match="No space left"):
        open_dataset("toy", data="mini")


def test_a_damaged_marker_is_told(cache: Path) -> None:
    root = find_data_folder("mini")
    assert root is not None
    (root / MARKER).write_text('{"seed": "x"}')
    with pytest.raises(DataError, match=r"MINIATURE.json cannot be read .* Next: delete"):
        open_dataset("toy", data="mini")


def test_neither_data_nor_lists() -> None:
    with pytest.raises(DataError, match="give --data DIR, set FSSBENCH_DATA or use --data mini"):
        open_dataset("toy")


def test_lists_alone_open_without_a_folder(tmp_path: Path) -> None:
    (tmp_path / "fss").mkdir()
    opened = open_dataset("toy", splits=tmp_path)
    assert opened.root is None
    assert opened.splits == tmp_path
    with pytest.raises(DataError, match="holds no reference lists"):
        open_dataset("toy", splits=tmp_path / "fss")


def test_an_absent_data_set_an_unknown_name_and_an_unknown_variant(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data set 'toy' not found below .*: looked for"):
        open_dataset("toy", data=tmp_path)
    with pytest.raises(UsageError, match="Did you mean toy"):
        open_dataset("toi", data=tmp_path)
    with pytest.raises(UsageError, match="three"):
        open_dataset("toy", data="mini", variant="tree")


def test_real_lists_never_meet_the_miniature_unless_named(cache: Path, tmp_path: Path, toy: Any) -> None:
    (cache / "splits" / "pascal").mkdir(parents=True)
    assert open_dataset("toy", data="mini").splits is None
    assert open_dataset("toy", data="mini", splits=cache / "splits").splits == cache / "splits"
    toy.miniature(tmp_path / "real", 0)
    assert open_dataset("toy", data=tmp_path / "real").splits == cache / "splits"


def test_miniature_plans_are_marked_and_real_ones_are_not(tmp_path: Path, toy: Any) -> None:
    drawn = plan("toy", data="mini")
    assert [mark.kind for mark in drawn.marks] == ["miniature", "resized"]
    assert is_miniature(drawn.data)
    toy.miniature(tmp_path, 0)
    real = plan("toy", data=tmp_path)
    assert real.marks == ()
    assert real.sha256 == drawn.sha256
    assert plan("toy", data=drawn.data).sha256 == drawn.sha256


# ---- make_miniature --------------------------------------------------------------------------------


def test_side_by_side(tmp_path: Path, toy: Any) -> None:
    target = tmp_path / "new" / "mini"
    assert make_miniature(target, names=["toy"]) == {"toy": "written"}
    assert make_miniature(target, names=["toy"]) == {"toy": "already there"}
    assert (target / "toy" / "disc" / "1.png").is_file()
    assert json.loads((target / MARKER).read_text())["datasets"].keys() == {"toy"}
    assert open_dataset("toy", data=target).root == target / "toy"
    assert len(toy.miniature_folders) == 1


def test_the_cache_can_be_filled_beforehand(toy: Any) -> None:
    outcome = make_miniature(None, names=["toy"])
    assert outcome["toy"] == f"at {toy.miniature_folders[0].parent / outcome['toy'].rpartition('/')[2]}"
    open_dataset("toy", data="mini")
    assert len(toy.miniature_folders) == 1


def test_equal_seeds_give_equal_pictures(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_miniature(tmp_path / name, seed, ["toy"])
    files = {n: b"".join(p.read_bytes() for p in sorted((tmp_path / n).rglob("*.png"))) for n in "abc"}
    assert files["a"] == files["b"] != files["c"]


def test_a_folder_with_anything_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UsageError) as caught:
        make_miniature(tmp_path, names=["toy"])
    assert error_names(caught.value, tmp_path, "files of another kind", "Next: name a new or empty folder")
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == ["thesis.tex"]


def test_another_seed_is_refused(tmp_path: Path) -> None:
    make_miniature(tmp_path / "m", 1, ["toy"])
    with pytest.raises(UsageError) as caught:
        make_miniature(tmp_path / "m", 2, ["toy"])
    assert error_names(caught.value, tmp_path / "m", "seed 1, not 2", "Next:")


def test_one_broken_plugin_stops_no_other(tmp_path: Path) -> None:
    def missing() -> type[Dataset]:
        raise ModuleNotFoundError("no module named 'stranger'")

    add_lazily(DATASETS, "broken", "stranger 1.0 (stranger:Data)", missing)
    outcome = make_miniature(tmp_path / "m", names=["broken", "toy"])
    assert outcome["toy"] == "written"
    assert "does not load: ModuleNotFoundError" in outcome["broken"]
    assert open_dataset("toy", data=tmp_path / "m").root == tmp_path / "m" / "toy"


def test_an_unknown_name_draws_nothing(tmp_path: Path, toy: Any) -> None:
    with pytest.raises(UsageError, match="unknown dataset 'toi'"):
        make_miniature(tmp_path / "m", names=["toy", "toi"])
    assert toy.miniature_folders == []


def test_the_built_in_miniature_is_complete_small_and_sound(mini: Path) -> None:
    assert set(json.loads((mini / MARKER).read_text())["datasets"]) == {
        "chestxray",
        "coco",
        "deepglobe",
        "fss1000",
        "isic2018",
        "pascal",
        "suim",
    }
    assert sum(p.stat().st_size for p in mini.rglob("*") if p.is_file()) < 30e6
    made = [n for n in DATASETS.names() if n != "toy"]
    assert {n: open_dataset(n, data=mini).verify().ok for n in made} == dict.fromkeys(made, True)
