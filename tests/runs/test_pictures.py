"""Stored pictures: which, how large, what is read back, and what damage costs."""

from __future__ import annotations

import base64
import os
import resource
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from fssbench.cli.run import command
from fssbench.errors import DataError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.settings import Settings
from fssbench.files.append_log import seal, unseal
from fssbench.plugins.registry import DATASETS
from fssbench.runs.merge import merge
from fssbench.runs.pictures import FILE, PANELS, SIDE, Panels, _pack_mask, _unpack_mask, read_panels
from fssbench.runs.store import EpisodeRecord, read_run


def kept(run) -> list[int]:
    return [p.index for p in read_panels(read_run(run))]


def lines(run) -> list[dict]:
    return [unseal(line) for line in (run / FILE).read_bytes().splitlines()]


@given(st.integers(1, 3000), st.integers(0, 200))
def test_kept_episodes_are_spread_and_within_the_plan(episodes, keep):
    panels = Panels(Path("nowhere"), None, episodes, keep)  # type: ignore[arg-type]
    result = [i for i in range(episodes) if panels.wanted(i)]
    assert len(result) == min(keep, episodes)
    if len(result) > 1:
        gaps = np.diff(result)
        assert gaps.max() - gaps.min() <= 1


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_masks_survive_packing(width, height, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.3
    assert (_unpack_mask(_pack_mask(mask, (width, height)), (width, height)) == mask).all()


def test_default_is_the_command_lines(null):
    (option,) = (p for p in command.params if p.name == "panels")
    assert option.default == PANELS == Settings().panels


def test_every_method_keeps_the_same_episodes(null):
    plan = null.plan(20)
    done = null.run("runs", plan, null.make_broken("a"), null.make_broken("b"), panels=3)
    assert kept(done[0].path) == kept(done[1].path)
    assert len(kept(done[0].path)) == 3
    assert sorted(p.name for p in done[0].path.iterdir()) == [
        ".lock",
        "checksums.json",
        "data.json",
        "episodes.jsonl",
        "manifest.json",
        FILE,
        "plan.json",
        "sessions.jsonl",
        "summary.json",
        "supports.json",
    ]


def test_panels_read_back_are_what_was_counted(null):
    plan = null.plan(8, shot=2, size=32)
    (run,) = null.run("runs", plan, panels=4)
    stored = read_run(run.path)
    panels = list(read_panels(stored))
    assert len(panels) == 4
    dataset = DATASETS.get("nulldata")(null.data / "nulldata")
    for panel in panels:
        episode, record = plan[panel.index], stored.records[panel.index]
        assert panel.class_name == dataset.classes()[episode.class_id]
        assert panel.iou == pytest.approx(100 * record.inter[1] / record.union[1])
        pictures = panel.pictures()
        truth, guess = pictures.truth == 1, pictures.prediction
        assert (truth == (dataset.mask(episode.query, 0) == 1)).all()
        assert (np.count_nonzero(truth & guess), np.count_nonzero(truth | guess)) == (
            record.inter[1],
            record.union[1],
        )
        assert (
            abs(np.asarray(pictures.query).astype(int) - np.asarray(dataset.image(episode.query))).max() < 4
        )
        for (image, mask), item in zip(pictures.supports, episode.supports, strict=True):
            assert image.size == (32, 32)
            assert (mask == (dataset.mask(item, 0) == 1)).all()


def test_picture_that_a_reader_draws_on_stays_whole_for_others(null):
    """The same pictures are stored by the runs of each method, and decoded once."""
    runs = null.run("runs", null.plan(2), null.make_broken("a"), null.make_broken("b"), panels=1)
    one, other = (next(read_panels(read_run(run.path))) for run in runs)
    before = np.asarray(other.pictures().query)
    one.pictures().query.paste((255, 0, 0), (0, 0, 8, 8))
    assert (np.asarray(other.pictures().query) == before).all()


def test_stored_pictures_are_small_and_keep_their_shape(null, monkeypatch):
    cls = DATASETS.get("nulldata")
    monkeypatch.setattr(cls, "image", lambda self, item: Image.new("RGB", (1200, 600), 99))
    monkeypatch.setattr(
        cls, "mask", lambda self, item, c: np.pad(np.ones((300, 600), np.uint8), ((0, 300), (0, 600)))
    )
    (run,) = null.run("runs", null.plan(2), panels=1)
    (panel,) = read_panels(read_run(run.path))
    pictures = panel.pictures()
    assert pictures.query.size == pictures.supports[0][0].size == (SIDE, SIDE // 2)
    assert pictures.truth.shape == pictures.prediction.shape == (SIDE // 2, SIDE)
    assert pictures.truth[: SIDE // 4, : SIDE // 2].all()
    assert pictures.truth.mean() == 0.25
    assert (run.path / FILE).stat().st_size < 4000


def test_noise_is_the_dearest_and_keeps_the_stated_size(null, monkeypatch):
    cls, draw = DATASETS.get("nulldata"), np.random.default_rng(0)
    monkeypatch.setattr(
        cls,
        "image",
        lambda self, item: Image.fromarray(draw.integers(0, 256, (500, 375, 3), dtype=np.uint8)).resize(
            (375, 500), Image.Resampling.BICUBIC
        ),
    )
    mask = np.pad(np.ones((100, 100), np.uint8), ((0, 400), (0, 275)))
    monkeypatch.setattr(cls, "mask", lambda self, item, class_id: mask)
    (run,) = null.run("runs", null.plan(20, shot=5), panels=20)
    assert (run.path / FILE).stat().st_size / 20 < 60_000


def test_ignored_pixels_are_told_apart(null, monkeypatch):
    cls = DATASETS.get("nulldata")
    plain = cls.mask

    def void(self, item, class_id):
        mask = plain(self, item, class_id).copy()
        mask[:8] = 255
        return mask

    monkeypatch.setattr(cls, "mask", void)
    (run,) = null.run("runs", null.plan(1, size=32), panels=1)
    (panel,) = read_panels(read_run(run.path))
    truth = panel.pictures().truth
    assert set(np.unique(truth)) <= {0, 1, 255}
    assert (truth[:8] == 255).all()
    assert not (truth[8:] == 255).any()


def test_each_image_is_read_once_for_pictures_of_all_methods(null, monkeypatch):
    cls, opened = DATASETS.get("nulldata"), []
    plain = cls.image
    monkeypatch.setattr(cls, "image", lambda self, item: opened.append(item) or plain(self, item))
    plan = null.plan(10)
    images = {i for e in plan for i in (e.query, *e.supports)}
    null.run("runs", plan, null.make_broken("a"), null.make_broken("b"), null.make_broken("c"), panels=10)
    assert len(opened) == 2 * len(images)  # as input, and as picture


def test_time_of_pictures_is_not_the_methods(null, monkeypatch):
    monkeypatch.setattr(Panels, "save", lambda *_: time.sleep(0.05))
    (run,) = null.run("runs", null.plan(4), panels=4)
    (session,) = read_run(run.path).sessions()
    assert session.seconds < 0.1


def test_number_of_panels_is_no_part_of_the_identity(null):
    runs = [null.run(f"runs{n}", null.plan(6), panels=n)[0] for n in (0, 2, 6)]
    assert len({run.identity for run in runs}) == 1
    assert len({null.read_results(run.path) for run in runs}) == 1


# --- kills, resume, shards, faults ----------------------------------------------------------------


def test_kill_at_every_write_loses_nothing_and_resumes_to_the_same_bytes(null):
    plan = null.plan(3)
    (whole,) = null.run("whole", plan, panels=3)
    at = 0
    while True:
        at += 1

        def work(at: int = at) -> None:
            real, calls = os.write, [0]

            def write(handle: int, data: bytes) -> int:
                calls[0] += 1
                if calls[0] == at:
                    real(handle, data[: len(data) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(handle, data)

            os.write = write
            null.run(f"killed{at}", plan, panels=3)

        code = null.fork(work).wait()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *_, **__: None)
            (again,) = null.run(f"killed{at}", plan, panels=3)
        assert null.read_results(again.path) == null.read_results(whole.path)
        assert (again.path / FILE).read_bytes() == (whole.path / FILE).read_bytes()
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert at > 12


def test_torn_tail_is_dropped_and_damage_costs_one_episode(null):
    plan = null.plan(6)
    (run,) = null.run("runs", plan, panels=6)
    file = run.path / FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    assert kept(run.path) == [0, 1, 2, 3, 4]
    starts = [0, *np.flatnonzero(np.frombuffer(whole, np.uint8) == 10) + 1]
    damaged = bytearray(whole)
    damaged[starts[2] + 300] ^= 1
    file.write_bytes(damaged)
    panels = list(read_panels(read_run(run.path)))
    assert len(panels) == 6
    for panel in panels:
        if panel.index == 2:
            with pytest.raises(DataError, match=r"panels.jsonl holds damaged pictures of an episode"):
                panel.pictures()
        else:
            panel.pictures()
    assert read_run(run.path).status == "complete"


def test_method_that_answers_otherwise_after_a_kill_is_shown_as_counted(null):
    plan, answers = null.plan(2, size=32), [-1.0]

    def logits(self, q, s, m):
        import torch

        fg = m.mean(dim=1) - 0.5
        return torch.stack([-fg, fg], dim=1) * answers[0]

    odd = null.make_broken("odd", logits=logits)
    (run,) = null.run("runs", plan, odd, panels=2)
    (run.path / "episodes.jsonl").write_bytes(b"")  # as if killed between picture and count
    answers[0] = 1.0
    null.run("runs", plan, odd, panels=2)
    assert len(lines(run.path)) == 2
    stored = read_run(run.path)
    for panel in read_panels(stored):
        pictures = panel.pictures()
        both = np.count_nonzero((pictures.truth == 1) & pictures.prediction)
        assert both == stored.records[panel.index].inter[1]


def test_shards_merge_to_the_bytes_of_the_whole(null):
    plan = null.plan(11, shot=2)
    (whole,) = null.run("whole", plan, panels=5)
    for part in (2, 3, 1):
        null.run("parts", plan, shard=(part, 3), panels=5)
    (joined,) = merge([null.folder / "parts"], null.folder / "joined")
    assert (joined / FILE).read_bytes() == (whole.path / FILE).read_bytes()
    merge([null.folder / "parts"], null.folder / "joined")
    assert (joined / FILE).read_bytes() == (whole.path / FILE).read_bytes()
    assert kept(joined) == kept(whole.path)


def test_disk_full_is_told_and_resumes(null):
    plan = null.plan(8)
    (whole,) = null.run("whole", plan, panels=8)
    largest = (whole.path / FILE).stat().st_size

    def limited(size: int) -> tuple[int, str]:
        def work() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            try:
                null.run("full", plan, panels=8)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        child = null.fork(work)
        return child.wait(), child.message

    stored = 0
    for size in range(largest // 3, largest, largest // 5):
        code, message = limited(size)
        assert code == DataError.exit_code, message
        assert "bytes cannot be written to" in message
        assert FILE in message
        kept_now = (null.find_run("full") / FILE).read_bytes()
        assert (whole.path / FILE).read_bytes().startswith(kept_now)
        assert kept_now.endswith(b"\n")
        stored = max(stored, kept_now.count(b"\n"))
    assert 0 < stored < 8
    assert limited(largest)[0] == 0
    assert (null.find_run("full") / FILE).read_bytes() == (whole.path / FILE).read_bytes()


def test_file_that_cannot_be_written(null):
    plan = null.plan(2)
    (run,) = null.run("runs", plan, panels=0)
    (run.path / "episodes.jsonl").unlink()
    (run.path / FILE).mkdir()
    with pytest.raises(DataError, match=r"panels.jsonl is a folder"):
        null.run("runs", plan, panels=1)


def test_episode_that_was_not_counted_is_not_shown(null):
    (run,) = null.run("runs", null.plan(6), panels=3)
    assert len(kept(run.path)) == 3
    (run.path / "episodes.jsonl").write_bytes(b"")
    assert kept(run.path) == []


def test_empty_truth_and_prediction_have_no_iou(null):
    (run,) = null.run("runs", null.plan(1), panels=1)
    (run.path / "episodes.jsonl").write_bytes(
        EpisodeRecord(0, null.plan(1)[0].class_id, (9, 0), (9, 0), 0).line()
    )
    (panel,) = read_panels(read_run(run.path))
    assert np.isnan(panel.iou)


def test_no_panels_no_file(null):
    (run,) = null.run("runs", null.plan(2), panels=0)
    assert not (run.path / FILE).exists()


def bomb() -> str:
    import zlib

    return base64.b64encode(zlib.compress(b"\0" * 50_000_000)).decode()


HOSTILE = {
    "mask too long": lambda d: d.update(prediction=bomb()),
    "mask too short": lambda d: d.update(truth=_pack_mask(np.ones((2, 2), bool), (2, 2))),
    "mask no base64": lambda d: d.update(prediction="../../etc/passwd"),
    "mask a path": lambda d: d.update(prediction=["/etc/passwd"]),
    "picture no image": lambda d: d.update(jpeg=base64.b64encode(b"<svg onload=x>").decode()),
    "picture of another size": lambda d: d.update(size=[9999, 9999]),
    "field missing": lambda d: d.pop("supports"),
    "size no list": lambda d: d.update(size={"a": 1}),
    "supports no list": lambda d: d.update(supports=7),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_lines_are_refused(null, kind):
    run = null.copy_run(1)
    (data,) = lines(run)
    data.pop("crc", None)
    HOSTILE[kind](data)
    (run / FILE).write_bytes(seal(data))
    (panel,) = read_panels(read_run(run))
    with pytest.raises(DataError, match="damaged"):
        panel.pictures()


@pytest.mark.parametrize(
    "text", [b"\n\n\n", b"no json\n", b'{"i":-1,"x":1}\n', b'{"i":99999999999,}\n', b"\xff\n"]
)
def test_foreign_lines_are_passed_over(null, text):
    run = null.copy_run(3)
    file = run / FILE
    file.write_bytes(text + file.read_bytes())
    assert kept(run) == [0, 1, 2]
    for panel in read_panels(read_run(run)):
        panel.pictures()


def test_pictures_cost_little(null, monkeypatch):
    """With every one of 20 episodes kept, of photographs of 500 px; a method takes 30 ms and more."""
    cls, draw = DATASETS.get("nulldata"), np.random.default_rng(0)
    photo = Image.fromarray(draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375))
    mask = np.pad(np.ones((100, 100), np.uint8), ((0, 275), (0, 400)))
    monkeypatch.setattr(cls, "image", lambda self, item: photo)
    monkeypatch.setattr(cls, "mask", lambda self, item, class_id: mask)
    plan = null.plan(20)

    def seconds(out: str, keep: int) -> float:
        started = time.process_time()
        evaluate_all([null.method()], plan, Settings(out=null.folder / out, panels=keep))
        return time.process_time() - started

    without = min(seconds(f"a{n}", 0) for n in range(2))
    each = (min(seconds(f"b{n}", 20) for n in range(2)) - without) / 20
    assert each < 0.02, f"{1000 * each:.1f} ms per kept episode"
    shutil.rmtree(null.folder / "b0")
