"""Work that is recorded once and replayed gives the bits of the work that is launched anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_recording import FakeRecording
from whole_runs import records, run

from fssbench.api import Method
from fssbench.episodes.synthetic import Synthetic
from fssbench.evaluation.isolation import isolated
from fssbench.evaluation.recorded_network import RecordedNetwork
from fssbench.evaluation.recording import Recording
from fssbench.evaluation.replays import Replays
from fssbench.evaluation.transfers import Download, upload
from fssbench.loading.backbones import build_backbone
from fssbench.plugins.calls import says_itself
from fssbench.plugins.registry import BACKBONES, METHODS

pytestmark = pytest.mark.filterwarnings("error:.*its work on the device")
SIDE = 161
EPISODES = 4


@pytest.fixture
def record(device: str) -> Any:
    """What records work: a stand-in where the processor stands in for the card."""
    return Recording if device == "cuda" else FakeRecording


def place(inputs: Any) -> Any:
    """Clone inputs to a place where later ones are put, too."""
    return inputs.clone() if isinstance(inputs, torch.Tensor) else {k: v.clone() for k, v in inputs.items()}


def put(inputs: Any, where: Any) -> None:
    """Put inputs where the earlier ones were."""
    if isinstance(inputs, torch.Tensor):
        where.copy_(inputs)
    else:
        for tap, maps in inputs.items():
            where[tap].copy_(maps)


def read_episodes(method: Method, shots: int, device: str) -> list[tuple[Any, Any, torch.Tensor]]:
    """Some episodes of synthetic images, as the method reads them."""
    made = Synthetic.make(EPISODES, shots, SIDE, SIDE)
    parts = [[each[i : i + 1].to(device) for each in (made.query, made.support, made.mask)] for i in range(4)]
    with isolated(0):
        return [(*method.read(query, support), mask) for query, support, mask in parts]


@pytest.mark.parametrize("shots", [1, 3])
def test_replays_of_a_method_give_its_masks(
    name: str, shots: int, device: str, load: Callable[..., Method], record: Any
) -> None:
    if not METHODS.get(name).__dict__.get("replayable"):
        pytest.skip("is not replayed")
    method = load(name, device)
    episodes, size = read_episodes(method, shots, device), (SIDE, SIDE)
    with isolated(0):
        called = [method.segment(*each, size=size)[0].cpu().numpy() for each in episodes]
    where = tuple(place(each) for each in episodes[0])
    replays = Replays(method, record)
    replays.learn(where, size, called[0])
    assert len(replays) == 1
    launched = []
    for episode in episodes:
        for given, there in zip(episode, where, strict=True):
            put(given, there)
        launched.append(replays.launch(where, size))
    for each, expected in zip(launched, called, strict=True):
        assert each is not None
        answer = each.take(None)
        assert answer is not None
        assert (answer[0] == expected).all()
        assert answer[1] > 0 or device == "cpu"


@pytest.mark.parametrize("name_of_network", BACKBONES.names())
def test_replays_of_a_backbone_give_its_features(name_of_network: str, device: str, record: Any) -> None:
    if not BACKBONES.get(name_of_network).__dict__.get("replayable"):
        pytest.skip("is not replayed")
    network = build_backbone(name_of_network, weights="random").to(device).eval()
    assert says_itself(network, "replayable")
    recorded, taps = RecordedNetwork(network, record), tuple(network.taps)
    images = torch.randn(EPISODES, 1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(device)
    with isolated(0):
        maps = [recorded(image, taps) for image in images]
        for image, replayed in zip(images, maps, strict=True):
            for tap, expected in network(image, taps).items():
                assert torch.equal(replayed[tap], expected), tap


def test_values_that_are_not_finite_are_noticed(
    device: str, load: Callable[..., Method], record: Any
) -> None:
    method = load("pmnet", device)
    episode, size = read_episodes(method, 1, device)[0], (SIDE, SIDE)
    with isolated(0):
        called = method.segment(*episode, size=size)[0].cpu().numpy()
    replays = Replays(method, record)
    replays.learn(episode, size, called)
    assert len(replays) == 1
    for maps in episode[0].values():
        maps.fill_(torch.nan)
    launched = replays.launch(episode, size)
    assert launched is not None
    assert launched.take(None) is None


def test_a_run_of_replays_gives_the_counts_of_calls(device: str, mini: Path, tmp_path: Path) -> None:
    replayed, called = (
        run(tmp_path / str(replay), device, mini, "pascal5i", "hsnet", "pmnet", "panet", replay=replay)
        for replay in (True, False)
    )
    assert [records(each) for each in replayed] == [records(each) for each in called]


def test_copies_that_do_not_wait_keep_their_values(device: str) -> None:
    numbers = torch.arange(1 << 20, dtype=torch.float32).view(1024, 1024).T
    there = upload(numbers.clone(), torch.device(device))
    assert there.stride() == numbers.stride()
    copy = Download(there)
    there.zero_()
    assert torch.equal(copy.take(), numbers)
