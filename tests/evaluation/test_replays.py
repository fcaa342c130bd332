"""Work that is recorded once and replayed for each episode gives the counts of the work that is launched anew.

A recording needs a CUDA device (tests/gpu); here a stand-in calls again and keeps the place of the result.
"""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from counting_backbone import Counting, feature_method
from fake_recording import FakeRecording, replay_on_the_processor
from null_harness import right

from fssbench import termination
from fssbench.api import Backbone, Tap
from fssbench.contracts.prediction import decide_masks, predict_shots
from fssbench.data.location import open_dataset
from fssbench.errors import DataError, PluginError
from fssbench.evaluation import lanes
from fssbench.evaluation.extraction import Extractor
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.lanes import LANES, Lanes
from fssbench.evaluation.method_run import MethodRun
from fssbench.evaluation.recorded_network import RecordedNetwork, _clone_together
from fssbench.evaluation.recording import Stopwatch
from fssbench.evaluation.replays import make_replays
from fssbench.evaluation.transfers import Download, upload
from fssbench.runs.store import find_run_folders, read_run
from fssbench.termination import Terminated

CPU = torch.device("cpu")


def count_of(run):
    return read_run(run.path).records


@pytest.mark.parametrize("shot", [1, 3])
def test_replays_give_the_counts_of_calls(null, monkeypatch, shot):
    plan = null.plan(12, shot=shot)
    (called,) = null.run("called", plan)
    replay_on_the_processor(monkeypatch)
    (replayed,) = null.run("replayed", plan, replay=True)
    # in each lane one that compares the recording, and one for each episode after the first
    assert FakeRecording.replays == 12
    assert null.read_results(replayed.path) == null.read_results(called.path)
    assert replayed.computed == 12


def test_episodes_are_stored_while_later_ones_are_computed(null, monkeypatch):
    replay_on_the_processor(monkeypatch)
    behind = []
    monkeypatch.setattr(MethodRun, "store", count_behind(behind, MethodRun.store))
    (run,) = null.run("runs", null.plan(9))
    assert run.score.episodes == 9
    # the first ones are called, and the last ones are waited for
    assert behind == [0] * LANES + [LANES] * (9 - 2 * LANES) + [2, 1, 0]


def count_behind(behind, store):
    """Note how many episodes the device computes while one is stored."""

    def noting(self, *args):
        behind.append(len(self.lanes))
        return store(self, *args)

    return noting


@pytest.mark.parametrize(("episodes", "recorded"), [(4, 0), (6, 1), (9, 2), (20, 3)])
def test_a_lane_is_recorded_if_enough_episodes_are_left_for_it(null, monkeypatch, episodes, recorded):
    made = []

    class Counted(FakeRecording):
        def __init__(self, call):
            super().__init__(call)
            made.append(self)

    (called,) = null.run("called", null.plan(episodes))
    replay_on_the_processor(monkeypatch, Counted)
    monkeypatch.setattr(lanes, "_PAYS_FROM", (5, 8, 12))
    (run,) = null.run("replayed", null.plan(episodes))
    assert len(made) == recorded
    assert count_of(run) == count_of(called)


def test_a_device_with_little_memory_computes_one_episode_at_a_time(null, monkeypatch):
    replay_on_the_processor(monkeypatch)
    monkeypatch.setattr(Lanes, "_has_room", lambda self: False)
    plan, behind = null.plan(6), []
    monkeypatch.setattr(MethodRun, "store", count_behind(behind, MethodRun.store))
    (run,) = null.run("runs", plan)
    assert behind == [0, 1, 1, 1, 1, 0]
    assert FakeRecording.replays == 6
    assert run.score.episodes == 6


def test_lanes_that_cannot_be_recorded_are_given_up_without_a_word(null, monkeypatch, recwarn):
    made = []

    def record_twice(call):
        if len(made) == 2:
            raise torch.OutOfMemoryError("no memory")
        made.append(FakeRecording(call))
        return made[-1]

    (called,) = null.run("called", null.plan(8))
    replay_on_the_processor(monkeypatch, record_twice)
    (run,) = null.run("replayed", null.plan(8))
    assert count_of(run) == count_of(called)
    # three episodes were called: two lanes were recorded, and the third was tried
    assert FakeRecording.replays == 2 + 5
    assert not recwarn.list


def test_a_second_recording_that_gives_another_mask_ends_all_replays(null, monkeypatch):
    made = []

    class WrongAtSecond(FakeRecording):
        def replay(self):
            made.extend([self] if self not in made else [])
            mask, sums = super().replay()
            return (~mask if self is made[-1] and len(made) == 2 else mask), sums

    (called,) = null.run("called", null.plan(7))
    replay_on_the_processor(monkeypatch, WrongAtSecond)
    with pytest.warns(UserWarning, match="method 'null'.*another mask") as warned:
        (run,) = null.run("replayed", null.plan(7))
    assert len(warned) == 1
    assert WrongAtSecond.replays == 2, "the comparisons alone"
    assert count_of(run) == count_of(called)


def test_recordings_are_gone_with_their_run(null, monkeypatch):
    alive = []

    class Constant:
        def __init__(self, call):
            self._result = call()
            alive.append(weakref.ref(self))

        def replay(self):
            return self._result

    replay_on_the_processor(monkeypatch, Constant)
    gc.disable()
    try:
        null.run(
            "runs", null.plan(5), null.make_broken("same", logits=lambda self, q, s, m: right(q, s, m) * 0)
        )
        assert len(alive) == LANES
        assert not any(each() for each in alive)
    finally:
        gc.enable()


@pytest.mark.parametrize("signalled", [False, True])
def test_episodes_in_flight_are_stored_before_a_run_ends(null, monkeypatch, signalled):
    replay_on_the_processor(monkeypatch)
    read = Inputs.of

    def fail_late(self, method, episode, *rest, **options):
        if episode.index == 7 and method.card.name == "null":
            if not signalled:
                raise DataError("image 'x' is gone")
            monkeypatch.setattr(termination._State, "pending", True)  # as the handler of SIGTERM does
        return read(self, method, episode, *rest, **options)

    monkeypatch.setattr(Inputs, "of", fail_late)
    with pytest.raises(Terminated if signalled else DataError):
        null.run("runs", null.plan(9), null.make_broken("other"), null.method())
    stored = sorted(len(read_run(each).records) for each in find_run_folders(null.folder / "runs"))
    assert stored == [8 if signalled else 7, 8]  # the other method had begun the eighth


def test_refused_features_do_not_stay_in_a_cache_that_others_share(null, monkeypatch):
    cache = FeatureCache(1 << 20)
    dataset = open_dataset("nulldata", data=null.data)
    plan = null.plan(3)
    method = feature_method(null, "reader", Spoiling(), "half")
    monkeypatch.setattr(Spoiling, "good", 0)
    for confirmed in (False, True):
        inputs = Inputs(dataset, 16, CPU, cache)
        inputs._confirms_later = not confirmed
        inputs.expect([method], plan.episodes)
        if confirmed:
            with pytest.raises(PluginError, match="NaN or infinite"):
                inputs.of(method, plan[0])
        else:
            inputs.of(method, plan[0], confirmed=False)
            assert cache.held
        inputs.close()
        assert not cache.held


@pytest.mark.parametrize("place", ["logits", "read"])
def test_replays_in_bfloat16_give_the_counts_of_calls(null, monkeypatch, place):
    torch.manual_seed(0)
    weights = torch.randn(2, 3, 1, 1)

    def logits(self, query, support, support_mask):
        if place == "read":  # the mask says in which precision `read` was called
            return query if query.dtype == torch.bfloat16 else -query
        return torch.nn.functional.conv2d(query, weights)

    def read(self, query, support):  # as a method does that runs its backbone itself
        return (torch.nn.functional.conv2d(query, weights) if place == "read" else query), support

    plan = null.plan(6)
    changed = {"logits": logits, "read": read}
    (called,) = null.run("called", plan, null.make_broken("mixed", **changed), precision="bf16")
    replay_on_the_processor(monkeypatch)
    (replayed,) = null.run("replayed", plan, null.make_broken("mixed", **changed), precision="bf16")
    assert FakeRecording.replays == 6
    assert count_of(replayed) == count_of(called)


def test_every_episode_of_several_methods_is_stored(null, monkeypatch):
    replay_on_the_processor(monkeypatch)
    other = null.make_broken("other", shots="vote")
    plan = null.plan(7, shot=2)
    first, second = null.run("runs", plan, null.method(), other)
    assert set(count_of(first)) == set(count_of(second)) == set(range(7))


def test_a_run_of_replays_resumes(null, monkeypatch):
    replay_on_the_processor(monkeypatch)
    plan = null.plan(6)
    (part,) = null.run("runs", plan, only=frozenset({0, 1, 2}))
    assert set(count_of(part)) == {0, 1, 2}
    (whole,) = null.run("runs", plan)
    assert whole.computed == 3
    assert whole.score.episodes == 6


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_logits_that_are_not_finite_are_refused_by_the_name_of_their_episode(null, monkeypatch, bad):
    replay_on_the_processor(monkeypatch)
    plan = null.plan(9)

    def logits(self, query, support, support_mask):
        return right(query, support, support_mask) + torch.where(query.mean() > limit, bad, 0.0)

    means = []

    def look(self, query, support, support_mask):
        means.append(float(query.mean()))
        return right(query, support, support_mask)

    null.run("look", plan, null.make_broken("look", logits=look), replay=False)
    *_, second, largest = sorted(set(means))
    limit = (second + largest) / 2
    with pytest.raises(PluginError, match=r"episode \d+ .*NaN or infinite"):
        null.run("spoiled", plan, null.make_broken("spoiled", logits=logits))
    stored = read_run(null.find_run("spoiled")).records
    clean = read_run(null.find_run("look")).records
    assert all(stored[index] == clean[index] for index in stored)
    assert len(stored) < 9


def test_huge_logits_whose_sum_overflows_are_computed_by_a_call(null, monkeypatch):
    plan = null.plan(5)
    huge = {"logits": lambda self, q, s, m: torch.sign(right(q, s, m)) * 3e38}
    (called,) = null.run("called", plan, null.make_broken("huge", **huge))
    replay_on_the_processor(monkeypatch)
    (replayed,) = null.run("replayed", plan, null.make_broken("huge", **huge))
    assert count_of(replayed) == count_of(called)


def test_a_replay_that_gives_another_mask_is_not_used(null, monkeypatch):
    class Wrong(FakeRecording):
        def replay(self):
            mask, sums = super().replay()
            return ~mask, sums

    plan = null.plan(5)
    (called,) = null.run("called", plan)
    replay_on_the_processor(monkeypatch, Wrong)
    with pytest.warns(UserWarning, match="method 'null'.*another mask") as warned:
        (run,) = null.run("replayed", plan)
    assert len(warned) == 1
    assert count_of(run) == count_of(called)


def test_work_that_cannot_be_recorded_runs_call_by_call(null, monkeypatch):
    def refuse(call):
        raise RuntimeError("operation not permitted when stream is capturing")

    plan = null.plan(5)
    (called,) = null.run("called", plan)
    replay_on_the_processor(monkeypatch, refuse)
    with pytest.warns(UserWarning, match="cannot be recorded .operation not permitted") as warned:
        (run,) = null.run("replayed", plan)
    assert len(warned) == 1
    assert count_of(run) == count_of(called)


def test_only_a_method_that_says_so_is_replayed_and_only_on_a_cuda_device(null):
    method, cuda = null.make_broken("still", replayable=True), torch.device("cuda")
    assert make_replays(method, cuda, "float32") is not None
    assert make_replays(method, CPU, "float32") is None
    assert make_replays(null.method(), cuda, "float32") is None
    adapting = null.make_broken("adapting", replayable=True, steps=3)
    assert make_replays(adapting, cuda, "float32") is None
    derived = type(method)  # it may branch on values where the class that it derives from does not
    assert make_replays(null.method(type("Derived", (derived,), {})), cuda, "float32") is None


def test_masks_are_decided_as_a_method_decides_them(null):
    method = null.make_broken("voter", shots="vote")
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 4, 3, 8, 8, generator=generator)
    masks = (torch.rand(2, 3, 8, 8, generator=generator) > 0.5).float()
    given = images[:, 0], images[:, 1:], masks
    assert torch.equal(decide_masks(predict_shots(method, *given, size=None, seed=0)), method.segment(*given))


class Spoiling(Counting):
    """Gives features that are not finite for every image after some."""

    good = 4

    def forward(self, images, taps):
        maps = super().forward(images, taps)
        return (
            maps if self.seen.images <= self.good else {tap: each + torch.nan for tap, each in maps.items()}
        )


def test_features_that_are_not_finite_are_refused_again_when_they_are_confirmed_later():
    extractor = Extractor(Spoiling())
    image = torch.rand(1, 3, 8, 8)
    for item in "abcd":
        extractor.begin(image, ("half",), item)
    extractor.confirm()
    with pytest.raises(PluginError, match="backbone 'counting', image 'e': the features have 48 values"):
        extractor.extract(image, ("half",), "e")
    extractor.confirm()
    for item in "fg":
        extractor.begin(image, ("half",), item)
    extractor.confirm(extractor.begun - 2)
    for _ in range(2):
        with pytest.raises(PluginError, match="image 'f': .*NaN or infinite"):
            extractor.confirm()


def test_a_run_whose_features_are_confirmed_later_counts_nothing_of_bad_ones(null, monkeypatch):
    replay_on_the_processor(monkeypatch)
    monkeypatch.setattr(Spoiling, "good", 12)
    build = Inputs.__init__

    def build_for_a_gpu(self, *args, **options):
        build(self, *args, **options)
        self._confirms_later = True

    monkeypatch.setattr(Inputs, "__init__", build_for_a_gpu)
    plan = null.plan(12)
    (right,) = null.run("right", plan, feature_method(null, "reader", Counting(), "half"))
    with pytest.raises(PluginError, match="backbone 'counting', image .*NaN or infinite"):
        null.run("spoiled", plan, feature_method(null, "reader", Spoiling(), "half"))
    stored = count_of_folder(null, "spoiled")
    assert 3 <= len(stored) < 12
    assert stored.items() <= count_of(right).items()


def count_of_folder(null, name):
    return read_run(null.find_run(name)).records


def test_clones_of_maps_are_those_that_torch_makes():
    maps = {
        "plain": torch.randn(1, 5, 3, 7),
        "last": torch.randn(1, 6, 4, 5).contiguous(memory_format=torch.channels_last),
        "sparse": torch.randn(1, 4, 6, 8)[..., ::2],
    }
    for given in (maps, maps | {"low": torch.randn(1, 2, 2, 2).bfloat16()}):
        clones = _clone_together(given)
        for tap, each in given.items():
            expected = each.clone()
            assert torch.equal(clones[tap], expected)
            assert (clones[tap].stride(), clones[tap].dtype) == (expected.stride(), expected.dtype)
            assert clones[tap].data_ptr() != each.data_ptr()


class Doubling(Backbone):
    name = "doubling"
    replayable = True
    calls = 0

    @property
    def taps(self):
        return {"whole": Tap("whole", 3, 1, 1)}

    def forward(self, images, taps):
        self.calls += 1
        return dict.fromkeys(taps, 2 * images)


def test_a_recorded_network_gives_maps_that_stay():
    network = Doubling()
    recorded = RecordedNetwork(network, FakeRecording)
    FakeRecording.replays = 0
    images = [torch.full((1, 3, 4, 4), float(i)) for i in range(5)]
    maps = [recorded(each, ("whole",))["whole"] for each in images]
    assert [m.unique().tolist() for m in maps] == [[0.0], [2.0], [4.0], [6.0], [8.0]]
    # one compares the recording; the first two images are computed by calls
    assert FakeRecording.replays == 4
    recorded(torch.zeros(1, 3, 6, 6), ("whole",))
    assert FakeRecording.replays == 4


@pytest.mark.parametrize("refuses", [True, False])
def test_a_network_whose_recording_is_wrong_or_impossible_is_called(refuses):
    def record(call):
        if refuses:
            raise RuntimeError("no")
        recording = FakeRecording(call)
        recording.replay = lambda: {"whole": torch.zeros(1, 3, 4, 4)}
        return recording

    recorded = RecordedNetwork(Doubling(), record)
    images = [torch.full((1, 3, 4, 4), float(i)) for i in range(1, 6)]
    with pytest.warns(UserWarning, match="backbone 'doubling'") as warned:
        maps = [recorded(each, ("whole",))["whole"] for each in images]
    assert len(warned) == 1
    assert [m.unique().tolist() for m in maps] == [[2.0], [4.0], [6.0], [8.0], [10.0]]


def test_copies_of_the_processor_keep_values_and_layout():
    tensor = torch.arange(24.0).view(2, 3, 4).permute(2, 0, 1)
    assert torch.equal(upload(tensor, CPU), tensor)
    download = Download(tensor)
    expected = tensor.clone()
    tensor.zero_()
    assert torch.equal(download.take(), expected)
    stopwatch = Stopwatch(CPU)
    stopwatch.stop()
    assert stopwatch.read_seconds() == 0.0


@pytest.mark.parametrize(
    ("began", "ended", "before", "seconds"),
    [(1.0, 7.0, None, 6.0), (1.0, 7.0, 0.5, 6.0), (1.0, 7.0, 4.0, 3.0), (1.0, 7.0, 7.5, 0.0)],
)
def test_time_that_two_episodes_share_counts_once(began, ended, before, seconds):
    stopwatch, other = (Stopwatch(CPU) for _ in range(2))
    stopwatch._events = [Moment(began), Moment(ended)]
    other._events = [Moment(0.0), Moment(before)]
    assert stopwatch.read_seconds(None if before is None else other) == pytest.approx(seconds / 1000)


class Moment:
    """Event of a device at a time in milliseconds."""

    def __init__(self, time):
        self.time = time

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return end.time - self.time
