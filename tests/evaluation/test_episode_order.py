"""The order of episodes: images recur while they are held, and the finished run is the same to the byte."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from small_backbone import register_small_backbone

import fssbench
from fssbench.api import Episode
from fssbench.data.location import open_dataset
from fssbench.errors import DataError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.episode_order import order_for_reuse
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.settings import Settings
from fssbench.files.kept_log import KeptLog
from fssbench.runs.pictures import FILE
from fssbench.runs.store import read_records

BYTES = 4 * 3 * 16 * 16
"""Bytes of one image of the null data at 16 px, as a method reads it."""


def draw_episodes(count: int, images: int, shot: int, classes: int = 1, seed: int = 0) -> list[Episode]:
    """Draw episodes as a benchmark does: a class, then a query and supports of that class."""
    generator, episodes = random.Random(seed), []
    for index in range(count):
        class_id = generator.randrange(classes)
        query, *supports = (f"{class_id}/{n}" for n in generator.sample(range(images), shot + 1))
        episodes.append(Episode(index=index, class_id=class_id, query=query, supports=tuple(supports)))
    return episodes


def count_extractions(episodes: list[Episode], room: int) -> int:
    """Count how often the feature cache must compute if it holds `room` images."""
    cache = FeatureCache(room * BYTES)
    requests = [item for episode in episodes for item in (episode.query, *episode.supports)]
    cache.plan(requests)
    for item in requests:
        cache.get(item, lambda: {"pixels": torch.empty(BYTES // 4)})
    return cache.misses


@given(st.integers(0, 25), st.integers(6, 12), st.integers(1, 5), st.integers(0, 13), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_every_episode_once(count: int, images: int, shot: int, room: int, seed: int) -> None:
    episodes = draw_episodes(count, images, shot, seed=seed)
    ordered = order_for_reuse(episodes, room)
    assert sorted(ordered, key=lambda e: e.index) == episodes
    assert order_for_reuse(episodes, room) == ordered


@pytest.mark.parametrize("room", [0, 30])
def test_order_of_the_plan_if_nothing_or_everything_is_held(room: int) -> None:
    episodes = draw_episodes(40, 30, 1)
    assert order_for_reuse(episodes, room) == episodes


def test_long_plans_are_ordered_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fssbench.evaluation.episode_order.WINDOW", 10)
    ordered = order_for_reuse(draw_episodes(25, 30, 1), 5)
    assert [sorted(e.index for e in ordered[at : at + 10]) for at in (0, 10, 20)] == [
        list(range(10)),
        list(range(10, 20)),
        list(range(20, 25)),
    ]


def test_a_fold_with_a_tenth_of_its_images_held_extracts_each_image_once() -> None:
    """Five classes of 70 images, 1,000 episodes, 54 images held: what PASCAL-5i and 2 GiB come to."""
    episodes = draw_episodes(1000, 70, 1, classes=5)
    images = {item for episode in episodes for item in (episode.query, *episode.supports)}
    assert count_extractions(episodes, 54) > 2.5 * len(images)
    assert count_extractions(order_for_reuse(episodes, 54), 54) <= 1.02 * len(images)


def test_five_shots_need_a_quarter_of_the_extractions() -> None:
    episodes = draw_episodes(600, 70, 5, classes=5)
    assert count_extractions(order_for_reuse(episodes, 54), 54) < 0.25 * count_extractions(episodes, 54)


def run_with_room(null, out: str, plan, images: int, *methods) -> Path:
    """Evaluate with a cache that holds some images."""
    done, failed = evaluate_all(
        methods or [null.method()],
        plan,
        Settings(out=null.folder / out, panels=6, repeated=0),
        cache=FeatureCache(images * BYTES),
    )
    assert failed == []
    return done[0].path


def results(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in ("episodes.jsonl", "summary.json", FILE)}


def indices(run: Path) -> list[int]:
    """Indices of the stored episodes in the order of the log."""
    return list(read_records(run / "episodes.jsonl")[0])


def stop_at(null, call: int, stop) -> type:
    """The null method, which stops the process at one of its calls; a new class for each test."""
    calls = [0]

    def logits(self, *given):
        calls[0] += 1
        if calls[0] == call:
            stop()
        return null.base.logits(self, *given)

    return null.method(type("NullMethod", (null.base,), {"logits": logits}))


def test_finished_run_is_the_same_to_the_byte(null) -> None:
    plan = null.plan(60, shot=2)
    plain = run_with_room(null, "plain", plan, 1000)
    walked = run_with_room(null, "walked", plan, 5)
    assert results(walked) == results(plain)
    assert indices(walked) == list(range(60))


@pytest.mark.parametrize("end", ["interrupted", "killed"])
@pytest.mark.parametrize("call", [1, 23])
def test_stopped_in_the_middle_loses_nothing_and_resumes(null, end: str, call: int) -> None:
    plan = null.plan(60)
    plain = run_with_room(null, "plain", plan, 1000)

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGINT if end == "interrupted" else signal.SIGKILL)

    method = stop_at(null, call, stop)
    child = null.fork(lambda: run_with_room(null, "stopped", plan, 5, method))
    assert child.wait() == (130 if end == "interrupted" else -signal.SIGKILL)
    stopped = null.find_run("stopped")
    stored = read_records(stopped / "episodes.jsonl")[0]
    assert len(stored) == call - 1
    if end == "killed" and call > 5:
        assert list(stored) != sorted(stored), "written as they were counted"
    null.calls_file.unlink()
    # the same source, so the same identity: it goes on where it stopped
    resumed = run_with_room(null, "stopped", plan, 5, stop_at(null, -1, stop))
    assert resumed == stopped
    assert null.count_calls() == 60 - len(stored)
    assert results(resumed)["episodes.jsonl"] == results(plain)["episodes.jsonl"]


@pytest.mark.parametrize("name", ["panet", "hsnet"])
def test_images_that_fit_are_counted_by_the_taps(name: str, mini: Path) -> None:
    plan = fssbench.plan("pascal5i", data=mini, episodes=1, size=96)
    method = fssbench.load_method(name, backbone=register_small_backbone(), weights="random")
    cache = FeatureCache(1 << 24)
    inputs = Inputs(open_dataset(plan.dataset, data=mini), plan.size, torch.device("cpu"), cache)
    room = inputs.count_images_held([method])
    inputs.expect([method], plan)
    inputs.of(method, plan[0])
    assert room == cache.budget // (cache.held // cache.misses)


def test_shards_join_to_the_same_run(null) -> None:
    from fssbench.runs.merge import merge

    plan = null.plan(50)
    plain = run_with_room(null, "plain", plan, 1000)
    shards = []
    for part in (1, 2, 3):
        given = Settings(out=null.folder / "shards", panels=6, shard=(part, 3), repeated=0)
        done, _ = evaluate_all([null.method()], plan, given, cache=FeatureCache(4 * BYTES))
        shards.append(done[0].path)
    (joined,) = merge(shards, null.folder / "joined")
    assert results(joined) == results(plain)


class TestSort:
    """`KeptLog.sort` replaces a log as a whole, or leaves it as it was."""

    @staticmethod
    def number_of(line: bytes) -> int:
        return int(line.split()[0])

    def test_lines_are_sorted_and_the_log_goes_on(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_bytes(b"5 e\n")
        log = KeptLog(path, b"5 e\n")
        log.append(b"3 c\n")
        log.append(b"5 E\n")
        log.sort(self.number_of)
        assert path.read_bytes() == b"3 c\n5 E\n"
        assert log.find_harm(whole=True) == ""
        log.append(b"9 i\n")
        log.close()
        assert path.read_bytes() == b"3 c\n5 E\n9 i\n"

    def test_a_sorted_log_is_not_touched(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_bytes(b"1 a\r\n\r\n2 b\r\n")
        log = KeptLog(path, path.read_bytes())
        before = path.stat()
        log.sort(self.number_of)
        log.close()
        assert path.read_bytes() == b"1 a\r\n\r\n2 b\r\n"
        assert path.stat().st_ino == before.st_ino

    def test_a_full_disk_leaves_every_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "log"
        log = KeptLog(path, b"")
        log.append(b"2 b\n")
        log.append(b"1 a\n")

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fail)
            with pytest.raises(DataError, match="No space left"):
                log.sort(self.number_of)
        assert path.read_bytes() == b"2 b\n1 a\n"
        assert log.find_harm(whole=True) == ""
        log.sort(self.number_of)
        log.close()
        assert path.read_bytes() == b"1 a\n2 b\n"
