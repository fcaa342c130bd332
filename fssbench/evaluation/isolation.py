"""Isolation of plugin calls: no plugin changes the input or the settings of another plugin or of the next episode.

Before each call into a method, the process-wide settings that can change numbers get a known value.  After the call
they are restored.  Random generators are seeded from the episode alone.  So a method that draws random numbers gives
the same result in every order of methods and episodes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import ImageFile
from torch.nn.modules import module as modules

from fssbench.evaluation.precision import exact_float32

_HOOKS: tuple[dict[int, Any], ...] = (
    modules._global_forward_pre_hooks,
    modules._global_forward_hooks,
)
"""PyTorch's tables of the hooks that run in every module of the process."""


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Context of a plugin call: no gradients, exact float32, seeded generators, global settings restored at its end.

    Args:
        seed: seed of all random generators, from the episode.
    """
    dtype, threads, folder = torch.get_default_dtype(), torch.get_num_threads(), os.getcwd()
    place = torch.get_default_device()
    hooks = [set(each) for each in _HOOKS]
    seed_generators(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    try:
        with torch.no_grad(), exact_float32():
            yield
    finally:
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        if torch.get_default_device() != place:
            torch.set_default_device(None if place.type == "cpu" else place)  # None removes the mode
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        for each, kept in zip(_HOOKS, hooks, strict=True):
            for left in each.keys() - kept:
                del each[left]
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        if os.getcwd() != folder:
            os.chdir(folder)


def seed_generators(seed: int) -> None:
    """Seed the random generators of Python, NumPy and torch (on the CPU)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 0.5 ms, as it inspects the stack


@contextmanager
def generators_kept() -> Iterator[None]:
    """Context that restores the random state at its end, so that an evaluation leaves a user's script as it was."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
