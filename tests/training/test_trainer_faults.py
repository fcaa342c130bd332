"""What goes wrong in a training: refused with its name, and what was computed is kept."""

from __future__ import annotations

import math
import resource
import signal
import socket
import threading
import time

import pytest
import torch
from messages import error_names
from trainings import Stopped, same, stop_after

import fssbench
from fssbench.api import PluginError, Recipe
from fssbench.errors import DataError, LockedError, UsageError
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.inputs import Inputs
from fssbench.loading import checkpoints
from fssbench.plugins.registry import DATASETS
from fssbench.termination import handle_sigterm
from fssbench.training.batches import Batches
from fssbench.training.episodes import EpisodeStream, collect_training_set
from fssbench.training.processes import join_workers
from fssbench.training.settings import Settings
from fssbench.training.state import Reached, list_learnable, save_state
from fssbench.training.trainer import CHECKPOINT, train


def test_a_method_without_a_recipe(training):
    with pytest.raises(UsageError) as error:
        training("frozen")
    error_names(error.value, "frozen", "recipe")


def test_steps_and_epochs_together(training):
    with pytest.raises(UsageError) as error:
        training(steps=3, epochs=1)
    error_names(error.value, "--steps", "--epochs")
    with pytest.raises(ValueError, match="either epochs or steps"):
        Recipe(optimizer="sgd", learning_rate=1, batch=1, source="")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed 0"),
        ({"learning_rate": 0.5}, "recipe"),
        ({"config": {"width": 4}}, "config"),
        ({"steps": 9}, "steps_planned 12"),
    ],
)
def test_another_training_in_the_folder_is_refused(training, tmp_path, change, named):
    training()
    before = (tmp_path / "out" / "state.safetensors").read_bytes()
    with pytest.raises(UsageError) as error:
        training(**change)
    error_names(error.value, tmp_path / "out", named)
    assert (tmp_path / "out" / "state.safetensors").read_bytes() == before


def test_two_processes_never_share_a_folder(training, tmp_path):
    from filelock import FileLock

    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(LockedError) as error:
        training()
    error_names(error.value, tmp_path / "out")


def test_too_few_images(training, monkeypatch):
    monkeypatch.setenv("TRAIN_IMAGES", "1")
    with pytest.raises(DataError) as error:
        training()
    error_names(error.value, "shapes", "2 images")


@pytest.mark.parametrize("error", [OSError("image file is truncated"), DataError("its last row is missing")])
def test_an_image_that_cannot_be_read_is_named_with_the_step(training, monkeypatch, error):
    def fail(dataset, item):
        raise error

    monkeypatch.setattr(DATASETS.get("shapes"), "image", fail)
    with pytest.raises(DataError) as refused:
        training()
    assert error_names(refused.value, "training step 0: item 'trn/", error)


def test_a_class_that_vanishes_at_the_size_of_the_network_is_named(training, monkeypatch):
    monkeypatch.setenv("TRAIN_TINY", "1")
    with pytest.raises(DataError) as error:
        training(size=16)
    error_names(error.value, "step ", "episode ", "'green'", "16 px")


def test_a_mask_without_the_class_it_is_listed_for_is_named(training, monkeypatch):
    monkeypatch.setenv("TRAIN_EMPTY", "1")
    with pytest.raises(DataError) as error:
        training()
    error_names(error.value, "'trn/1/", "shapes", "class 1", "green")


def test_a_background_without_pixels_is_named_where_it_is_the_object(training, monkeypatch):
    monkeypatch.setenv("TRAIN_FULL", "1")
    training(val_episodes=0)
    with pytest.raises(DataError) as error:
        training(out="inverted", val_episodes=0, invert=1.0)
    error_names(error.value, "background", "'green'", "32 px")


def test_inverted_episodes_swap_supports_and_query_alike(shapes):
    """Against the same episodes as they are; what the data set leaves out stays left out."""
    method = fssbench.load_method("learner", untrained=True)
    source = collect_training_set("shapes", data=shapes)

    def drawn(invert):
        inputs = Inputs(source.dataset, 32, torch.device("cpu"), FeatureCache(0))
        stream = EpisodeStream(source.training, 1, "0", invert=invert)
        with join_workers("cpu") as world:
            batches = Batches(method, source, inputs, stream, 4, 1, world)
            batches.expect(0, 6)
            return [batch for step in range(6) for batch in batches.of(step)], stream

    (plain, _), (some, stream) = drawn(0.0), drawn(0.5)
    swaps = []
    for step, (before, after) in enumerate(zip(plain, some, strict=True)):
        assert before.episodes == after.episodes
        torch.testing.assert_close(before.query, after.query, rtol=0, atol=0)
        assert torch.equal(before.ignore, after.ignore)
        for slot in range(4):
            swapped = stream.inverted(step, slot)
            swaps.append(swapped)
            mask, target = before.support_mask[slot], before.target[slot]
            assert torch.equal(after.support_mask[slot], 1 - mask if swapped else mask)
            assert torch.equal(after.target[slot], ~target if swapped else target)
    assert 0 < sum(swaps) < len(swaps)


def test_inverted_episodes_are_in_the_manifest_and_set_trainings_apart(training):
    _, done = training(invert=0.25)
    assert checkpoints.read_header(done.checkpoint).manifest.invert == 0.25
    with pytest.raises(UsageError, match=r"holds another training: .*invert"):
        training()


@pytest.mark.parametrize("name", ["sorter", "rememberer"])
def test_a_method_that_is_told_classes_has_nothing_to_invert(training, name):
    with pytest.raises(UsageError, match=f"--invert .*'{name}' .*Next: omit --invert"):
        training(name=name, invert=0.5)


def test_nan_stops_with_step_and_episode_and_keeps_the_last_good_state(training, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAIN_NAN", "6")  # validation is off, so the sixth call is the sixth step
    with pytest.raises(
        PluginError, match=r"step 6, episodes 0 \(class \w+, query trn/.*state after step 5 is kept"
    ):
        training(val_episodes=0, config={"norm": True})
    monkeypatch.delenv("TRAIN_NAN")
    _, done = training(val_episodes=0, config={"norm": True})
    assert done.computed == 12 - 5
    training(val_episodes=0, out="whole", config={"norm": True})
    assert same(tmp_path / "out", tmp_path / "whole")


@pytest.mark.parametrize("stored", [False, True])
def test_an_optimiser_that_is_no_longer_finite_is_not_stored_and_says_what_is(shapes, tmp_path, stored):
    """Gradients may be finite where their squares are not, in bfloat16 at a small size above all."""
    method = fssbench.load_method("learner", untrained=True)
    optimizer = torch.optim.Adam(list_learnable(method).values())
    path = tmp_path / "state.safetensors"
    if stored:
        save_state(path, method, optimizer, Reached(step=3), {})
    before = path.read_bytes() if stored else None
    first = next(iter(list_learnable(method).values()))
    optimizer.state[first] = {"exp_avg_sq": torch.full_like(first, float("inf"))}
    with pytest.raises(DataError) as caught:
        save_state(path, method, optimizer, Reached(step=6), {})
    earlier = "The earlier state is kept" if stored else "There is no earlier state"
    assert error_names(caught.value, "step 6", "exp_avg_sq", earlier, "Next:", "lower --lr", "--no-amp")
    assert (path.read_bytes() if path.is_file() else None) == before


def broken(loss):
    from fssbench.plugins.registry import METHODS

    return type("Broken", (METHODS.get("learner"),), {"loss": loss})


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (lambda self, *a: self.scale * math.inf, DataError, "step 1, episodes .*the loss is inf"),
        (
            lambda self, *a: (self.scale - self.scale).sqrt() * 2,
            DataError,
            "step 1, .*gradients are not finite",
        ),
        (lambda self, *a: self.scale.detach(), PluginError, "must return a scalar tensor with a gradient"),
        (lambda self, *a: self.embed[0].weight, PluginError, r"`loss` returned \(8, 3, 3, 3\)"),
        (lambda self, *a: 0.5, PluginError, "`loss` returned float"),
    ],
)
def test_losses_that_cannot_be_trained_on(shapes, tmp_path, loss, error, message):
    method = fssbench.load_method(broken(loss), untrained=True)
    with pytest.raises(error, match=message):
        train(method, Settings("shapes", tmp_path / "out", data=shapes))
    assert not (tmp_path / "out" / CHECKPOINT).exists()


def test_a_damaged_state_is_refused_and_left(training, tmp_path):
    training()
    state = tmp_path / "out" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(DataError, match=r"state\.safetensors is not a complete safetensors file"):
        training()
    assert (tmp_path / "out" / CHECKPOINT).is_file()


def test_a_checkpoint_of_other_settings_is_refused(training):
    _, done = training()
    with pytest.raises(DataError, match="trained with setting width=8"):
        fssbench.load_method("learner", checkpoint=done.checkpoint, width=4)


def test_a_full_disk_keeps_what_was_stored(training, null, tmp_path):
    training(out="whole")
    with pytest.raises(Stopped):
        training(watch=stop_after(4))
    kept = (tmp_path / "out" / "state.safetensors").read_bytes()
    for limit in (0, 300, 2000, 6000):

        def work(limit=limit):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            training()

        child = null.fork(work)
        assert child.wait() == 3, child.message
        assert (tmp_path / "out" / "state.safetensors").read_bytes() == kept
        assert not list((tmp_path / "out").glob("*.part"))
    training()
    assert same(tmp_path / "out", tmp_path / "whole")


def test_a_folder_that_cannot_be_made(training, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match="choose another --out"):
        training()


def test_killed_at_any_point_it_ends_at_the_same_bits(training, null, tmp_path, monkeypatch):
    config = {"norm": True, "dropout": 0.2}
    training(out="whole", config=config)
    monkeypatch.setenv("TRAIN_SLEEP", "0.01")
    kills, delay = 0, 0.15
    while kills < 40:
        child = null.fork(lambda: training(config=config, save_every=1))
        time.sleep(delay)
        child.kill()
        if child.wait() == 0:
            break
        kills += 1
        delay += 0.03 * (kills % 5)
    else:
        pytest.fail("it never ended")
    assert kills >= 2
    assert same(tmp_path / "out", tmp_path / "whole")


@pytest.mark.parametrize(
    ("name", "value"), [("WORLD_SIZE", "two"), ("RANK", "-1"), ("LOCAL_RANK", ""), ("RANK", "5")]
)
def test_variables_that_name_no_process_are_refused_before_anything_waits(monkeypatch, name, value):
    for variable in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.setenv(variable, {"WORLD_SIZE": "2"}.get(variable, "0"))
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as refused, join_workers("cpu"):
        pass
    assert error_names(refused.value, name, "torchrun")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_waits_for_others_is_ended_by_a_signal(null, monkeypatch, number):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        others = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for name, value in others.items():
            monkeypatch.setenv(name, value)

        def work():
            with handle_sigterm(), join_workers("cpu"):
                pass

        child = null.fork(work)
        silent.settimeout(60)
        with silent.accept()[0]:  # it has called, and waits for an answer
            time.sleep(0.3)
            child.kill(number)
            last_resort = threading.Timer(30, child.kill)
            last_resort.start()
            assert child.wait() == -number
            last_resort.cancel()
