"""Reading ahead: the same images, errors where they belong, bounded memory, and only for built-in plugins."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fssbench.errors import DataError
from fssbench.evaluation import inputs
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.read_ahead import PER_WORKER, ReadAhead
from fssbench.evaluation.settings import Settings
from fssbench.plugins import execution
from fssbench.plugins.calls import is_built_in

ITEMS = [f"item{number}" for number in range(12)]


class Images:
    """Reads images; each call waits until it is let through."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.started: list[str] = []
        self.threads: set[int] = set()
        self.read_by_another = threading.Event()

    def __call__(self, item: str) -> np.ndarray:
        self.started.append(item)
        self.threads.add(threading.get_ident())
        if threading.current_thread() is not threading.main_thread():
            self.read_by_another.set()
        self.gate.wait(10)
        if item == "item3":
            raise DataError("item3 is damaged")
        return np.full((2, 2, 3), int(item[4:]), np.uint8)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_images_are_those_that_were_asked_for(workers: int) -> None:
    images = Images()
    images.gate.set()
    ahead = ReadAhead(images, workers)
    for place, item in enumerate(ITEMS):
        ahead.announce(ITEMS[place : place + 5])
        if workers and not place:
            assert images.read_by_another.wait(60)
        if item == "item3":
            with pytest.raises(DataError, match="item3 is damaged"):
                ahead.take(item)
        else:
            assert ahead.take(item)[0, 0, 0] == place
    ahead.close()
    assert sorted(images.started) == sorted(ITEMS), "each is read once"
    assert (len(images.threads - {threading.get_ident()}) > 0) == (workers > 0)


def test_no_more_images_are_read_than_memory_is_set_aside_for() -> None:
    images = Images()
    ahead = ReadAhead(images, 2)
    ahead.announce(ITEMS)
    images.gate.set()
    for item in ITEMS[: 2 * PER_WORKER]:
        if item != "item3":
            ahead.take(item)
    ahead.close()
    assert set(images.started) <= set(ITEMS[: 2 * PER_WORKER])


def test_what_is_no_longer_wanted_makes_room() -> None:
    images = Images()
    images.gate.set()
    ahead = ReadAhead(images, 1)
    ahead.announce(ITEMS[:2])
    ahead.announce(ITEMS[8:10])
    assert [ahead.take(item)[0, 0, 0] for item in ITEMS[8:10]] == [8, 9]
    assert ahead.take("item0")[0, 0, 0] == 0, "read again, now that it is asked for"
    ahead.close()


def test_error_of_an_image_that_is_never_asked_for_is_not_raised() -> None:
    images = Images()
    images.gate.set()
    ahead = ReadAhead(images, 1)
    ahead.announce(["item3"])
    ahead.close()


@pytest.fixture
def built_in(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the null plugins count as built in; the threads that read their images."""
    monkeypatch.setattr(inputs, "is_built_in", lambda plugin: True)
    threads: list[int] = []
    read = inputs.Inputs._read_image

    def note(self, item):
        threads.append(threading.get_ident())
        return read(self, item)

    monkeypatch.setattr(inputs.Inputs, "_read_image", note)
    return threads


def run(null, out: str, workers: int, plan) -> Path:
    done, failed = evaluate_all(
        [null.method()], plan, Settings(out=null.folder / out, panels=2, workers=workers)
    )
    assert failed == []
    return done[0].path


def test_run_is_the_same_with_any_number_of_threads(null, built_in) -> None:
    plan = null.plan(20, shot=3)
    plain = run(null, "plain", 0, plan)
    assert set(built_in) == {threading.get_ident()}
    before = threading.active_count()
    built_in.clear()
    ahead = run(null, "ahead", 3, plan)
    assert len(set(built_in)) > 1, "an image whose turn has come is read by the main thread"
    assert threading.active_count() == before, "the threads have ended"
    for name in ("episodes.jsonl", "summary.json"):
        assert (plain / name).read_bytes() == (ahead / name).read_bytes()


def test_plugins_of_others_are_read_when_they_are_asked(null, monkeypatch) -> None:
    threads = set()
    read = inputs.Inputs._read_image

    def note(self, item):
        threads.add(threading.get_ident())
        return read(self, item)

    monkeypatch.setattr(inputs.Inputs, "_read_image", note)
    assert not is_built_in(null.method())
    run(null, "runs", 3, null.plan(6))
    assert threads == {threading.get_ident()}


def test_damaged_image_is_named_at_its_episode(null, built_in, monkeypatch) -> None:
    plan = null.plan(12)
    bad = plan[7].query
    first = min(e.index for e in plan if bad in (e.query, *e.supports))
    read = inputs.Inputs._read_image

    def fail(self, item):
        if item == bad:
            raise DataError(f"{item} is damaged")
        return read(self, item)

    monkeypatch.setattr(inputs.Inputs, "_read_image", fail)
    with pytest.raises(DataError, match=f"episode {first}: {bad} is damaged"):
        run(null, "runs", 2, plan)
    log = null.find_run("runs") / "episodes.jsonl"
    assert log.read_bytes().count(b"\n") == first


def test_files_read_by_these_threads_are_not_those_of_a_method(tmp_path: Path) -> None:
    image = tmp_path / "image.bin"
    image.write_bytes(b"x")
    ahead = ReadAhead(lambda item: np.frombuffer(Path(item).read_bytes(), np.uint8), 1)
    with execution.observe() as observed:
        ahead.announce([str(image)])
        ahead.take(str(image))
    ahead.close()
    assert not observed
    with execution.observe() as observed:
        image.read_bytes()
    assert list(observed.opened) == [str(image.resolve())]


def test_filters_of_warnings_are_left_alone_by_other_threads(tmp_path: Path) -> None:
    from fssbench.images.reading import read_rgb

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    entered = []
    original = warnings.catch_warnings.__enter__

    def enter(self):
        entered.append(threading.get_ident())
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warnings.catch_warnings, "__enter__", enter)
        thread = threading.Thread(target=read_rgb, args=(tmp_path / "a.png",))
        thread.start()
        thread.join()
        assert thread.ident not in entered
        read_rgb(tmp_path / "a.png")
        assert threading.get_ident() in entered
