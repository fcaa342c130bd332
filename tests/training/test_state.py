"""The state on disk: whole or not at all, of this training or refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

import fssbench
from fssbench.errors import DataError, UsageError
from fssbench.training.state import Reached, list_learnable, list_statistics, load_state, save_state

FACTS = {"benchmark": "shapes", "seed": 0, "classes": (1, 2)}


@pytest.fixture
def learner(shapes):
    def make(optimizer=torch.optim.Adam, **config):
        method = fssbench.load_method("learner", untrained=True, **config)
        return method, optimizer(list_learnable(method).values(), 0.01)

    return make


def step(method, optimizer):
    optimizer.zero_grad()
    sum((p * p).sum() for p in list_learnable(method).values()).backward()
    optimizer.step()


def momentum(parameters, rate):
    return torch.optim.SGD(parameters, rate, momentum=0.9)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, momentum])
def test_a_loaded_state_goes_on_as_the_stored_one(learner, tmp_path, optimizer):
    method, own = learner(optimizer, norm=True)
    step(method, own)
    save_state(tmp_path / "s.safetensors", method, own, Reached(1, 40.5, 1), FACTS)
    step(method, own)
    other, its = learner(optimizer, norm=True)
    assert load_state(tmp_path / "s.safetensors", other, its, FACTS) == Reached(1, 40.5, 1)
    step(other, its)
    for name, value in method.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_statistics_are_the_buffers_of_the_head(learner):
    assert len(list_statistics(learner(norm=True)[0])) == 3
    assert list_statistics(learner()[0]) == []


def test_another_training_is_named(learner, tmp_path):
    method, own = learner()
    save_state(tmp_path / "s.safetensors", method, own, Reached(), FACTS)
    with pytest.raises(UsageError, match=r"holds another training: seed 0 \(now 1\).*another --out"):
        load_state(tmp_path / "s.safetensors", method, own, {**FACTS, "seed": 1})


def test_training_by_other_code_says_that_the_code_was_edited(learner, tmp_path):
    method, own = learner()
    facts = {**FACTS, "method_sha256": "a" * 64}
    save_state(tmp_path / "s.safetensors", method, own, Reached(), facts)
    with pytest.raises(UsageError, match=r"code of the method.*seed 0 \(now 1\)"):
        load_state(tmp_path / "s.safetensors", method, own, {**facts, "method_sha256": "b" * 64, "seed": 1})


def test_weights_that_are_not_finite_never_replace_a_good_state(learner, tmp_path):
    path = tmp_path / "s.safetensors"
    method, own = learner()
    save_state(path, method, own, Reached(3), FACTS)
    before = path.read_bytes()
    with torch.no_grad():
        method.scale.fill_(float("inf"))
    with pytest.raises(DataError, match="step 4: .* head.scale"):
        save_state(path, method, own, Reached(4), FACTS)
    assert path.read_bytes() == before


def test_every_truncation_is_refused(learner, tmp_path):
    path = tmp_path / "s.safetensors"
    method, own = learner()
    step(method, own)
    save_state(path, method, own, Reached(1), FACTS)
    whole = path.read_bytes()
    for length in {0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="not a complete safetensors file"):
            load_state(path, method, own, FACTS)


@pytest.mark.parametrize(
    "block",
    [
        None,
        "no JSON",
        {},
        [],
        {"format": 1, "facts": {}, "step": -1, "best": None, "best_step": None},
        {"format": 1, "facts": [], "step": 1, "best": None, "best_step": None},
        {"format": 1, "facts": {}, "step": "1", "best": None, "best_step": None},
        {"format": 9, "facts": {}, "step": 1, "best": None, "best_step": None},
    ],
)
def test_hostile_headers_are_refused(learner, tmp_path, block):
    text = block if isinstance(block, str) else json.dumps(block)
    metadata = None if block is None else {"fssbench_training": text}
    save_file({"head.x": torch.zeros(1)}, tmp_path / "s.safetensors", metadata)
    method, own = learner()
    with pytest.raises(DataError, match="not a training state.*Next: delete"):
        load_state(tmp_path / "s.safetensors", method, own, FACTS)


@pytest.mark.parametrize("name", ["optimizer.scale.exp_avg", "optimizer.nothing.step", "optimizer.x"])
def test_entries_that_do_not_fit_are_refused(learner, tmp_path, name):
    method, own = learner()
    block = {"format": 1, "facts": json.loads(json.dumps(FACTS)), "step": 1, "best": None, "best_step": None}
    tensors = {f"head.{k}": v for k, v in method.state_dict().items()} | {name: torch.zeros(5)}
    save_file(tensors, tmp_path / "s.safetensors", {"fssbench_training": json.dumps(block)})
    with pytest.raises(DataError, match=f"entry {name} of .* does not fit"):
        load_state(tmp_path / "s.safetensors", method, own, FACTS)
