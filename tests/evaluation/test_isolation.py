"""Settings and generators around a plugin call."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ImageFile

from fssbench.evaluation.isolation import generators_kept, isolated


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_generators_depend_on_the_seed_alone():
    seen = []
    for disturbance in (0, 1, 2):
        random.seed(disturbance), np.random.seed(disturbance), torch.manual_seed(disturbance)
        with isolated(7):
            seen.append(draws())
    assert len(set(seen)) == 1
    with isolated(8):
        other = draws()
    assert not set(other) & set(seen[0])


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
def test_every_crc_is_a_seed(seed):
    with isolated(seed):
        assert all(0 <= x < 1 for x in draws())


def test_gradients_are_off_inside_only():
    with isolated(0):
        assert not torch.is_grad_enabled()
        torch.set_grad_enabled(True)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("raised", [None, ValueError, KeyboardInterrupt])
def test_settings_are_restored_whatever_happens(raised, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic

    def disturb() -> None:
        with isolated(0):
            torch.set_default_dtype(torch.float64)
            torch.set_default_device("meta")
            torch.set_num_threads(threads + 1)
            torch.backends.cudnn.deterministic = not deterministic
            torch.backends.cudnn.benchmark = True
            ImageFile.LOAD_TRUNCATED_IMAGES = True
            os.chdir("/")
            if raised:
                raise raised

    if raised:
        with pytest.raises(raised):
            disturb()
    else:
        disturb()
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_device() == torch.device("cpu")
    assert torch.empty(1).device.type == "cpu"
    assert torch.get_num_threads() == threads
    assert torch.backends.cudnn.deterministic == deterministic
    assert not torch.backends.cudnn.benchmark
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert Path.cwd() == tmp_path


def test_a_callers_own_default_device_stays():
    try:
        torch.set_default_device("meta")
        with isolated(0):
            torch.set_default_device("cpu")
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_device(None)


def test_caller_gets_the_generators_back():
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = draws()
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    with suppress(ValueError), generators_kept(), isolated(9):
        draws()
        raise ValueError
    assert draws() == expected
