"""Data that change under a run are noticed, and the file is named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_backbone import register_small_backbone

import fssbench
from fssbench.api import Dataset
from fssbench.data.data_files import DataFiles
from fssbench.data.location import make_miniature, open_dataset
from fssbench.errors import DataError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.settings import Settings
from fssbench.runs.store import find_run_folders, read_run

BENCHMARK = "pascal-to-chestxray"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("chest")
    make_miniature(root, names=["chestxray"])
    return root


@pytest.fixture
def data(drawn, tmp_path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "copy"))


def run(null, data: Path, *, harm=None, at: int = 2, out: str = "out", cache=None, episodes: int = 6):
    plan = fssbench.plan(BENCHMARK, data=data, episodes=episodes, size=32)
    dataset = open_dataset(plan.dataset, data=data, variant=plan.dataset_variant)
    done = 0

    def watch(*_: object) -> None:
        nonlocal done
        done += 1
        if done == at and harm is not None:
            harm(dataset, plan)

    method = fssbench.load_method("panet", backbone=register_small_backbone(), weights="random")
    return evaluate_all([method], plan, Settings(out=null.folder / out, panels=0), watch=watch, cache=cache)


def other_file(path: Path) -> bytes:
    return next(
        p for p in sorted(path.parent.iterdir()) if p != path and p.suffix == path.suffix
    ).read_bytes()


def write_anew(path: Path) -> None:
    path.write_bytes(other_file(path))


def replace(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(other_file(path))
    copy.replace(path)


def write_and_set_the_clock_back(path: Path) -> None:
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def delete(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("which", [0, 1], ids=["image", "mask"])
@pytest.mark.parametrize("change", [write_anew, replace, write_and_set_the_clock_back, delete])
@pytest.mark.parametrize("read", [False, True], ids=["yet to be read", "read already"])
def test_changed_file_is_named_and_no_figure_given(null, data, change, which, read):
    changed = []

    def harm(dataset: Dataset, plan) -> None:
        before = {i for e in plan[:2] for i in (e.query, *e.supports)}
        after = [e.query for e in plan[2:] if e.query not in before]
        item = plan[0].query if read else after[0]
        path = dataset.files(item)[which]
        changed.append(path)
        change(path)

    try:
        done, failed = run(null, data, harm=harm)
        assert done == []
        (error,) = {str(error) for _, error in failed}
    except DataError as raised:
        error = str(raised)
    assert changed[0].name in error or str(changed[0].parent) in error
    (kept,) = [read_run(path).records for path in find_run_folders(null.folder / "out")]
    assert len(kept) >= 2


def test_touched_file_is_no_change(null, data):
    def harm(dataset: Dataset, plan) -> None:
        for episode in plan:
            for path in dataset.files(episode.query):
                os.utime(path)

    done, failed = run(null, data, harm=harm)
    assert failed == []
    assert done[0].score.episodes == 6


def test_cache_of_two_plans_gives_no_features_of_the_old_file(null, data):
    cache = FeatureCache(1 << 26)
    run(null, data, cache=cache, out="before")
    plan = fssbench.plan(BENCHMARK, data=data, episodes=6, size=32)
    dataset = open_dataset(plan.dataset, data=data, variant=plan.dataset_variant)
    write_anew(dataset.files(plan[0].query)[0])
    ((shared,), _) = run(null, data, cache=cache, out="shared")
    ((fresh,), _) = run(null, data, out="fresh")
    assert null.read_results(shared.path) == null.read_results(fresh.path)
    assert shared.identity != next(read_run(p).identity for p in find_run_folders(null.folder / "before"))


def test_hash_is_over_items_names_and_bytes(tmp_path):
    class Files:
        card = SimpleNamespace(name="files")
        places = (tmp_path,)

        def files(self, item):
            return (tmp_path / item,)

    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    files = DataFiles(Files(), "abab", "a plan")
    assert len(files.hashes) == len(files.paths) == 2
    files.check_all()
    (tmp_path / "b").write_bytes(b"c")
    files.check("a")
    with pytest.raises(DataError, match="b has changed"):
        files.check_all()
