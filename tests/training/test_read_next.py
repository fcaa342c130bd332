"""Images of the next step are read while a step computes; no draw and no bit of the weights depends on it."""

from __future__ import annotations

import threading
import time

import pytest
from trainings import Stopped, same, stop_after

from fssbench.evaluation.inputs import Inputs
from fssbench.training.batches import Batches

STEPS = 5


@pytest.fixture(autouse=True)
def _read_by_threads(monkeypatch):
    """Only built-in plugins are read by threads; the learner counts as one here."""
    monkeypatch.setattr("fssbench.evaluation.inputs.is_built_in", lambda plugin: True)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("cache_mb", [0, 64])
def test_weights_are_the_same_to_the_byte_without_threads_and_after_a_stop(
    training, tmp_path, accumulate, cache_mb
):
    options = {"steps": STEPS, "batch": 3, "accumulate": accumulate, "cache_mb": cache_mb, "save_every": 2}
    training(out="plain", workers=0, **options)
    training(out="ahead", workers=2, **options)
    assert same(tmp_path / "ahead", tmp_path / "plain")
    with pytest.raises(Stopped):
        training(out="stopped", workers=2, watch=stop_after(3), **options)
    training(out="stopped", workers=1, **options)
    assert same(tmp_path / "stopped", tmp_path / "plain")


def test_the_images_of_the_next_step_are_read_while_a_step_computes(training, monkeypatch):
    read: dict[str, str] = {}
    next_items: list[set[str]] = []
    late = []
    read_image, make_batches = Inputs._read_image, Batches.of

    def note(self, item):
        pixels = read_image(self, item)
        read.setdefault(item, threading.current_thread().name)
        return pixels

    def watch(self, step, *, is_last=False):
        for batch in make_batches(self, step, is_last=is_last):
            coming = [] if is_last else self._list_episodes(step + 1, 0)
            next_items.append({item for each in coming for item in (each.query, *each.supports)})
            end = time.monotonic() + 20  # the time of a step; threads need it all only on a busy machine
            while not next_items[-1] <= read.keys() and time.monotonic() < end:
                time.sleep(0.001)
            late.extend(next_items[-1] - read.keys())
            yield batch

    monkeypatch.setattr(Inputs, "_read_image", note)
    monkeypatch.setattr(Batches, "of", watch)
    training(steps=STEPS, batch=3, workers=2, val_episodes=0)
    assert len(next_items) == STEPS
    assert not late
    assert not next_items[-1]
    assert any(name.startswith("read-ahead") for name in read.values())


def test_threads_end_with_the_training(training):
    training(steps=2, batch=2, workers=2, val_episodes=0)
    with pytest.raises(Stopped):
        training(out="other", steps=3, batch=2, workers=2, watch=stop_after(1))
    assert not [each for each in threading.enumerate() if each.name.startswith("read-ahead")]
